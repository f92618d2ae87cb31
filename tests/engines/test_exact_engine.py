"""The exact engine computes the scalar engine's bits, on every instruction set, and stops."""

from __future__ import annotations

import hashlib
import math
import os
import random
import struct
import threading
import time
from array import array
from typing import Any

import pytest
from conftest import GOLDENS, golden
from exact_support import ISAS, LASTING, WAYS, never, small
from helpers import recorded_start
from hypothesis import given, settings
from hypothesis import strategies as st

from microgpt import reference
from microgpt.config import Config
from microgpt.engines import State
from microgpt.engines.exact import ExactEngine
from microgpt.engines.scalar import ScalarEngine
from microgpt.errors import StoppedError

EXAMPLES = int(os.environ.get("MICROGPT_TEST_EXAMPLES", "25"))


def bits(numbers: Any) -> bytes:
    """Nested sequences of floats as their IEEE-754 bytes, so that -0.0 and 0.0 differ."""
    if isinstance(numbers, float):
        return struct.pack("<d", numbers)
    return b"[" + b"".join(map(bits, numbers)) + b"]"


# ---- Goldens: recorded from the script itself ----------------------------------------------------


def run_golden(name: str, **ways: str) -> None:
    """The recorded run, whole, one step a call: losses, parameters after every step, samples."""
    expected = golden(name)
    config = expected.config
    documents, alphabet, start, rng = recorded_start(expected)
    engine = ExactEngine(config, len(alphabet) + 1, start, **ways)
    for step in range(config.num_steps):
        rate = reference.learning_rate_at(step, config.num_steps, config.learning_rate)
        run = engine.steps([[documents[step % len(documents)]]], [rate], never)
        assert [loss.hex() for loss in run.losses] == [expected.loss_hex[step]], (
            f"loss of step {step}"
        )
        digest = hashlib.sha256(engine.state().parameters.tobytes()).hexdigest()
        assert digest == expected.params_sha256[step], f"parameters after step {step}"
    coins = array("d", [rng.random() for _ in range(20 * config.block_size)])
    samples = engine.generate(
        20, coins, [len(alphabet)], expected.temperature, 0, 1.0, never
    ).documents
    assert ["".join(alphabet[token] for token in sample) for sample in samples] == expected.samples


@pytest.mark.parametrize("isa,libm", WAYS)
@pytest.mark.parametrize("name", GOLDENS)
def test_exact_engine_repeats_the_recorded_run_to_the_last_bit(
    name: str, isa: str, libm: str
) -> None:
    run_golden(name, isa=isa, libm=libm)


# ---- Random configurations against the scalar engine ---------------------------------------------


class Case:
    """A model, documents and settings: about `budget` products an update for the scalar engine."""

    def __init__(self, draw: Any, budget: int) -> None:
        n_layer, n_head = draw(st.integers(1, 4)), draw(st.integers(1, 6))
        widest = math.isqrt(budget // (12 * n_layer))  # at least one position fits into the budget
        head_dim = draw(st.integers(1, max(1, min(64, widest) // n_head)))
        d = n_head * head_dim
        self.vocab_size = draw(st.integers(1, max(1, min(80, budget // d))))
        left = max(1, budget // (12 * n_layer * d * d + d * self.vocab_size))  # positions
        self.config = Config(
            n_layer=n_layer,
            n_head=n_head,
            n_embd=d,
            block_size=draw(st.integers(1, min(40, 2 * left))),
            beta1=draw(st.sampled_from([0.85, 0.0, 0.9])),
            beta2=draw(st.sampled_from([0.99, 0.0, 0.999])),
        )
        self.batches: list[list[list[int]]] = []
        for _ in range(draw(st.integers(1, 3))):
            self.batches.append([])
            for _ in range(draw(st.integers(1, 5))):
                inner = draw(
                    st.lists(
                        st.integers(0, self.vocab_size - 1), max_size=max(0, min(44, left - 1))
                    )
                )
                left -= len(inner) + 1
                self.batches[-1].append([self.vocab_size - 1, *inner, self.vocab_size - 1])
                if left <= 0:
                    break
            if left <= 0:
                break
        self.rates = [draw(st.floats(0, 0.1)) for _ in self.batches]
        self.rng = random.Random(draw(st.integers(0, 2**32)))
        std = draw(st.sampled_from([0.08, 0.5, 3.0]))
        count = self.config.parameter_count(self.vocab_size)
        self.weights = array("d", [self.rng.gauss(0, std) for _ in range(count)])
        self.way = draw(st.sampled_from(WAYS))
        self.temperature = draw(st.sampled_from([0.5, 1.0, 0.1, 3.0]))
        self.top_k = draw(st.integers(0, 5))
        self.top_p = draw(st.sampled_from([1.0, 0.9, 0.3]))
        self.start = [self.rng.randrange(self.vocab_size) for _ in range(draw(st.integers(1, 3)))]
        self.start = self.start[: self.config.block_size]

    def __repr__(self) -> str:
        return (
            f"{self.config}, vocabulary {self.vocab_size}, {self.batches}, {self.rates}, {self.way}"
        )


def check(case: Case) -> None:
    isa, libm = case.way
    scalar = ScalarEngine(case.config, case.vocab_size, State.initial(case.weights))
    exact = ExactEngine(
        case.config, case.vocab_size, State.initial(case.weights), isa=isa, libm=libm
    )
    expected_loss, expected_gradients = scalar.gradients(case.batches[0], never)
    loss, gradients = exact.gradients(case.batches[0], never)
    assert bits(loss) == bits(expected_loss)
    assert gradients.tobytes() == expected_gradients.tobytes()
    expected, found = (e.steps(case.batches, case.rates, never) for e in (scalar, exact))
    assert (bits(found.losses), found.end) == (bits(expected.losses), expected.end)
    before, after = scalar.state(), exact.state()
    assert after.step == before.step
    for name in ("parameters", "m", "v"):
        assert getattr(after, name).tobytes() == getattr(before, name).tobytes(), name
    document = case.batches[0][0]
    assert [*map(bits, exact.trace(document, never))] == [*map(bits, scalar.trace(document, never))]
    assert bits(exact.log_probabilities(case.batches[0], never)) == bits(
        scalar.log_probabilities(case.batches[0], never)
    )
    coins = array("d", [case.rng.random() for _ in range(case.config.block_size + 3)])
    sampling = (coins, case.start, case.temperature, case.top_k, case.top_p, never)
    assert exact.generate(2, *sampling) == scalar.generate(2, *sampling)


@st.composite
def cases(draw: Any, budget: int) -> Case:
    return Case(draw, budget)


@settings(LASTING, max_examples=EXAMPLES)
@given(cases(budget=4_000))
def test_random_models_have_the_scalar_engines_bits(case: Case) -> None:
    check(case)


@pytest.mark.proof
@settings(LASTING, max_examples=200)
@given(cases(budget=4_000))
def test_two_hundred_random_models_have_the_scalar_engines_bits(case: Case) -> None:
    check(case)


def test_a_gradient_that_is_not_finite_at_one_position_leaves_the_others_their_bits() -> None:
    config, vocab_size, document, found = (
        Config(n_embd=3, n_head=1, block_size=5),
        66,
        [65, 1, 0, 65],
        0,
    )
    for seed in range(150):
        rng = random.Random(seed)
        weights = array("d", [rng.gauss(0, 3.0) for _ in range(config.parameter_count(vocab_size))])
        scalar, exact = (
            kind(config, vocab_size, State.initial(weights)) for kind in (ScalarEngine, ExactEngine)
        )
        loss, gradients = exact.gradients([document], never)
        expected_loss, expected = scalar.gradients([document], never)
        assert bits(loss) == bits(expected_loss)
        assert gradients.tobytes() == expected.tobytes(), seed
        finite = [math.isfinite(g) for g in expected if g]
        found += math.isfinite(loss) and any(finite) and not all(finite)
    assert found >= 3, found


@pytest.mark.soak
@settings(LASTING, max_examples=10_000)
@given(cases(budget=60_000))
def test_ten_thousand_random_models_have_the_scalar_engines_bits(case: Case) -> None:
    check(case)


@pytest.mark.proof
@pytest.mark.parametrize("isa,libm", WAYS)
def test_a_wide_deep_model_has_the_scalar_engines_bits(isa: str, libm: str) -> None:
    config = Config(n_layer=4, n_embd=60, n_head=6, block_size=33)
    rng = random.Random(1)
    weights = array("d", [rng.gauss(0, 0.08) for _ in range(config.parameter_count(11))])
    batch = [[10, 3, 10], [10, 1]]
    scalar, exact = (
        _wide_scalar(),
        ExactEngine(config, 11, State.initial(weights), isa=isa, libm=libm),
    )
    loss, gradients = exact.gradients(batch, never)
    assert (loss, gradients.tobytes()) == scalar


_WIDE: list[tuple[float, bytes]] = []


def _wide_scalar() -> tuple[float, bytes]:
    """The scalar engine's answer for the test above, worked out once for all instruction sets."""
    if not _WIDE:
        config = Config(n_layer=4, n_embd=60, n_head=6, block_size=33)
        rng = random.Random(1)
        weights = array("d", [rng.gauss(0, 0.08) for _ in range(config.parameter_count(11))])
        loss, gradients = ScalarEngine(config, 11, State.initial(weights)).gradients(
            [[10, 3, 10], [10, 1]], never
        )
        _WIDE.append((loss, gradients.tobytes()))
    return _WIDE[0]


# ---- Extremes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa,libm", WAYS)
@pytest.mark.parametrize(
    "m,v", [(1e-300, 0.0), (-5e-324, 1e-310), (0.0, 5e-324), (1e150, 1e300), (-0.0, 2e-271)]
)
def test_moments_near_underflow_and_overflow_have_the_scalar_engines_bits(
    m: float, v: float, isa: str, libm: str
) -> None:
    exact = small(m=m, v=v, isa=isa, libm=libm)
    scalar = ScalarEngine(Config(n_embd=4, n_head=2, block_size=4), 5, exact.state())
    for engine in (exact, scalar):
        assert engine.steps([[[4, 0, 4]]] * 3, [0.01] * 3, never).end == "done"
    for name in ("parameters", "m", "v"):
        assert getattr(exact.state(), name).tobytes() == getattr(scalar.state(), name).tobytes(), (
            name
        )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("planted", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_leaves_no_trace(isa: str, planted: float) -> None:
    weights = small().state().parameters
    for i in range(len(weights)):
        weights[i] = planted
    exact = small(weights, isa=isa)
    before = exact.state()
    assert exact.steps([[[4, 0, 4]]] * 2, [0.1] * 2, never) == ([], "diverged")
    after = exact.state()
    assert after.parameters.tobytes() == before.parameters.tobytes()
    assert (after.m, after.v, after.step) == (before.m, before.v, before.step)


# ---- Stopping ------------------------------------------------------------------------------------


def test_stop_is_asked_within_a_huge_step_and_the_step_leaves_no_trace() -> None:
    config = Config(n_embd=256, n_head=4, n_layer=4, block_size=256)
    engine = ExactEngine(config, 30, State.initial(array("d", [0.01]) * config.parameter_count(30)))
    before, asked = engine.state(), []

    def stop() -> bool:
        asked.append(time.monotonic())
        return len(asked) == 10

    document = [29, *(i % 29 for i in range(255)), 29]
    assert engine.steps([[document] * 50], [0.01], stop) == ([], "stopped")
    assert len(asked) == 10
    assert engine.state() == before


@pytest.mark.parametrize("work", ["gradients", "trace"])
def test_stop_is_asked_within_one_large_document(work: str) -> None:
    config = Config(n_embd=128, n_head=4, n_layer=4, block_size=256)
    engine = ExactEngine(config, 30, State.initial(array("d", [0.01]) * config.parameter_count(30)))
    document, asked = [29, *(i % 29 for i in range(255)), 29], 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 10

    with pytest.raises(StoppedError):
        if work == "trace":
            engine.trace(document, stop)
        else:
            engine.gradients([document], stop)
    assert asked == 10


def test_an_exception_in_stop_comes_out_and_the_engine_goes_on() -> None:
    engine, calls = small(), []

    def stop() -> bool:
        calls.append(0)
        raise KeyboardInterrupt

    before = engine.state()
    for action in (
        lambda: engine.steps([[[4, 0, 4]]], [0.1], stop),
        lambda: engine.log_probabilities([[4, 0, 4]], stop),
        lambda: engine.generate(1, array("d", [0.5] * 4), [4], 1.0, 0, 1.0, stop),
        lambda: engine.gradients([[4, 0, 4]], stop),
        lambda: engine.trace([4, 0, 4], stop),
    ):
        with pytest.raises(KeyboardInterrupt):
            action()
    assert len(calls) == 5
    assert engine.state() == before
    assert engine.steps([[[4, 0, 4]]], [0.1], never).end == "done"


def test_stopping_at_once_returns_nothing_finished() -> None:
    engine = small()
    assert engine.steps([[[4, 0, 4]]], [0.1], lambda: True) == ([], "stopped")
    assert engine.log_probabilities([[4, 0, 4]], lambda: True) == []
    assert engine.generate(1, array("d", [0.5] * 4), [4], 1.0, 0, 1.0, lambda: True) == ([], 0)
    for call in (
        lambda: engine.gradients([[4, 0, 4]], lambda: True),
        lambda: engine.trace([4, 0, 4], lambda: True),
    ):
        with pytest.raises(StoppedError):
            call()


def test_stop_that_calls_its_own_engine_gets_an_error_not_a_deadlock() -> None:
    engine = small()
    with pytest.raises(RuntimeError, match="must not call the engine that asks it"):
        engine.steps([[[4, 0, 4]]], [0.1], lambda: bool(engine.state()))


# ---- Threads -------------------------------------------------------------------------------------


def test_eight_threads_sampling_one_model_get_what_one_gets() -> None:
    engine = small()
    rng = random.Random(3)
    coins = [array("d", [rng.random() for _ in range(400)]) for _ in range(8)]
    expected = [engine.generate(50, c, [4], 1.0, 0, 1.0, never) for c in coins]
    found: list[Any] = [None] * 8

    def work(i: int) -> None:
        for _ in range(20):
            found[i] = engine.generate(50, coins[i], [4], 1.0, 0, 1.0, never)
            engine.log_probabilities([[4, i % 4, 4]], never)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected
