"""The benchmark history names what became slower by more than 10 %, and nothing else."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

MACHINE = {"processor": "P", "cores": "2", "system": "Linux", "python": "3.11.7"}
STEP, RATE = "training step · exact · us", "names scored · exact · 1/s"


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("history")


def results(step: float, rate: float, **machine: str) -> dict[str, Any]:
    measurements = [
        {"what": "training step", "engine": "exact", "unit": "us", "median": step},
        {"what": "names scored", "engine": "exact", "unit": "1/s", "median": rate},
    ]
    return {
        "machine": MACHINE | {"date": "2026-11-25", "microgpt": "0.1.0"} | machine,
        "measurements": measurements,
    }


def recorded(history: Any, path: Path, *runs: dict[str, Any]) -> Path:
    for run in runs:
        (path / "results.json").write_text(json.dumps(run))
        history.append(path / "results.json", path / "history.jsonl")
    return path / "history.jsonl"


@pytest.mark.parametrize(
    ("step", "rate", "named"),
    [
        (10.0, 1000.0, []),
        (10.9, 920.0, []),
        (11.2, 1000.0, [STEP]),
        (10.0, 900.0, [RATE]),
        (11.2, 900.0, [RATE, STEP]),
        (5.0, 2000.0, []),
    ],
)
def test_a_figure_that_became_more_than_10_percent_worse_is_named(
    history: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    step: float,
    rate: float,
    named: list[str],
) -> None:
    path = recorded(history, tmp_path, results(10.0, 1000.0), results(step, rate))
    assert history.compare(path) == bool(named)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(":")[0] for line in lines if "worse" in line and ":" in line] == named


def test_runs_of_another_machine_are_passed_over(
    history: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = results(1.0, 9000.0, processor="faster")
    path = recorded(history, tmp_path, results(10.0, 1000.0), other)
    assert history.compare(path) == 0
    assert "no earlier run of this machine" in capsys.readouterr().out
    path = recorded(history, tmp_path, results(20.0, 1000.0))
    assert history.compare(path) == 1


def test_the_history_in_the_repository_can_be_read(history: Any) -> None:
    for line in history.HISTORY.read_text().splitlines():
        run = json.loads(line)
        assert set(run) == {"date", "commit", "machine", "figures"}
        assert set(run["machine"]) == set(history.MACHINE)
