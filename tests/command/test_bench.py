"""`microgpt bench`: what it measures and what it refuses."""

from __future__ import annotations

import json

import pytest
from conftest import has_engine, skip_or_fail

from microgpt import benchmarking, cli


def test_bench_measures_nothing_for_seconds_out_of_range(monkeypatch, capsys):
    monkeypatch.setattr(benchmarking, "_commands", lambda _: pytest.fail("something was measured"))
    for value in ("nan", "inf", "-inf", "-1", "0", "86401", "1e300"):
        assert cli.main(["bench", f"--seconds={value}"]) == 2
        shown = capsys.readouterr().err
        assert (
            "seconds must be a number above 0 and at most 86,400" in shown
            and "where: option seconds" in shown
        )
    monkeypatch.setattr(benchmarking, "_commands", lambda _: iter(()))
    monkeypatch.setattr(benchmarking.engines, "available", dict)
    for value in ("1e-9", "86400"):
        assert cli.main(["bench", f"--seconds={value}"]) == 0


@pytest.mark.parametrize("engine", ["exact", "fast"])
def test_bench_makes_and_scores_names_with_a_compiled_engine(engine):
    if not has_engine(engine):
        skip_or_fail("native", "the compiled engine was not built")
    found = list(benchmarking.use(engine, 1e-9))
    assert [one.what for one in found] == ["names generated", "names scored"]
    assert all(one.low > 0 for one in found)


def test_a_peer_without_a_command_is_refused(capsys):
    for peer in ("cat", "=cat", "cat="):
        assert cli.main(["bench", "--peer", peer]) == 2
        assert "a peer has the form NAME=COMMAND" in capsys.readouterr().err


def test_figures_are_printed_as_a_table_or_as_json(monkeypatch, capsys):
    figure = benchmarking.Measurement("training step", "exact", "us", 8.0, 7.0, 9.0, 3, 900.0)
    monkeypatch.setattr(benchmarking, "measure", lambda *_: iter([figure]))
    assert cli.main(["bench"]) == 0
    shown = capsys.readouterr()
    row = ["training", "step", "exact", "8", "7–9", "us", "3", "900"]
    assert shown.out.splitlines()[-1].split() == row
    assert shown.err == "training step exact: 8 us\n"
    assert cli.main(["bench", "--json", "-q"]) == 0
    assert "training step" in json.dumps(json.loads(capsys.readouterr().out))
