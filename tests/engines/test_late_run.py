"""The exact engine late in a long run: dead units' moments are tiny, and the bits stay scalar's."""

from __future__ import annotations

import json
import random
from array import array
from typing import Any

import late_run
import pytest
from exact_support import WAYS, never

from microgpt.config import Config
from microgpt.engines import State
from microgpt.engines.exact import ExactEngine
from microgpt.engines.scalar import ScalarEngine


@pytest.mark.parametrize("isa,libm", WAYS)
def test_twenty_thousand_recorded_steps_are_repeated_to_the_last_bit(isa: str, libm: str) -> None:
    documents, vocab_size, weights = late_run.start()
    engine = ExactEngine(late_run.CONFIG, vocab_size, State.initial(weights), isa=isa, libm=libm)
    expected = json.loads(late_run.GOLDEN.read_text())
    assert len(expected) == late_run.CONFIG.num_steps // late_run.EVERY
    for block, (found, recorded) in enumerate(
        zip(late_run.digests(engine, documents), expected, strict=True)
    ):
        assert found == recorded, f"steps up to {(block + 1) * late_run.EVERY}"
    moments = engine.state()
    for numbers in (moments.m, moments.v):
        assert sum(0 < abs(x) < 2.0**-1022 for x in numbers) > 50, "the run has become harmless"


SMALLEST = 2.0**-1074
TINY = [SMALLEST, 3 * SMALLEST, 2.0**-1023, 2.0**-1022, 1.1 * 2.0**-1022, 2.0**-960, 2.0**-901]
PLACES = {
    "m": (TINY, [0.0, 1e-12]),
    "v": ([0.0, 1e-103], TINY),
    "both": ([*TINY, 0.0, 1e-200], [*TINY, 0.0, 1e-90, 1e-45]),
}


@pytest.mark.parametrize("isa,libm", WAYS)
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    "beta1,beta2,eps_adam",
    [(0.85, 0.99, 1e-8), (0.5, 0.999, 1e-80), (0.3, 0.2, 1e-8), (0.85, 0.99, 1e-100)],
)
def test_tiny_moments_decay_as_in_the_scalar_engine(
    where: str, beta1: float, beta2: float, eps_adam: float, isa: str, libm: str
) -> None:
    config = Config(n_embd=4, n_head=2, block_size=4, beta1=beta1, beta2=beta2, eps_adam=eps_adam)
    rng = random.Random(where)
    count = config.parameter_count(9)
    # The tokens 1 to 7 and the positions 2 and 3 do not occur: their gradients are 0.
    weights = array("d", [rng.choice([rng.gauss(0, 0.5)] * 9 + [0.0]) for _ in range(count)])
    m = array("d", [rng.choice([-1, 1]) * rng.choice(PLACES[where][0]) for _ in range(count)])
    v = array("d", [rng.choice(PLACES[where][1]) for _ in range(count)])
    for at in range(4):  # weights so small that tiny moments move them
        weights[4 + at], m[4 + at] = (0.0, -0.0, 1e-250, -1e-300)[at], -SMALLEST
        weights[8 + at], m[8 + at] = (0.0, -0.0, 1e-250, -1e-300)[at], -0.0
    engines: list[Any] = [
        ScalarEngine(config, 9, State(weights, m, v, 3)),
        ExactEngine(config, 9, State(weights, m, v, 3), isa=isa, libm=libm),
    ]
    for _ in range(3):  # past step 32, when the exact engine looks for tiny moments again
        for engine in engines:
            assert engine.steps([[[8, 0, 8]]] * 12, [0.01] * 12, never).end == "done"
        expected, found = (engine.state() for engine in engines)
        for name in ("parameters", "m", "v"):
            assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name
