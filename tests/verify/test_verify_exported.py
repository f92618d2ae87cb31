"""`verify` of model files: a checkpoint against its own run, exports against their checkpoint."""

from __future__ import annotations

import json
import math
from collections import deque
from pathlib import Path

import pytest
from conftest import TINY, TINY_DOCUMENTS, skip_or_fail
from helpers import checkpoint_after

from microgpt import MicroGPT, checkpoint, corpus, exporting
from microgpt.cli import main
from microgpt.config import Config
from microgpt.errors import CheckpointError, ConfigError, DataError
from microgpt.training import Session
from microgpt.verify import exported


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
    (note,) = exported.verify(str(output), str(path), None).cases[0].notes
    assert "nothing run" in note and not hit.exists()


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
