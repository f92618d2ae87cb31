"""A model file says what trained it; training goes on with the same bits, or the reason is said."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import HERE, TINY, TINY_DOCUMENTS, has_engine, skip_or_fail
from helpers import forged, opened

from microgpt import MicroGPT, checkpoint, corpus, exporting
from microgpt.checkpoint import Checkpoint
from microgpt.config import Config
from microgpt.corpus import Corpus, Origin
from microgpt.errors import CheckpointError, ConfigError, MissingPartError
from microgpt.made_by import MadeBy
from microgpt.training import Session
from microgpt.verify import exported

MODELS = HERE / "data" / "models"
KEPT = [
    (folder.name, name)
    for folder in sorted(MODELS.glob("version-*"))
    for name in json.loads((folder / "expected.json").read_text())
]
SOURCE = Origin(("here",))


def fast_isas() -> list[str]:
    """The fast engine's instruction sets on this machine."""
    if not has_engine("fast"):
        skip_or_fail("fast", "the engine fast is not installed")
    from microgpt import _native

    return _native.about()["isas"]


def trained(engine: str, steps: int = 6, **changes: Any) -> Checkpoint:
    """The tiny model after some steps, as it comes back from its file."""
    session = Session.start(
        Config(**TINY | changes), Corpus(list(TINY_DOCUMENTS), SOURCE), engine, 1
    )
    return after(session, steps)


def after(session: Session, steps: int) -> Checkpoint:
    for _ in session.run(lambda: session.step >= steps, every=1):
        pass
    return checkpoint.from_bytes(checkpoint.to_bytes(session.checkpoint()))


def resumed(model: Checkpoint, engine: str = "auto") -> Session:
    return Session.resume(model, Corpus(list(TINY_DOCUMENTS), SOURCE), engine, 1)


@pytest.mark.parametrize(("version", "name"), KEPT, ids="/".join)
def test_a_kept_model_file_loads_scores_as_recorded_and_goes_on_to_the_recorded_bits(
    version: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = json.loads((MODELS / version / "expected.json").read_text())[name]
    if not has_engine(expected["engine"]):
        skip_or_fail(expected["engine"], f"the engine {expected['engine']} is not installed")
    for source in ("list.txt", "table.csv"):
        shutil.copy(MODELS / source, tmp_path)
    monkeypatch.chdir(tmp_path)
    path = MODELS / version / f"{name}.safetensors"
    model = checkpoint.load(path)
    assert model.state.step == expected["step"]
    scores = MicroGPT.load(path).score_samples(expected["texts"])
    assert [score.hex() for score in scores] == expected["scores"]
    if expected["instruction_set"]:
        if expected["instruction_set"] not in fast_isas():
            pytest.skip(f"this machine has no {expected['instruction_set']}")
        monkeypatch.setenv("MICROGPT_ISA", expected["instruction_set"])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        session = Session.resume(model, documents_of(model))
    # Version 1 does not say which engine trained the model: float32 numbers suggest the fast one.
    guessed = version == "version-1" and expected["engine"] == "fast"
    said = [w for w in said if "the bits may differ" not in str(w.message)]  # of another machine
    assert [str(w.message)[:52] for w in said] == (
        ["the model file does not say which engine trained it;"] if guessed else []
    )
    losses = [step.loss.hex() for block in session.run(lambda: False) for step in block]
    state = session.engine.state()
    numbers = b"".join(part.tobytes() for part in (state.parameters, state.m, state.v))
    assert losses == expected["losses"]
    assert hashlib.sha256(numbers).hexdigest() == expected["finished"]


def documents_of(model: Checkpoint) -> Corpus:
    if model.data.origin.repeatable:
        return corpus.read_again(model.data.origin, model.data.fingerprint)
    return Corpus((MODELS / "list.txt").read_text().split(), model.data.origin)


def test_a_kept_file_saved_again_is_of_this_version_and_says_nothing_it_does_not_know() -> None:
    model = checkpoint.load(MODELS / "version-1" / "held-out.safetensors")
    assert model.made_by == MadeBy() and model.config.held_out == 0.25
    metadata = opened(checkpoint.to_bytes(model))[0]["__metadata__"]
    assert metadata["format_version"] == "2"
    assert set(json.loads(metadata["made_by"]).values()) == {""}


def test_a_configuration_of_version_1_with_the_later_name_too_is_refused() -> None:
    data = (MODELS / "version-1" / "held-out.safetensors").read_bytes()
    config = json.loads(opened(data)[0]["__metadata__"]["config"])
    forged_config = json.dumps(config | {"held_out": 0.5})
    with pytest.raises(CheckpointError, match="a name of a later version, held_out"):
        checkpoint.from_bytes(forged(data, config=forged_config))


def test_a_pickle_from_before_the_share_of_held_out_documents_was_renamed_still_loads() -> None:
    data = (MODELS / "version-1" / "held-out.safetensors").read_bytes()
    state = MicroGPT(**TINY, held_out=0.25).__getstate__()
    state["val"] = state.pop("held_out")
    model = MicroGPT.__new__(MicroGPT)
    model.__setstate__(state | {"_trained": (data, "scalar")})
    assert model.get_params()["held_out"] == model.config_.held_out == 0.25
    assert model.n_steps_ == 8


def test_an_export_from_before_the_renaming_has_its_models_numbers(tmp_path: Path) -> None:
    path = MODELS / "version-1" / "held-out.safetensors"
    (output,) = (
        content
        for suffix, content in exporting.export(checkpoint.load(path), "js", []).items()
        if suffix == ".js"
    )
    assert output.count(b'"held_out"') == 1
    old = tmp_path / "old.js"
    old.write_bytes(output.replace(b'"held_out"', b'"val"'))
    (result,) = exported.verify(str(old), str(path), None).cases
    assert result.answer == "not comparable" and "the numbers are the model's" in result.explanation


@pytest.mark.parametrize("engine", ["scalar", "exact", "fast"])
def test_a_file_names_engine_instruction_set_versions_and_platform(engine: str) -> None:
    if not has_engine(engine):
        skip_or_fail(engine, f"the engine {engine} is not installed")
    model = trained(engine)
    assert model.made_by.engine == engine
    assert bool(model.made_by.instruction_set) == (engine == "fast")
    assert all((model.made_by.microgpt, model.made_by.python, model.made_by.platform))
    assert checkpoint.to_bytes(model) == checkpoint.to_bytes(trained(engine))


def test_a_model_that_is_loaded_and_saved_keeps_what_made_it(tmp_path: Path) -> None:
    elsewhere = MadeBy("other", "mips", "musl", "9.9", "PyPy 3.99", "Plan9 mips")
    model = trained("scalar")._replace(made_by=elsewhere)
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    checkpoint.save(first, model)
    MicroGPT.load(first).save(second)
    assert first.read_bytes() == second.read_bytes()
    assert checkpoint.load(second).made_by == elsewhere


def test_a_model_that_is_resumed_says_what_made_it_and_after_a_step_what_trained_it() -> None:
    model = trained("scalar")
    elsewhere = model.made_by._replace(python="CPython 2.7")
    session = resumed(model._replace(made_by=elsewhere))
    assert session.checkpoint().made_by == elsewhere
    assert after(session, 7).made_by == model.made_by


@pytest.mark.parametrize("engine", ["scalar", "fast"])
@pytest.mark.parametrize("name", ["libm", "platform", "microgpt"])
def test_a_training_that_went_on_with_another_library_or_version_names_both(
    engine: str, name: str, tmp_path: Path
) -> None:
    if not has_engine(engine):
        skip_or_fail(engine, f"the engine {engine} is not installed")
    model = trained(engine)
    here = getattr(model.made_by, name)
    model = model._replace(made_by=model.made_by._replace(**{name: "other 1"}))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        mixed = after(resumed(model), 8)
    if name == "microgpt" and engine == "scalar":  # whose bits are the same in every version
        assert mixed.made_by.microgpt == here and not said
        return
    assert getattr(mixed.made_by, name) == f"other 1, then {here}"
    (remark,) = said
    assert "other 1, and training continues on" in str(remark.message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert after(resumed(mixed), 9).made_by == mixed.made_by
    mixed.state.parameters[3] += 0.5
    checkpoint.save(tmp_path / "mixed.safetensors", mixed)
    (tmp_path / "list.txt").write_text("\n".join(TINY_DOCUMENTS))
    verdict = exported.verify(
        str(tmp_path / "mixed.safetensors"), None, [str(tmp_path / "list.txt")]
    )
    assert verdict.answer == "not comparable"
    assert f"{name} was other 1, then {here} there" in verdict.cases[0].explanation


def test_what_made_a_model_never_grows_too_long_to_be_saved() -> None:
    made_by = MadeBy(*["x" * 200] * 6)
    for i in range(40):
        made_by = MadeBy("fast", f"isa {i}", "y" * 199, "1", "2", "z" * 200).after(made_by, 1e-3)
        assert MadeBy.from_dict(made_by._asdict()) == made_by
    assert made_by.instruction_set.endswith(", then isa 39")


@pytest.mark.parametrize("value", ["\x1b]0;title\x07", "x" * 201, "two\nlines", 5, None])
def test_what_made_a_model_is_short_printable_text_in_every_file(value: Any) -> None:
    model = trained("scalar")
    with pytest.raises(CheckpointError, match="six printable strings"):
        checkpoint.to_bytes(model._replace(made_by=model.made_by._replace(engine=value)))
    with pytest.raises(ValueError, match="six printable strings"):
        MadeBy.from_dict(model.made_by._asdict() | {"libm": value})


@pytest.mark.parametrize("name", [5, "x" * 201, "\x1b[2J"])
def test_an_engine_that_no_file_can_name_trains_nothing(
    name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microgpt.engines.scalar import ScalarEngine

    monkeypatch.setattr(ScalarEngine, "name", name)
    with pytest.raises(ConfigError, match="must be printable strings of at most 200"):
        trained("scalar", 0)


def version_1(model: Checkpoint) -> Checkpoint:
    """The model as it comes back from a file that does not say what trained it."""
    return model._replace(made_by=MadeBy())


@pytest.mark.parametrize(("begun", "goes_on"), [("fast", "exact"), ("exact", "fast")])
def test_version_1_holds_the_engine_that_the_numbers_suggest(begun: str, goes_on: str) -> None:
    fast_isas()
    with pytest.raises(ConfigError) as raised:
        resumed(version_1(trained(begun)), goes_on)
    assert raised.value.what == (
        f"the model file does not say which engine trained it; its numbers suggest {begun}, "
        f"and {goes_on} computes other bits"
    )
    assert resumed(version_1(trained(begun, 0)), goes_on).engine.name == goes_on


def test_version_1_goes_on_with_the_engine_that_the_numbers_suggest_and_keeps_what_is_unknown(
    tmp_path: Path,
) -> None:
    fast_isas()
    with pytest.warns(UserWarning, match=r"its numbers suggest fast; training continues with fast"):
        session = resumed(version_1(trained("fast")))
    made_by = after(session, 8).made_by
    assert made_by.engine == "fast"
    for name in ("instruction_set", "libm", "platform", "microgpt"):
        assert getattr(made_by, name).startswith("unknown, then "), name
    for engine in ("scalar", "exact", "auto"):
        made_by = after(resumed(version_1(trained("exact")), engine), 8).made_by
        assert made_by.libm.startswith("unknown, then ") and made_by.instruction_set == ""
    (tmp_path / "list.txt").write_text("\n".join(TINY_DOCUMENTS))
    with pytest.warns(UserWarning):
        model = after(resumed(version_1(trained("fast"))), 8)
    checkpoint.save(tmp_path / "m.safetensors", model)
    (result,) = exported.verify(
        str(tmp_path / "m.safetensors"), None, [str(tmp_path / "list.txt")]
    ).cases
    assert result.answer == "not comparable"
    assert "does not say on which instruction set its training began" in result.explanation


def test_an_engine_that_cannot_have_trained_the_model_makes_the_file_wrong(tmp_path: Path) -> None:
    fast_isas()
    model = trained("fast", muon=0.5)
    model = model._replace(made_by=model.made_by._replace(engine="exact"))
    for engine in ("auto", "exact", "fast"):
        with pytest.raises(CheckpointError, match="does not train with the file's configuration"):
            resumed(model, engine)
    path, source = tmp_path / "m.safetensors", tmp_path / "list.txt"
    source.write_text("\n".join(TINY_DOCUMENTS))
    checkpoint.save(path, model)
    with pytest.raises(CheckpointError) as raised:
        exported.verify(str(path), None, [str(source)])
    assert raised.value.exit_code == 65


def test_auto_resumes_with_the_recorded_engine() -> None:
    assert resumed(trained("scalar")).engine.name == "scalar"
    fast_isas()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resumed(trained("exact")).engine.name == "exact"
        assert resumed(trained("fast")).engine.name == "fast"


def test_engines_with_the_same_bits_may_take_over_from_each_other() -> None:
    fast_isas()
    whole = after(resumed(trained("exact")), 12)
    for begun, goes_on in (("exact", "scalar"), ("scalar", "exact")):
        model = after(resumed(trained(begun), goes_on), 12)
        assert model.made_by.engine == goes_on
        assert model.weights_sha256() == whole.weights_sha256()


@pytest.mark.parametrize(("begun", "goes_on"), [("fast", "exact"), ("exact", "fast")])
def test_another_engine_whose_bits_differ_is_refused(begun: str, goes_on: str) -> None:
    fast_isas()
    with pytest.raises(ConfigError) as raised:
        resumed(trained(begun), goes_on)
    assert raised.value.what == (
        f"the model was trained by the engine {begun}, and {goes_on} computes other bits"
    )
    assert f"engine {begun}, or leave the option out" in raised.value.fix


def test_a_recorded_engine_that_is_not_installed_is_named() -> None:
    model = trained("scalar")
    other = model._replace(made_by=model.made_by._replace(engine="numpy"))
    for engine in ("auto", "numpy", "scalar"):
        with pytest.raises(MissingPartError, match=r"trained by the engine 'numpy', which is not"):
            resumed(other, engine)
    assert Session.measure(other, Corpus(list(TINY_DOCUMENTS), SOURCE), "scalar").step == 6


def test_another_instruction_set_goes_on_with_a_warning_and_both_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, *others = fast_isas()
    if not others:
        pytest.skip("this machine has one instruction set")
    model = trained("fast")
    assert model.made_by.instruction_set == one
    monkeypatch.setenv("MICROGPT_ISA", others[0])
    with pytest.warns(UserWarning, match=f"was trained on {one}, and training continues on"):
        session = resumed(model)
    assert session.checkpoint().made_by.instruction_set == one
    mixed = after(session, 8)
    assert mixed.made_by.instruction_set == f"{one}, then {others[0]}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert after(resumed(mixed), 9).made_by == mixed.made_by


# ---- verify
# ---------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A model of the fast engine on each instruction set, and their list."""
    (tmp_path / "list.txt").write_text("\n".join(TINY_DOCUMENTS))
    for isa in fast_isas():
        source = corpus.read([str(tmp_path / "list.txt")])
        config = Config(**TINY, muon=0.95, batch_size=4, learning_rate=0.005)
        session = Session.start(config, source, "auto", instruction_set=isa)
        model = after(session, 12)
        assert model.made_by.instruction_set == isa
        checkpoint.save(tmp_path / f"{isa}.safetensors", model)
    return tmp_path


def test_a_model_is_compared_on_the_instruction_set_that_made_it_whichever_is_the_default(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for default in fast_isas():
        monkeypatch.setenv("MICROGPT_ISA", default)
        for isa in fast_isas():
            path = str(good / f"{isa}.safetensors")
            assert exported.verify(path, None, None).answer == "same", (default, isa)


def test_a_model_of_an_instruction_set_that_is_not_here_is_not_called_different(
    good: Path,
) -> None:
    path = good / f"{fast_isas()[0]}.safetensors"
    model = checkpoint.load(path)
    for isa, why in (
        ("avx1024", "the engine fast does not run on avx1024 here"),
        ("avx512, then avx2", "more than one instruction set"),
    ):
        checkpoint.save(path, model._replace(made_by=model.made_by._replace(instruction_set=isa)))
        result = exported.verify(str(path), None, None)
        assert (result.answer, result.exit_code) == ("not comparable", 1)
        assert why in result.cases[0].explanation and result.cases[0].difference is None


def test_a_model_of_an_engine_that_is_not_here_is_not_called_different(good: Path) -> None:
    path = good / f"{fast_isas()[0]}.safetensors"
    model = checkpoint.load(path)
    checkpoint.save(path, model._replace(made_by=model.made_by._replace(engine="numpy")))
    (result,) = exported.verify(str(path), None, None).cases
    assert result.answer == "not comparable"
    assert "trained by the engine 'numpy', which is not installed" in result.explanation


def test_bits_that_differ_are_called_different_only_if_nothing_else_explains_them(
    good: Path,
) -> None:
    path = good / f"{fast_isas()[0]}.safetensors"
    model = checkpoint.load(path)
    model.state.parameters[5] += 0.25
    checkpoint.save(path, model)
    assert exported.verify(str(path), None, None).answer == "different"
    for changes, why in (
        ({"microgpt": "0.0.1"}, "microgpt was 0.0.1 there and is"),
        ({"libm": "musl"}, "libm was musl there and is"),
    ):
        checkpoint.save(path, model._replace(made_by=model.made_by._replace(**changes)))
        (result,) = exported.verify(str(path), None, None).cases
        assert result.answer == "not comparable" and why in result.explanation
