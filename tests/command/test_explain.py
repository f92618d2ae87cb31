"""`microgpt explain`: a string, position by position."""

from __future__ import annotations

import json
from pathlib import Path

from command_support import Run, model, run  # noqa: F401


def test_explain_draws_and_prints_every_number(run: Run, model: str) -> None:
    code, out, _ = run("explain", model, "cab", "--grad")
    assert (
        code == 0
        and "c → a" in out
        and "attention, layer 0, head 1" in out
        and "gradient of wte" in out
    )
    assert "head 1" not in run("explain", model, "cab", "--head", "0")[1]
    for head in ("2", "9", "-1", "2000"):
        code, _, err = run("explain", model, "cab", "--head", head)
        assert code == 2 and f"head must be a whole number from 0 to 1, not {head}\n" in err
    assert "must be a whole number, not 'x'" in run("explain", model, "cab", "--head", "x")[2]
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
