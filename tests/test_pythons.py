"""Every CPython from 3.11 on that this machine has computes the same bits."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HERE, golden

PROGRAM = """
import hashlib, json, sys
from microgpt.config import Config
from microgpt.corpus import read
from microgpt.training import Session
session = Session.start(Config(n_layer=2, n_embd=8, n_head=2, block_size=8, num_steps=40), read([]), "scalar")
losses = [step.loss.hex() for block in session.run(lambda: session.step >= 12, every=1) for step in block]
digest = hashlib.sha256(session.engine.state().parameters.tobytes()).hexdigest()
print(json.dumps([sys.version.split()[0], losses, digest, session.draws.coins(2).tolist()]))
"""


def pythons() -> list[str]:
    """One path for each CPython of another minor version than ours."""
    found = {}
    for minor in range(11, 20):
        path = shutil.which(f"python3.{minor}")
        if path and minor != sys.version_info.minor:
            version = subprocess.run([path, "-V"], capture_output=True, text=True).stdout
            if re.match(r"Python 3\.", version):
                found[minor] = path
    return list(found.values())


def outcome(python: str) -> list[object]:
    source = str(HERE.parent / "src")
    output = subprocess.run(
        [python, "-c", PROGRAM], capture_output=True, text=True, check=True, env={"PYTHONPATH": source}
    ).stdout
    result: list[object] = json.loads(output)[1:]
    return result


def test_this_python_computes_the_golden_bits() -> None:
    expected = golden("two-layers")
    losses, digest, _ = outcome(sys.executable)
    assert losses == expected.loss_hex[:12]
    assert digest == expected.params_sha256[11]


def test_every_other_python_of_this_machine_computes_the_same_bits() -> None:
    others = pythons()
    if not others:
        pytest.skip("this machine has no other CPython from 3.11 on")
    ours = outcome(sys.executable)
    for python in others:
        assert outcome(python) == ours, Path(python).name
