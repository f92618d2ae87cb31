"""The list of planted faults stays valid while the code changes."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(Path(__file__).parent))
from faults import FAULTS, TESTS, Fault

PACKAGE = ROOT / "src" / "microgpt"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.breaks}")
def test_a_fault_changes_one_place_and_leaves_a_program(fault: Fault) -> None:
    text = (PACKAGE / fault.file).read_text()
    assert text.count(fault.old) == 1, f"{fault.old!r} must occur exactly once in {fault.file}"
    ast.parse(text.replace(fault.old, fault.new))


def test_every_fault_has_a_name_of_its_own_and_tests_that_exist() -> None:
    names = [(fault.file, fault.breaks) for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert {fault.file for fault in FAULTS} == set(TESTS)
    for arguments in TESTS.values():
        for path in (argument for argument in arguments if not argument.startswith("-")):
            assert (ROOT / path).exists(), path


def test_every_survivor_is_a_fault_of_the_list_and_has_a_reason() -> None:
    survivors = json.loads((ROOT / "tests" / "mutation" / "survivors.json").read_text())
    assert set(survivors) <= {f"{fault.file}: {fault.breaks}" for fault in FAULTS}
    assert all(len(reason) > 20 for reason in survivors.values())
