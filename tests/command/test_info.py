"""`microgpt info`: what a model file holds, and which engines there are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from command_support import Run, model, run  # noqa: F401

from microgpt import checkpoint


def test_info_tells_what_a_file_holds(run: Run, model: str) -> None:
    found = json.loads(run("info", model, "--json")[1])
    assert found["alphabet"] == "abc" and found["step"] == 12 and found["config"]["n_embd"] == 4
    assert found["sha256"] == hashlib.sha256(Path(model).read_bytes()).hexdigest()
    assert found["data"]["origin"]["sources"] == ["list.txt"]
    stored = checkpoint.load(model)
    assert found["weights_sha256"] == stored.weights_sha256()
    assert found["made_by"]["engine"] == stored.made_by.engine != ""
    assert "scalar" in json.loads(run("info", "--engine", "--json")[1])
    assert "n_embd           4" in run("info", model)[1]
