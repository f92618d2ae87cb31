"""What the tests of the exact engine share: the module under test and a small model. Holds no test.

MICROGPT_TEST_NATIVE names a build of the extension module to test in place of the installed one.
Importing this file skips the test where there is none.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import random
import sys
from array import array

from conftest import need
from hypothesis import HealthCheck, settings

from microgpt.config import Config
from microgpt.engines import State

if path := os.environ.get("MICROGPT_TEST_NATIVE"):
    loader = importlib.machinery.ExtensionFileLoader("microgpt._native", path)
    spec = importlib.util.spec_from_file_location("microgpt._native", path, loader=loader)
    assert spec
    sys.modules["microgpt._native"] = importlib.util.module_from_spec(spec)
    loader.exec_module(sys.modules["microgpt._native"])

native_module = need(
    "microgpt._native", "native", "the compiled module was not built: no C++ compiler"
)
from microgpt.engines.exact import ExactEngine  # noqa: E402 - after the module under test

ISAS: list[str] = native_module.about()["isas"]
WAYS = [(isa, libm) for isa in ISAS for libm in ("", "system") if isa != "baseline" or libm]
LASTING = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


def never() -> bool:
    return False


def small(
    weights: array[float] | None = None, m: float = 0.0, v: float = 0.0, **ways: str
) -> ExactEngine:
    config = Config(n_embd=4, n_head=2, block_size=4)
    count = config.parameter_count(5)
    rng = random.Random(2)
    weights = weights or array("d", [rng.gauss(0, 0.08) for _ in range(count)])
    return ExactEngine(
        config, 5, State(weights, array("d", [m] * count), array("d", [v] * count), 3), **ways
    )
