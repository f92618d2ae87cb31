"""The editions against whole recorded runs of the original script: every loss, every weight.

The recordings were made from the original at full precision, by another program than `verify`.
"""

from __future__ import annotations

import hashlib
import json

import pytest
from conftest import EDITIONS, SHARED

from microgpt.journey import ledger
from microgpt.verify.cases import Settings
from microgpt.verify.programs import Interest, python_program


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("data", ["makemore-names", "us-names-2018"])
@pytest.mark.parametrize("name", ledger.CERTIFIED)
def test_a_whole_run_of_an_edition_is_the_recorded_one(name: str, data: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared is not here")
    golden = json.loads((SHARED / "golden" / f"{data}.json").read_text())
    program = python_program(str(EDITIONS / name))
    assert golden["settings"] == {}  # the original's own
    settings = Settings((SHARED / "data" / f"{data}.txt").read_bytes())
    probe = Interest(("parameters",), (0,)) if name != "golf.py" else Interest(("P",), (0,))
    recording = program.run(settings, 0, probe)
    assert recording.outcome.failure == ""
    assert hashlib.sha256(recording.outcome.stdout).hexdigest() == golden["stdout_sha256"]
    assert [number.hex() for _, number in recording.numbers] == golden["loss_hex"]
    (key,) = (k for k in recording.states if k.removesuffix(".data") in ("parameters", "P"))
    digests = [hashlib.sha256(state.raw).hexdigest() for state in recording.sequence(key)]
    assert digests[1:] == golden["params_sha256"]
