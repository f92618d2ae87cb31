"""`microgpt train`: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
import xml.etree.ElementTree
from pathlib import Path

import pytest
from command_support import FLAGS, Run, model, run  # noqa: F401
from conftest import GOLDENS, TINY_DOCUMENTS, golden, has_engine

from microgpt import checkpoint, corpus
from microgpt.training import Session


@pytest.mark.parametrize("name", ["two-layers", "long", "seed7"])
def test_transcript_is_the_original_scripts_stdout(run: Run, name: str) -> None:
    expected = golden(name)
    code, out, _ = run(
        "train", str(expected.data), "--transcript", "-q", "-o", "m.safetensors", *expected.flags()
    )
    assert code == 0
    assert [line.split(": ", 1)[1] for line in out.splitlines()[-20:]] == expected.samples
    assert hashlib.sha256(out.encode()).hexdigest() == expected.stdout_sha256


@pytest.mark.skipif(not has_engine("exact"), reason="the compiled engine is not installed")
@pytest.mark.parametrize("name", GOLDENS)
def test_compiled_transcript_and_trace_are_the_original_scripts_whole_run(
    run: Run, name: str
) -> None:
    expected = golden(name)
    files = ["-o", "m.safetensors", "--trace", "t.jsonl"]
    code, out, _ = run("train", str(expected.data), "--transcript", "-q", *files, *expected.flags())
    assert code == 0
    assert hashlib.sha256(out.encode()).hexdigest() == expected.stdout_sha256
    lines = [json.loads(line) for line in Path("t.jsonl").read_text().splitlines()]
    assert [line["loss_hex"] for line in lines] == expected.loss_hex
    assert [line["params_sha256"] for line in lines] == expected.params_sha256


def test_trace_holds_the_golden_values(run: Run) -> None:
    expected = golden("two-layers")
    assert run("train", str(expected.data), "--trace", "t.jsonl", "-q", *expected.flags())[0] == 0
    lines = [json.loads(line) for line in Path("t.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 41))
    assert [line["loss_hex"] for line in lines] == expected.loss_hex
    assert [line["loss"].hex() for line in lines] == expected.loss_hex
    assert [line["params_sha256"] for line in lines] == expected.params_sha256


@pytest.mark.skipif(not has_engine("exact"), reason="the compiled engine is not installed")
def test_the_published_run_of_the_original_comes_out(run: Run) -> None:
    _, out, _ = run("train", str(golden("makemore-names").data), "--transcript", "-q")
    lines = out.splitlines()
    assert lines[3].endswith("loss 3.3660") and lines[1002].endswith("loss 2.6497")
    samples = [line.split(": ")[1] for line in lines[-20:]]
    assert samples[:8] == ["kamon", "ann", "karai", "jaire", "vialan", "karia", "yeran", "anna"]


def test_training_prints_samples_on_stdout_and_remarks_on_stderr(run: Run) -> None:
    code, out, err = run("train", "list.txt", *FLAGS, "--samples", "3")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert "8 documents, 4 tokens" in err and "saved list.safetensors" in err
    steps = re.findall(r"^step (\d+) / 12 ", err, re.M)
    assert steps[-1] == "12" and len(steps) <= 10
    assert len(re.findall(r"^step \d+ / 12  mean loss \d\.\d{4}  ", err, re.M)) == len(steps)
    code, out, err = run("train", "list.txt", *FLAGS, "-q")
    assert (code, len(out.splitlines()), err) == (0, 20, "")


def test_cut_documents_are_counted_and_auto_cuts_none(run: Run) -> None:
    flags = [*FLAGS, "--block-size", "4"]
    assert (
        "cut to block_size 4: 2 documents; --block-size auto avoids it"
        in run("train", "list.txt", *flags)[2]
    )
    err = run("train", "list.txt", *FLAGS, "--block-size", "auto")[2]
    assert "cut" not in err


def test_remarks_count_one_document_without_an_s(run: Run) -> None:
    Path("one.txt").write_text("abcdefg")
    err = run("train", "one.txt", *FLAGS)[2]
    assert "one.txt: 1 document, 8 tokens" in err and "cut to block_size 5: 1 document;" in err
    err = run("train", "-", *FLAGS, stdin="ab")[2]
    assert err.startswith("standard input: 1 document, 3 tokens")


@pytest.mark.skipif(not has_engine("exact"), reason="the compiled engine is not installed")
@pytest.mark.parametrize("option", ["--muon=0.9", "--weight-decay=1", "--input-dropout=0.1"])
def test_an_engine_that_lacks_an_update_is_refused_before_anything_is_said(
    run: Run, option: str
) -> None:
    code, out, err = run("train", "list.txt", *FLAGS, option, "--engine", "exact", "-v")
    assert (code, out) == (2, "") and err.startswith(
        "microgpt: error: the exact engine does not support weight decay, input dropout or Muon\n"
    )


def test_documents_come_from_standard_input(run: Run, model: str) -> None:
    assert (
        run("train", "-", *FLAGS, "-q", "-o", "p.safetensors", stdin="\n".join(TINY_DOCUMENTS))[0]
        == 0
    )
    assert (
        run("sample", "p.safetensors", "--seed", "1")[1] == run("sample", model, "--seed", "1")[1]
    )


def test_columns_of_tables_and_json_lines_are_documents(run: Run, model: str) -> None:
    Path("t.csv").write_text(
        "id,word\n" + "".join(f'{i},"{w}"\n' for i, w in enumerate(TINY_DOCUMENTS))
    )
    Path("t.jsonl").write_text("".join(json.dumps({"word": w}) + "\n" for w in TINY_DOCUMENTS))
    expected = run("sample", model, "--seed", "1")[1]
    for path in ("t.csv", "t.jsonl"):
        assert run("train", path, "--column", "word", *FLAGS, "-q", "-o", "t.safetensors")[0] == 0
        assert run("sample", "t.safetensors", "--seed", "1")[1] == expected
        scored = run("score", model, path, "--column", "word")[1]
        assert [line.split("\t")[1] for line in scored.splitlines()] == TINY_DOCUMENTS
    for verb in (["train", "t.csv", *FLAGS], ["score", model, "t.csv"]):
        code, _, err = run(*verb, "--column", "name")
        assert code == 65 and "--column with one of: 'id', 'word'" in err


def test_resume_goes_on_after_a_finished_run_and_refuses_other_settings(
    run: Run, model: str
) -> None:
    before = Path(model).read_bytes()
    assert run("train", "list.txt", "--resume", "-q")[0] == 0
    assert Path(model).read_bytes() == before
    for preset in ("good", "reference"):  # n_embd of the reference: 16
        assert run("train", "list.txt", "--resume", "--preset", preset)[0] == 2
    code, _, err = run("train", "list.txt", "--resume", "--n-embd", "8")
    assert code == 2 and "n_embd 4, not 8" in err
    assert run("train", "list.txt", "--resume", "-o", "none.safetensors")[0] == 66


def test_a_finished_run_that_is_resumed_says_that_nothing_was_trained(run: Run, model: str) -> None:
    before = Path(model).stat()
    code, _, err = run("train", "list.txt", "--resume")
    assert code == 0 and "saved" not in err and "replaced" not in err
    assert f"nothing was trained: the run of {model} was complete at step 12\n" in err
    assert Path(model).stat().st_mtime_ns == before.st_mtime_ns


def test_a_model_that_is_replaced_is_named(run: Run, model: str) -> None:
    for flags in ([], ["--save-every", "5"]):
        err = run("train", "list.txt", *FLAGS, *flags)[2]
        assert err.count(f"replaced {model}, the model of step 12\n") == 1
    Path("mine.txt").write_text("mine")
    assert "replaced" not in run("train", "list.txt", *FLAGS, "-o", "mine.txt", "--force")[2]
    assert "replaced" not in run("train", "list.txt", *FLAGS, "-o", "new.safetensors")[2]


def test_log_and_plot_hold_the_losses(run: Run) -> None:
    assert run("train", "list.txt", *FLAGS, "-q", "--log", "l.jsonl", "--plot", "p.svg")[0] == 0
    lines = [json.loads(line) for line in Path("l.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert lines[0]["learning_rate"] == 0.01
    root = xml.etree.ElementTree.parse("p.svg").getroot()
    (curve,) = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(curve.attrib["points"].split()) == 12


def test_a_resumed_run_goes_on_with_its_log_and_trace(run: Run) -> None:
    files = ["--log", "l.jsonl", "--trace", "t.jsonl"]
    assert run("train", "list.txt", *FLAGS, "-q", *files)[0] == 0
    whole = Path("t.jsonl").read_text()
    part = Session.start(
        checkpoint.load("list.safetensors").config, corpus.read(["list.txt"]), "auto"
    )
    next(part.run(lambda: False, every=7))
    checkpoint.save("list.safetensors", part.checkpoint())
    assert 0 < part.step < 12
    Path("t.jsonl").write_text(whole[:-20])  # steps that were not saved, and a line cut short
    assert run("train", "list.txt", "--resume", "-q", *files)[0] == 0
    assert Path("t.jsonl").read_text() == whole
    assert [json.loads(line)["step"] for line in Path("l.jsonl").read_text().splitlines()] == list(
        range(1, 13)
    )


@pytest.mark.parametrize("option", ["-o", "--trace", "--log", "--plot"])
def test_files_of_others_are_overwritten_only_by_force(run: Run, option: str) -> None:
    Path("mine.txt").write_text("do not touch")
    code, _, err = run("train", "list.txt", *FLAGS, "-q", option, "mine.txt")
    assert code == 73 and "--force" in err
    assert Path("mine.txt").read_text() == "do not touch"
    for _ in range(2):  # the second time it is ours
        assert (
            run(
                "train",
                "list.txt",
                *FLAGS,
                "-q",
                option,
                "mine.txt",
                *(["--force"] if not _ else []),
            )[0]
            == 0
        )
    assert Path("mine.txt").read_bytes() != b"do not touch"


@pytest.mark.parametrize("path", ["", "-"])
def test_a_model_goes_to_a_file(run: Run, path: str) -> None:
    code, _, err = run("train", "list.txt", *FLAGS, "-o", path)
    assert code == 2 and "a model is written to a file" in err


def test_colour_is_for_terminals_unless_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    flags = ["train", "list.txt", *FLAGS, "-q", "--steps", "60"]
    assert "\x1b" not in run(*flags)[1]
    assert "\x1b[2m" in run(*flags, "--color", "always")[1]  # strings of the list are dimmed
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in run(*flags)[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run(*flags)[1]
