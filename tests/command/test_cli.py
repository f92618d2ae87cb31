"""The command: results on stdout, the rest on stderr, the exit codes of docs/reliability.md."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from conftest import GOLDENS, TINY_DOCUMENTS, golden, has_engine

from microgpt import Config, __version__, checkpoint, corpus
from microgpt.cli import main
from microgpt.options import build_parser, flag
from microgpt.training import Session

FLAGS = ["--n-embd", "4", "--n-head", "2", "--block-size", "5", "--steps", "12"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a folder with list.txt; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    Path("list.txt").write_text("\n".join(TINY_DOCUMENTS))

    def call(*args: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(args)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def model(run: Run) -> str:
    """A trained model in the folder."""
    assert run("train", "list.txt", *FLAGS, "-q")[0] == 0
    return "list.safetensors"


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
    code, out, err = run("train", "list.txt", *FLAGS, "-q")
    assert (code, len(out.splitlines()), err) == (0, 20, "")


def test_cut_documents_are_counted_and_auto_cuts_none(run: Run) -> None:
    flags = [*FLAGS, "--block-size", "4"]
    assert (
        "2 documents are longer than block_size 4 and cut; --block-size auto"
        in run("train", "list.txt", *flags)[2]
    )
    err = run("train", "list.txt", *FLAGS, "--block-size", "auto")[2]
    assert "cut" not in err


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


def test_sample_repeats_with_its_seed_and_says_when_strings_are_missing(
    run: Run, model: str
) -> None:
    first = run("sample", model, "-n", "7", "--seed", "3")
    assert first[:2] == run("sample", "-n", "7", "--seed", "3")[:2]  # the only model in the folder
    assert len(first[1].splitlines()) == 7
    code, out, err = run("sample", model, "-n", "5", "--match", "zz+")
    assert (code, out) == (1, "") and "found 0 of 5" in err
    out = run("sample", model, "-n", "3", "--json", "--seed", "3", "--min-len", "1")[1]
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["text"] for line in lines] == [text for text in first[1].splitlines() if text][:3]
    scored = run("score", model, "-", stdin="\n".join(line["text"] for line in lines))[1]
    assert [float(line.split("\t")[0]) for line in scored.splitlines()] == [
        x["log_probability"] for x in lines
    ]


def test_strings_longer_than_the_model_makes_are_a_usage_error(run: Run, model: str) -> None:
    code, out, err = run("sample", model, "--min-len", "50")
    assert (code, out) == (2, "")
    assert "min_len is 50, but the model makes at most 5 characters" in err
    assert "where: option min_len" in err and "fix: min_len 5 or less" in err


def test_novel_reads_the_training_list_again_or_the_one_given(run: Run, model: str) -> None:
    code, out, _ = run("sample", model, "-n", "30", "--novel", "--seed", "1")
    assert code == 0 and not set(out.split()) & set(TINY_DOCUMENTS)
    Path("other.txt").write_text("a\nc\n")
    out = run("sample", model, "-n", "30", "--novel", "other.txt", "--seed", "1")[1]
    assert set(out.split()) & set(TINY_DOCUMENTS) and not set(out.split()) & {"a", "c"}
    Path("list.txt").write_text("changed")
    assert run("sample", model, "--novel")[0] == 65


def test_novel_reads_a_column_again_as_it_was_read(run: Run) -> None:
    Path("a, b.csv").write_text(
        "id,word\n" + "".join(f"{i},{w}\n" for i, w in enumerate(TINY_DOCUMENTS))
    )
    assert (
        run(
            "train", "a, b.csv", "--column", "word", "--dedupe", *FLAGS, "-q", "-o", "t.safetensors"
        )[0]
        == 0
    )
    code, out, _ = run("sample", "t.safetensors", "--novel", "--seed", "1")
    assert code == 0 and not set(out.split()) & set(TINY_DOCUMENTS)


def test_score_prints_sorts_filters_and_flags(run: Run, model: str) -> None:
    stdin = "ab\ncc\nabcabc\n"
    code, out, err = run("score", model, stdin=stdin)
    assert code == 0 and [line.split("\t")[1] for line in out.splitlines()] == [
        "ab",
        "cc",
        "abcabc",
    ]
    assert "1 strings do not fit the model's block of 5" in err
    points = {line.split("\t")[1]: float(line.split("\t")[0]) for line in out.splitlines()}
    in_bits = run("score", model, "--bits", "--sort", stdin=stdin)[1].splitlines()
    assert [line.split("\t")[1] for line in in_bits] == sorted(
        points, key=lambda text: -points[text]
    )
    assert float(in_bits[0].split("\t")[0]) == pytest.approx(max(points.values()) / math.log(2))
    assert run("score", model, "--min", str(points["ab"]), stdin=stdin)[1].count("\n") < 3
    records = [
        json.loads(line)
        for line in run("score", model, "--json", "--per-char", stdin=stdin)[1].splitlines()
    ]
    assert records[0]["log_probability"] == pytest.approx(points["ab"] / 3)
    assert [record["cut"] for record in records] == [False, False, True]


def test_score_refuses_or_skips_unknown_characters(run: Run, model: str) -> None:
    code, out, err = run("score", model, stdin="ab\nxyz\n")
    assert code == 65 and "'x' (U+0078) is not in the model's alphabet" in err
    code, out, err = run("score", model, "--unk", "skip", stdin="ab\nxyz\n")
    assert code == 0 and out.endswith("\tab\n") and "skipped 1 strings" in err


def test_eval_sets_the_model_beside_ngrams_on_one_split(run: Run, model: str) -> None:
    code, out, _ = run("eval", "list.txt", *FLAGS, "--holdout", "0.25", "--json", "-q")
    found = json.loads(out)
    assert code == 0 and found["documents"] == 2
    assert list(found["models"]) == ["uniform", *(f"{n}-gram" for n in range(1, 6)), "microgpt"]
    assert found["models"]["uniform"]["nats_per_token"] == pytest.approx(math.log(4))
    # A model trained with the same share held out is measured on the same documents.
    assert run("train", "list.txt", *FLAGS, "--val", "0.25", "-q", "-o", "v.safetensors")[0] == 0
    again = json.loads(run("eval", "v.safetensors", "list.txt", "--json", "-q")[1])
    assert again == found
    code, _, err = run("eval", "v.safetensors", "list.txt", "--holdout", "0.5")
    assert code == 2 and "held out 0.25 of this list" in err
    code, out, err = run("eval", model, "list.txt")
    assert code == 0 and "was trained on this whole list" in err and out.startswith("model ")


def test_eval_of_a_model_refuses_settings_of_training_and_tells_what_it_has_seen(
    run: Run, model: str
) -> None:
    for flags in (["--preset", "good"], ["--steps", "5"], ["--windows"]):
        code, _, err = run("eval", model, "list.txt", *flags)
        assert code == 2 and "this model is trained" in err
    Path("longer.txt").write_text(Path("list.txt").read_text() + "\ncaba\n")
    code, _, err = run("eval", model, "longer.txt", "--holdout", "0.5")
    assert code == 0 and "strings held out stand in the list the model was trained on" in err


@pytest.mark.parametrize("path", ["", "-"])
def test_a_model_goes_to_a_file(run: Run, path: str) -> None:
    code, _, err = run("train", "list.txt", *FLAGS, "-o", path)
    assert code == 2 and "a model goes to a file" in err


def test_info_tells_what_a_file_holds(run: Run, model: str) -> None:
    found = json.loads(run("info", model, "--json")[1])
    assert found["alphabet"] == "abc" and found["step"] == 12 and found["config"]["n_embd"] == 4
    assert found["sha256"] == hashlib.sha256(Path(model).read_bytes()).hexdigest()
    assert found["data"]["origin"]["sources"] == ["list.txt"]
    assert "scalar" in json.loads(run("info", "--engine", "--json")[1])
    assert "n_embd         4" in run("info", model)[1]


def test_explain_draws_and_prints_every_number(run: Run, model: str) -> None:
    code, out, _ = run("explain", model, "cab", "--grad")
    assert (
        code == 0
        and "c → a" in out
        and "attention, layer 0, head 1" in out
        and "gradient of wte" in out
    )
    assert "head 1" not in run("explain", model, "cab", "--head", "0")[1]
    assert run("explain", model, "cab", "--head", "2")[0] == 2
    found = json.loads(run("explain", model, "cab", "--json")[1])
    assert len(found["probabilities"]) == 4 and len(found["attention"][0]) == 2


def test_explain_with_a_model_alone_asks_for_the_text(run: Run, model: str) -> None:
    Path("renamed").write_bytes(Path(model).read_bytes())
    for name in (model, "renamed", "none.safetensors"):
        code, out, err = run("explain", name)
        assert (code, out) == (2, "")
        assert "where: argument TEXT" in err and f"fix: microgpt explain '{name}' TEXT" in err
    Path("renamed").unlink()
    assert (
        run("explain", "cab")[:2] == run("explain", model, "cab")[:2]
    )  # the only model in the folder


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_verbs(run: Run, shell: str) -> None:
    pytest.importorskip("shtab")
    code, out, _ = run("completion", shell)
    assert (code == 0 and "explain" in out and "--block-size" in out) or "block-size" in out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=out.encode(), check=True)


def test_help_begins_with_examples_and_flags_come_from_config(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.index("examples:") < text.index("options:")
    for item in fields(Config):
        assert flag(item) in text and item.metadata["says"].split()[0] in text
    args = build_parser().parse_args(["train"])
    assert all(getattr(args, item.name) is None for item in fields(Config))


def test_version_and_usage_errors(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["-V"])
    assert capsys.readouterr().out == f"microgpt {__version__}\n"
    for wrong in (
        [],
        ["nothing"],
        ["train", "--no-such"],
        ["sample", "-n"],
        ["train", "--n-embd", "x"],
    ):
        code, out, err = run(*wrong)
        assert (
            (code, out) == (2, "")
            and err.startswith("microgpt: error: ")
            and "Traceback" not in err
        )


def test_options_may_stand_between_the_arguments(run: Run, model: str) -> None:
    Path("-x.txt").write_text("ab")
    for first, then in (
        (["score", model, "list.txt", "--bits"], ["score", model, "--bits", "list.txt"]),
        (["explain", model, "ab", "--json"], ["explain", model, "--json", "ab"]),
        (["eval", model, "list.txt", "--json"], ["eval", model, "--json", "list.txt"]),
        (["train", *FLAGS, "--", "list.txt", "-x.txt"], ["train", "list.txt", *FLAGS, "./-x.txt"]),
    ):
        assert run(*then)[:2] == run(*first)[:2]
    code, _, err = run("sample", "--novel", model, "-n", "3")
    assert code == 2 and f"microgpt sample {model} --novel" in err


def test_no_model_or_several_in_the_folder_is_an_error_that_says_which(
    run: Run, model: str
) -> None:
    Path("b.safetensors").write_bytes(Path(model).read_bytes())
    code, _, err = run("sample")
    assert code == 66 and "'b.safetensors', 'list.safetensors'" in err


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_remarks_that_cannot_be_written_cost_nothing_but_themselves(run: Run) -> None:
    expected = {
        f"train list.txt {' '.join(FLAGS)}": 0,
        "score none.safetensors": 66,
        "train list.txt --steps x": 2,
    }
    for words, code in expected.items():
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "microgpt", *words.split()],
                stderr=full,
                stdout=subprocess.PIPE,
            )
        assert done.returncode == code
    assert checkpoint.load("list.safetensors").state.step == 12


def test_a_closed_pipe_ends_quietly(model: str) -> None:
    command = f"{sys.executable} -m microgpt sample {model} -n 5000 --seed 1 | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env={"PYTHONWARNINGS": "ignore"}
    )
    assert (
        done.stdout.count("\n") == 1
        and "Traceback" not in done.stderr
        and "error" not in done.stderr
    )
