"""`microgpt sample`: filters, seeds and models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from command_support import FLAGS, Run, model, run  # noqa: F401
from conftest import TINY_DOCUMENTS


def test_sample_repeats_with_its_seed_and_says_when_strings_are_missing(
    run: Run, model: str
) -> None:
    first = run("sample", model, "-n", "7", "--seed", "3")
    assert first[:2] == run("sample", "-n", "7", "--seed", "3")[:2]  # the only model in the folder
    assert len(first[1].splitlines()) == 7
    code, out, err = run("sample", model, "-n", "5", "--match", "zz+")
    assert (code, out) == (1, "") and "generated 0 of 5 documents" in err
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
    assert "min_len is 50, but the model generates at most 5 characters" in err
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


def test_no_model_or_several_in_the_folder_is_an_error_that_says_which(
    run: Run, model: str
) -> None:
    Path("b.safetensors").write_bytes(Path(model).read_bytes())
    code, _, err = run("sample")
    assert code == 66 and "'b.safetensors', 'list.safetensors'" in err


def test_a_closed_pipe_ends_quietly(model: str) -> None:
    command = f"{sys.executable} -m microgpt sample {model} -n 5000 --seed 1 | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    assert (
        done.stdout.count("\n") == 1
        and "Traceback" not in done.stderr
        and "error" not in done.stderr
    )
