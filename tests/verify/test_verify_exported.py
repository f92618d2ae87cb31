"""`verify` of model files: a checkpoint against its own run, exports against their checkpoint."""

from __future__ import annotations

import base64
import json
import math
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, TINY_DOCUMENTS, skip_or_fail
from helpers import checkpoint_after

from microgpt import MicroGPT, checkpoint, corpus, exporting
from microgpt.checkpoint import Checkpoint
from microgpt.cli import main
from microgpt.config import Config
from microgpt.errors import CheckpointError, ConfigError, DataError
from microgpt.randomness import Draws
from microgpt.tokenizer import Tokenizer
from microgpt.training import Session
from microgpt.verify import exported
from microgpt.verify.verdict import CaseResult, Verdict, render


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model of a list that lies beside it."""
    source = tmp_path / "list.txt"
    source.write_text("\n".join(TINY_DOCUMENTS))
    MicroGPT(**TINY, engine="scalar").fit(source).save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def changed(path: Path, what: str = "parameters", index: int = 13) -> Path:
    """The model with one number moved to its neighbor, its hash made to fit."""
    model = checkpoint.load(path)
    numbers = getattr(model.state, what)
    numbers[index] = math.nextafter(numbers[index], math.inf)
    other = path.with_name("changed.safetensors")
    checkpoint.save(other, model)
    return other


def export(path: Path, form: str) -> Path:
    output = path.with_suffix(f".{form}")
    output.write_bytes(exporting.export(checkpoint.load(path), form, [])[f".{form}"])
    return output


def test_a_model_is_what_its_own_settings_and_list_give(path: Path) -> None:
    verdict = exported.verify(str(path), None, None)
    assert verdict.answer == "same"
    count = Config(**TINY).parameter_count(4)
    assert verdict.cases[0].numbers == 3 * count
    (path.parent / "list.txt").rename(path.parent / "moved.txt")
    assert exported.verify(str(path), None, [str(path.parent / "moved.txt")]).answer == "same"


@pytest.mark.parametrize("steps", [0, 3, 9])
def test_a_model_that_was_stopped_under_way_is_verified_up_to_its_step(
    tmp_path: Path, steps: int
) -> None:
    stopped = checkpoint_after(steps, list(TINY_DOCUMENTS), num_steps=9)
    (tmp_path / "list.txt").write_text("\n".join(TINY_DOCUMENTS))
    checkpoint.save(tmp_path / "stopped.safetensors", stopped)
    verdict = exported.verify(
        str(tmp_path / "stopped.safetensors"), None, [str(tmp_path / "list.txt")]
    )
    assert verdict.answer == "same" and f"{steps} steps" in verdict.cases[0].case


@pytest.mark.parametrize("what", ["parameters", "m", "v"])
def test_one_number_changed_in_its_last_bit_is_found_with_its_place(path: Path, what: str) -> None:
    verdict = exported.verify(str(changed(path, what)), None, None)
    difference = verdict.cases[0].difference
    assert verdict.answer == "different" and difference
    # 4 tokens and 4 columns: number 13 is in the last row of the first matrix
    assert (difference.what, difference.tensor, difference.row, difference.column) == (
        what,
        "wte",
        3,
        1,
    )
    assert difference.ulps == 1
    number = getattr(checkpoint.load(path).state, what)[13]
    assert difference.original.endswith(number.hex())
    assert difference.variant.endswith(math.nextafter(number, math.inf).hex())


def test_a_model_that_the_float32_engine_trained_is_trained_again_by_it(path: Path) -> None:
    source = corpus.read([str(path.with_name("list.txt"))])
    session = Session.start(Config(**TINY), source, "fast")
    deque(session.run(lambda: False), maxlen=0)
    model = path.with_name("fast.safetensors")
    checkpoint.save(model, session.checkpoint())
    case = exported.verify(str(model), None, None).cases[0]
    assert case.answer == "same" and "engine fast" in case.case
    assert exported.verify(str(changed(model)), None, None).answer == "different"


def test_other_settings_than_those_trained_with_are_found(path: Path) -> None:
    model = checkpoint.load(path)
    other = Config(**{**model.config.to_dict(), "seed": 43})
    checkpoint.save(path, model._replace(config=other))
    assert exported.verify(str(path), None, None).answer == "different"


def test_other_documents_and_a_missing_list_are_errors_that_say_so(path: Path) -> None:
    other = path.with_name("other.txt")
    other.write_text("ab\nba\n")
    with pytest.raises(DataError, match="2 documents here, 8 there"):
        exported.verify(str(path), None, [str(other)])
    path.with_name("list.txt").write_text("changed\n")
    with pytest.raises(DataError, match="has changed"):
        exported.verify(str(path), None, None)


@pytest.mark.parametrize("form", ["html", "js"])
def test_an_export_holds_its_models_weights_and_not_anothers(path: Path, form: str) -> None:
    output = str(export(path, form))
    assert exported.verify(output, str(path), None).answer == "same"
    difference = exported.verify(output, str(changed(path)), None).cases[0].difference
    assert difference and (
        difference.tensor,
        difference.row,
        difference.column,
        difference.ulps,
    ) == ("wte", 3, 1, 1)
    model = checkpoint.load(path)
    other = Config(**{**model.config.to_dict(), "beta1": 0.5})
    checkpoint.save(path, model._replace(config=other))
    difference = exported.verify(output, str(path), None).cases[0].difference
    assert difference and difference.what == "config"


def test_a_module_is_run_in_node_and_only_if_export_wrote_every_byte_of_it(
    path: Path, tmp_path: Path
) -> None:
    import shutil

    if not shutil.which("node"):
        skip_or_fail("node", "node is not installed")
    output = export(path, "js")
    (note,) = exported.verify(str(output), str(path), None).cases[0].notes
    assert note.startswith("log-probabilities, in node")
    hit = tmp_path / "hit"
    code = f"\n(await import('node:fs')).writeFileSync({json.dumps(str(hit))}, '');\n"
    output.write_text(output.read_text(encoding="utf-8") + code, encoding="utf-8")
    (result,) = exported.verify(str(output), str(path), None).cases
    assert result.answer == "not comparable" and not result.notes and not hit.exists()
    assert "what it computes; it names microgpt" in result.explanation


def test_without_node_the_weights_are_compared_and_it_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = export(path, "js")
    monkeypatch.setattr(exporting.shutil, "which", lambda name: None)
    verdict = exported.verify(str(output), str(path), None)
    assert verdict.answer == "same"
    assert "nothing run: node" in verdict.cases[0].notes[0]


@pytest.mark.parametrize(
    "text", ["", "<p>page</p>", "// A microgpt model as a JavaScript module\nconst MODEL = {};\n"]
)
def test_a_file_without_a_model_is_an_error(path: Path, text: str) -> None:
    page = path.with_name("page.html")
    page.write_text(text)
    with pytest.raises(CheckpointError, match="no exported model"):
        exported.verify(str(page), str(path), None)


def test_an_export_needs_its_model_and_a_checkpoint_needs_none(path: Path) -> None:
    with pytest.raises(ConfigError, match="compared with the model it was made from"):
        exported.verify(str(export(path, "html")), None, None)
    with pytest.raises(ConfigError, match="its own training, done again"):
        exported.verify(str(path), str(path), None)


def test_the_command_tells_the_first_difference_and_exits_1(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(path)]) == 0
    assert "the same on 1 case" in capsys.readouterr().out
    assert main(["verify", str(changed(path)), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["cases"][0]["difference"]["where"] == "the parameters: wte, row 3, column 1"
    assert main(["verify", str(path), "--steps", "3"]) == 2
    assert main(["verify", str(path), "--level", "printed"]) == 2


# ---- hostile files
# ---------------------------------------------------------------------------------------


def rewritten(output: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    """The module with other data."""
    text = output.read_text(encoding="utf-8")
    line = next(line for line in text.split("\n") if line.startswith("const MODEL = "))
    data = change(json.loads(line.removeprefix("const MODEL = ").removesuffix(";")))
    other = output.with_name("other.js")
    other.write_text(text.replace(line, f"const MODEL = {json.dumps(data)};"), encoding="utf-8")
    return str(other)


@pytest.mark.parametrize("config", [None, ["val"], [], "val", "", 3, 0.5, {}, True])
def test_an_export_whose_configuration_is_none_is_refused_or_different(
    path: Path, config: object
) -> None:
    other = rewritten(export(path, "js"), lambda data: data | {"config": config})
    try:
        assert exported.verify(other, str(path), None).answer == "different"
    except CheckpointError as error:
        assert "no exported model" in error.what


def test_an_export_with_a_number_too_many_or_too_few_is_different(path: Path) -> None:
    output = export(path, "js")
    for change in (lambda raw: raw + bytes(8), lambda raw: raw[:-8], lambda raw: b""):

        def other(data: dict[str, Any], change: Callable[[bytes], bytes] = change) -> Any:
            raw = change(base64.b64decode(data["parameters"]))
            return data | {"parameters": base64.b64encode(raw).decode()}

        (result,) = exported.verify(rewritten(output, other), str(path), None).cases
        assert result.answer == "different" and result.difference
        assert "absent" in (result.difference.original, result.difference.variant)


def test_an_export_with_both_names_of_held_out_is_refused(path: Path) -> None:
    other = rewritten(
        export(path, "js"), lambda data: data | {"config": data["config"] | {"val": 0.0}}
    )
    with pytest.raises(CheckpointError, match="both held_out and its earlier name, val"):
        exported.verify(other, str(path), None)


def test_an_export_that_hides_other_weights_is_not_called_the_same(path: Path) -> None:
    output = export(path, "js")
    text = output.read_text(encoding="utf-8")
    line = next(line for line in text.split("\n") if line.startswith("const MODEL = "))
    other = line.replace('"parameters":"', '"parameters":"AAAA')
    output.write_text(text.replace(line, f"/*\n{line}\n*/\n{other}"), encoding="utf-8")
    verdict = exported.verify(str(output), str(path), None)
    assert (verdict.answer, verdict.exit_code) == ("not comparable", 1)
    assert "microgpt export MODEL" in verdict.cases[0].explanation
    page = export(path, "html")
    page.write_text(page.read_text(encoding="utf-8") + "<script>x</script>", encoding="utf-8")
    assert exported.verify(str(page), str(path), None).answer == "not comparable"


def test_a_page_with_the_built_in_list_is_the_same(tmp_path: Path) -> None:
    session = Session.start(Config(**TINY), corpus.builtin(), "exact")
    checkpoint.save(tmp_path / "m.safetensors", session.checkpoint())
    page = tmp_path / "page.html"
    documents = corpus.builtin().documents
    page.write_bytes(exporting.export(session.checkpoint(), "html", documents)[".html"])
    assert exported.verify(str(page), str(tmp_path / "m.safetensors"), None).answer == "same"


def test_a_page_with_its_dataset_is_the_same_and_with_another_dataset_is_not(path: Path) -> None:
    page, model = path.with_name("page.html"), checkpoint.load(path)
    for documents, answer in (
        (list(TINY_DOCUMENTS), "same"),
        ([*TINY_DOCUMENTS[1:], "ab"], "not comparable"),
    ):
        page.write_bytes(exporting.export(model, "html", documents)[".html"])
        assert exported.verify(str(page), str(path), None).answer == answer
    page.write_bytes(
        exporting.export(model._replace(draws=Draws(1)), "html", list(TINY_DOCUMENTS))[".html"]
    )
    difference = exported.verify(str(page), str(path), None).cases[0].difference
    assert difference and difference.what == "rng_state"
    assert difference.original != difference.variant


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        ("rng_state", lambda model: {"draws": Draws(7)}),
        ("data.documents", lambda model: {"data": model.data._replace(documents=999)}),
        ("alphabet", lambda model: {"tokenizer": Tokenizer("xyz")}),
    ],
)
def test_a_forged_entry_of_a_checkpoint_is_named(
    path: Path, entry: str, change: Callable[[Checkpoint], dict[str, Any]]
) -> None:
    model = checkpoint.load(path)
    checkpoint.save(path, model._replace(**change(model)))
    verdict = exported.verify(str(path), None, None)
    difference = verdict.cases[0].difference
    assert verdict.answer == "different" and difference and difference.what == entry
    assert difference.original != difference.variant


def test_a_forged_step_is_different(path: Path) -> None:
    model = checkpoint.load(path)
    checkpoint.save(path, model._replace(state=model.state._replace(step=3)))
    assert exported.verify(str(path), None, None).answer == "different"


def test_a_verdict_and_a_remark_never_write_control_characters(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    escape = "\x1b]0;x\x07"
    result = CaseResult(escape, "not comparable", explanation=escape, notes=[escape])
    text = render(Verdict(escape, escape, "bits", 0, [result], (escape,)))
    assert text.isascii() and text.replace("\n", "").isprintable() and text.count("\\x1b") == 6
    main(["info", str(path)])
    warnings.warn(escape, stacklevel=1)
    assert "\\x1b]0;x\\x07" in capsys.readouterr().err
