"""Every CPython of this machine, from 3.11 on, computes the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HERE, golden, skip_or_fail
from journey_pythons import available
from native_build import build, can_build

LOAD = """
import importlib.machinery, importlib.util, sys
if sys.argv[2]:
    loader = importlib.machinery.ExtensionFileLoader("microgpt._native", sys.argv[2])
    spec = importlib.util.spec_from_loader("microgpt._native", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules["microgpt._native"] = module
"""
PROGRAM = """
import hashlib, json, sys
from microgpt.config import Config
from microgpt.corpus import read
from microgpt.training import Session
config = Config(n_layer=2, n_embd=8, n_head=2, block_size=8, num_steps=40)
session = Session.start(config, read([]), sys.argv[1])
blocks = session.run(lambda: session.step >= 12, every=1)
losses = [step.loss.hex() for block in blocks for step in block]
digest = hashlib.sha256(session.engine.state().parameters.tobytes()).hexdigest()
print(json.dumps([sys.version.split()[0], losses, digest, session.draws.coins(2).tolist()]))
"""


def outcome(python: str, engine: str = "scalar", module: str = "") -> list[object]:
    """Losses, hash of the parameters, coins; module: a build of the compiled engines to use."""
    command = [python, "-c", LOAD + PROGRAM, engine, module]
    environment = {"PYTHONPATH": str(HERE.parent / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    result: list[object] = json.loads(done.stdout)[1:]
    return result


def others() -> dict[str, str]:
    """Version -> path of each other CPython from 3.11 on that this machine has."""
    found = {version: path for version, path in available().items() if path != sys.executable}
    found.pop(f"3.{sys.version_info.minor}", None)
    if not found:
        pytest.skip("this machine has no other CPython from 3.11 on")
    return found


def test_this_python_computes_the_golden_bits() -> None:
    expected = golden("two-layers")
    losses, digest, _ = outcome(sys.executable)
    assert losses == expected.loss_hex[:12]
    assert digest == expected.params_sha256[11]


@pytest.mark.proof
def test_every_other_python_of_this_machine_computes_the_same_bits() -> None:
    ours = outcome(sys.executable)
    for version, python in others().items():
        assert outcome(python) == ours, version


@pytest.mark.proof
def test_one_build_for_the_stable_abi_computes_the_same_bits_on_every_python_from_3_12_on(
    tmp_path: Path,
) -> None:
    newer = {
        version: python for version, python in others().items() if int(version.split(".")[1]) >= 12
    }
    if not newer:
        pytest.skip("this machine has no CPython from 3.12 on")
    if not can_build():
        skip_or_fail("native", "building needs cmake, a C++ compiler and nanobind")
    module = build(tmp_path, "-DMICROGPT_ISAS=avx2", python=next(iter(newer.values())))
    assert "abi3" in module.name
    ours = outcome(sys.executable)
    for version, python in newer.items():
        assert outcome(python, "exact", str(module)) == ours, version
