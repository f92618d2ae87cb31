"""`microgpt score`: log-probabilities and their order."""

from __future__ import annotations

import json
import math

import pytest
from command_support import Run, model, run  # noqa: F401


def test_score_prints_sorts_filters_and_flags(run: Run, model: str) -> None:
    stdin = "ab\ncc\nabcabc\n"
    code, out, err = run("score", model, stdin=stdin)
    assert code == 0 and [line.split("\t")[1] for line in out.splitlines()] == [
        "ab",
        "cc",
        "abcabc",
    ]
    assert "scored only the beginning of 1 string, longer than the model's block of 5" in err
    points = {line.split("\t")[1]: float(line.split("\t")[0]) for line in out.splitlines()}
    in_bits = run("score", model, "--bits", "--sort", stdin=stdin)[1].splitlines()
    assert [line.split("\t")[1] for line in in_bits] == sorted(
        points, key=lambda text: -points[text]
    )
    assert float(in_bits[0].split("\t")[0]) == pytest.approx(max(points.values()) / math.log(2))
    assert run("score", model, "--min", str(points["ab"]), stdin=stdin)[1].count("\n") < 3
    records = [
        json.loads(line)
        for line in run("score", model, "--json", "--per-token", stdin=stdin)[1].splitlines()
    ]
    assert records[0]["log_probability"] == pytest.approx(points["ab"] / 3)
    assert [record["cut"] for record in records] == [False, False, True]


def test_score_refuses_or_skips_unknown_characters(run: Run, model: str) -> None:
    code, out, err = run("score", model, stdin="ab\nxyz\n")
    assert code == 65 and "'x' (U+0078) is not in the model's alphabet" in err
    code, out, err = run("score", model, "--unk", "skip", stdin="ab\nxyz\n")
    assert code == 0 and out.endswith("\tab\n") and "skipped 1 string with" in err
