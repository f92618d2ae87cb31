"""The fast engine against the scalar engine, finite differences and itself.

Its results do not depend on the number of threads. Where the scalar engine would take seconds, the
exact engine takes its place: it computes the same bits (test_exact_engine.py).
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from conftest import golden, need, skip_or_fail
from helpers import recorded_start
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microgpt import reference
from microgpt.config import Config
from microgpt.engines import Engine, State, available
from microgpt.engines.scalar import ScalarEngine
from microgpt.errors import ConfigError, StoppedError

_native = need("microgpt._native", "native", "the compiled module was not built: no C++ compiler")
if not hasattr(_native, "Fast"):
    skip_or_fail("native", "the compiled module was built without the fast engine")
from microgpt.engines.exact import ExactEngine  # noqa: E402
from microgpt.engines.fast import FastEngine  # noqa: E402

ISAS: list[str] = _native.about()["isas"]
LARGEST = (2 - 2**-23) * 2.0**127  # of float32
Batch = list[list[int]]


def never() -> bool:
    return False


def state_for(config: Config, vocab_size: int, seed: int, std: float = 0.3) -> State:
    """Weights that float32 holds exactly, so that both engines start from the same numbers."""
    rng = random.Random(seed)
    count = config.parameter_count(vocab_size)
    return State.initial(array("d", array("f", [rng.gauss(0, std) for _ in range(count)])))


def batch_for(config: Config, vocab_size: int, seed: int, longest: int = 60) -> Batch:
    rng = random.Random(seed)
    end = vocab_size - 1
    letters = max(1, vocab_size - 1)  # few letters: documents begin alike
    return [
        [
            end,
            *(
                rng.randrange(min(letters, 3)) % vocab_size
                for _ in range(rng.randrange(0, longest))
            ),
            end,
        ]
        for _ in range(config.batch_size)
    ]


@st.composite
def cases(draw: Callable[..., Any], largest: int) -> tuple[Config, int, int]:
    n_head = draw(st.integers(1, 6))
    head_dim = draw(st.integers(1, max(1, largest // n_head)))
    config = Config(
        n_layer=draw(st.integers(1, 4 if largest < 64 else 2)),
        n_head=n_head,
        n_embd=n_head * head_dim,
        block_size=draw(st.integers(1, 40 if largest < 64 else 12)),
        batch_size=draw(st.integers(1, 5 if largest < 64 else 2)),
    )
    return config, draw(st.integers(1, 80)), draw(st.integers(0, 2**32))


def relative(found: array[float], true: array[float]) -> float:
    """Distance of two vectors as a share of the second's length."""
    distance = math.dist(found, true)
    return distance / (math.hypot(*true) or 1.0)


def check_gradients(
    config: Config, vocab_size: int, seed: int, isa: str, oracle: type[Engine]
) -> None:
    std = 0.3 * min(
        1.0, (32 / config.n_embd) ** 0.5
    )  # larger: a target's probability is 0, its log not finite
    state = state_for(config, vocab_size, seed, std)
    batch = batch_for(config, vocab_size, seed, longest=min(45, config.block_size + 3))
    true_loss, true = oracle(config, vocab_size, state).gradients(batch, never)
    loss, found = FastEngine(config, vocab_size, state, isa=isa).gradients(batch, never)
    assert loss == pytest.approx(true_loss, rel=1e-5, abs=1e-6)
    # Largest seen 2e-6. Where a model is nearly certain, float32 knows the 1 - p of its gradient
    # only to 6e-8.
    assert relative(found, true) <= 1e-5 + 1e-6 / max(true_loss, 1e-6)


@pytest.mark.proof
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(cases(largest=9), st.sampled_from(ISAS))
def test_gradients_equal_the_scalar_engines_within_float32(
    case: tuple[Config, int, int], isa: str
) -> None:
    check_gradients(*case, isa, ScalarEngine)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(cases(largest=40), st.sampled_from(ISAS))
def test_gradients_equal_the_exact_engines_on_many_shapes(
    case: tuple[Config, int, int], isa: str
) -> None:
    check_gradients(*case, isa, ExactEngine)


@pytest.mark.soak
@settings(
    max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(cases(largest=256), st.sampled_from(ISAS))
def test_gradients_equal_the_exact_engines_on_wide_shapes(
    case: tuple[Config, int, int], isa: str
) -> None:
    check_gradients(*case, isa, ExactEngine)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("n_embd", "n_head"),
    [
        (16, 4),
        (64, 16),
        (20, 5),
        (9, 3),
        (32, 4),
        (64, 4),
        (63, 3),
        (128, 4),
        (96, 6),
        (130, 2),
        (256, 4),
        (256, 8),
    ],
)
def test_gradients_are_right_for_compiled_and_generic_widths(
    n_embd: int, n_head: int, isa: str
) -> None:
    config = Config(n_embd=n_embd, n_head=n_head, block_size=19, batch_size=2)
    check_gradients(config, 27, n_embd, isa, ExactEngine)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "scale", [1.0, 2.0**-6, 2.0**-12]
)  # small embeddings: rmsnorm's 1e-5 is most of their square
@pytest.mark.parametrize(
    ("n_embd", "n_head"), [(16, 4), (32, 4), (48, 6), (20, 5), (9, 3), (130, 2)]
)
def test_gradients_are_right_where_the_first_layers_products_are_the_embeddings(
    n_embd: int, n_head: int, scale: float, isa: str
) -> None:
    """Batches of many more positions than there are tokens and places."""
    config, vocab_size = (
        Config(n_layer=2, n_embd=n_embd, n_head=n_head, block_size=11, batch_size=20),
        5,
    )
    std = 0.3 * min(1.0, (32 / n_embd) ** 0.5)
    state, batch = (
        state_for(config, vocab_size, n_embd, std),
        batch_for(config, vocab_size, n_embd, 14),
    )
    for k in range((vocab_size + config.block_size) * n_embd):
        state.parameters[k] *= scale
    assert sum(min(len(tokens) - 1, 11) for tokens in batch) > 2 * (vocab_size + 11)
    engine = FastEngine(config, vocab_size, state, isa=isa)
    loss, found = engine.gradients(batch, never)
    true_loss, true = ExactEngine(config, vocab_size, state).gradients(batch, never)
    assert loss == pytest.approx(true_loss, rel=1e-5)
    assert relative(found, true) <= 1e-5
    fresh = FastEngine(config, vocab_size, state, isa=isa)
    assert engine.log_probabilities(batch, never) == fresh.log_probabilities(batch, never)


def test_gradients_equal_finite_differences_of_the_exact_engines_loss() -> None:
    config, vocab_size, h = (
        Config(n_layer=2, n_embd=8, n_head=2, block_size=8, batch_size=3),
        5,
        1e-5,
    )
    state, batch = state_for(config, vocab_size, 1), batch_for(config, vocab_size, 1, 8)
    _, found = FastEngine(config, vocab_size, state).gradients(batch, never)
    rng = random.Random(1)
    for k in rng.sample(range(len(state.parameters)), 40):
        losses = []
        for sign in (1, -1):
            moved = state.parameters[:]
            moved[k] += sign * h
            log_p = ExactEngine(config, vocab_size, State.initial(moved)).log_probabilities(
                batch, never
            )
            losses.append(sum(-sum(row) / len(row) for row in log_p) / len(batch))
        assert found[k] == pytest.approx((losses[0] - losses[1]) / (2 * h), abs=3e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["us-names-2018", "two-layers", "long"])
def test_all_losses_of_a_recorded_run_are_within_a_thousandth(name: str, isa: str) -> None:
    expected = golden(name)
    config = expected.config
    documents, alphabet, state, _ = recorded_start(expected)
    steps = range(config.num_steps)
    batches = [[documents[step % len(documents)]] for step in steps]
    rates = [
        reference.learning_rate_at(step, config.num_steps, config.learning_rate) for step in steps
    ]
    run = FastEngine(config, len(alphabet) + 1, state, isa=isa).steps(batches, rates, never)
    assert run.end == "done"
    true = [float.fromhex(loss) for loss in expected.loss_hex]
    assert max(abs(a - b) for a, b in zip(run.losses, true, strict=True)) < 1e-3


def hash_of(state: State) -> str:
    return hashlib.sha256(
        b"".join(a.tobytes() for a in (state.parameters, state.m, state.v))
    ).hexdigest()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("n_embd", "batch_size"), [(16, 64), (64, 40), (20, 300), (48, 1500)])
def test_threads_change_no_bit(isa: str, n_embd: int, batch_size: int) -> None:
    config = Config(n_layer=2, n_embd=n_embd, n_head=4, block_size=12, batch_size=batch_size)
    state = state_for(config, 9, 5)
    batches = [batch_for(config, 9, seed, 14) for seed in range(4)]
    seen = set()
    for threads in (1, 2, 4):
        engine = FastEngine(config, 9, state, threads=threads, isa=isa)
        run = engine.steps(batches, [0.01] * 4, never)
        seen.add((tuple(run.losses), hash_of(engine.state())))
    assert len(seen) == 1


def test_a_batch_in_portions_gives_the_gradient_of_the_whole() -> None:
    config = Config(
        n_embd=16, n_head=4, block_size=16, batch_size=6000
    )  # more rows than one portion holds
    state, rng = state_for(config, 27, 2), random.Random(0)
    batch = [[26, *(rng.randrange(26) for _ in range(14)), 26] for _ in range(6000)]
    engine = FastEngine(config, 27, state)
    _, whole = engine.gradients(batch, never)
    total = [0.0] * len(whole)
    for start in range(0, 6000, 500):
        _, part = engine.gradients(batch[start : start + 500], never)
        total = [a + b / 12 for a, b in zip(total, part, strict=True)]
    assert (
        relative(array("d", total), whole) < 1e-4
    )  # 1.6e-5 seen: float32 sums over 90,000 rows in two orders


def test_state_goes_in_and_out_without_a_change_and_a_run_resumes_to_the_bit() -> None:
    config = Config(n_layer=2, n_embd=12, n_head=3, block_size=9, batch_size=4)
    batches = [batch_for(config, 7, seed, 10) for seed in range(6)]
    whole, first = (FastEngine(config, 7, state_for(config, 7, 1)) for _ in range(2))
    whole.steps(batches, [0.01] * 6, never)
    first.steps(batches[:3], [0.01] * 3, never)
    second = FastEngine(config, 7, first.state())
    assert hash_of(second.state()) == hash_of(first.state())
    second.steps(batches[3:], [0.01] * 3, never)
    assert second.state() == whole.state()


def test_updates_are_adams_of_the_reference() -> None:
    config = Config(n_embd=8, n_head=2, block_size=6, batch_size=3)
    state = state_for(config, 6, 1)
    batches, rates = (
        [batch_for(config, 6, seed, 6) for seed in range(5)],
        [0.01, 0.02, 0.0, 0.01, 0.03],
    )
    scalar, fast = ScalarEngine(config, 6, state), FastEngine(config, 6, state)
    a, b = scalar.steps(batches, rates, never), fast.steps(batches, rates, never)
    assert b.losses == pytest.approx(a.losses, abs=1e-4)
    assert relative(fast.state().parameters, scalar.state().parameters) < 1e-4
    assert relative(fast.state().m, scalar.state().m) < 1e-4


# Heads of up to 4 go side by side; of wider ones four go together, and the rest one by one.
@pytest.mark.parametrize(
    ("n_embd", "n_head"), [(12, 3), (12, 4), (20, 5), (24, 3), (24, 4), (48, 6)]
)
def test_scoring_tracing_and_generating_agree_with_the_exact_engine(
    n_embd: int, n_head: int
) -> None:
    config, vocab_size = (
        Config(n_layer=2, n_embd=n_embd, n_head=n_head, block_size=11, batch_size=20),
        6,
    )
    state, documents = (
        state_for(config, vocab_size, 3, 1.0 / n_embd**0.5),
        batch_for(config, vocab_size, 3, 14),
    )
    exact, fast = ExactEngine(config, vocab_size, state), FastEngine(config, vocab_size, state)
    for a, b in zip(
        exact.log_probabilities(documents, never),
        fast.log_probabilities(documents, never),
        strict=True,
    ):
        assert b == pytest.approx(a, abs=2e-5)
    true, found = exact.trace(documents[0], never), fast.trace(documents[0], never)
    for a, b in zip(true.probabilities, found.probabilities, strict=True):
        assert b == pytest.approx(a, abs=1e-5)
    for true_layer, layer in zip(true.attention, found.attention, strict=True):
        for true_head, head in zip(true_layer, layer, strict=True):
            for a, b in zip(true_head, head, strict=True):
                assert b == pytest.approx(a, abs=1e-5)
    rng = random.Random(4)
    coins = array("d", [rng.random() for _ in range(200)])
    for start, top_k, top_p in (([5], 0, 1.0), ([5, 1, 2], 3, 1.0), ([0], 0, 0.7), ([5], 1, 0.5)):
        arguments = (12, coins, start, 0.8, top_k, top_p, never)
        assert fast.generate(*arguments) == exact.generate(*arguments)


@pytest.mark.parametrize("engine", [ScalarEngine, ExactEngine, FastEngine])
@pytest.mark.parametrize("start", [[], [5] * 7])
def test_a_start_of_no_tokens_or_too_many_is_refused_by_every_engine(
    engine: type[Engine], start: list[int]
) -> None:
    config = Config(n_embd=8, n_head=2, block_size=6)
    with pytest.raises(ValueError, match="start must have 1 to 6 tokens"):
        engine(config, 6, state_for(config, 6, 1)).generate(
            1, array("d", [0.5] * 9), start, 1.0, 0, 1.0, never
        )


@pytest.mark.proof
@pytest.mark.parametrize("threads", [1, 2])
def test_stop_is_asked_every_few_milliseconds_and_leaves_no_trace_of_the_step(threads: int) -> None:
    config = Config(
        n_layer=1, n_embd=512, n_head=8, block_size=64, batch_size=60
    )  # one step takes half a second
    state = state_for(config, 30, 1, std=0.02)
    engine = FastEngine(config, 30, state, threads=threads)
    rng = random.Random(1)
    batch = [[29, *(rng.randrange(29) for _ in range(63)), 29] for _ in range(60)]
    asked: list[float] = []

    def stop() -> bool:
        asked.append(time.thread_time())  # not the clock on the wall: others may hold the core
        return len(asked) > 12

    run = engine.steps([batch], [0.01], stop)
    assert run == ([], "stopped")
    assert engine.state() == state
    gaps = sorted(b - a for a, b in zip(asked, asked[1:], strict=False))
    assert gaps[len(gaps) // 2] < 0.005


@pytest.mark.parametrize("work", ["gradients", "trace"])
@pytest.mark.parametrize("questions", [1, 5])
def test_stop_ends_one_large_documents_gradients_and_trace(work: str, questions: int) -> None:
    config = Config(n_layer=4, n_embd=512, n_head=8, block_size=512)
    engine = FastEngine(config, 30, State.initial(array("d", [0.01]) * config.parameter_count(30)))
    document, asked = [29, *(i % 29 for i in range(511)), 29], 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == questions

    with pytest.raises(StoppedError):
        if work == "trace":
            engine.trace(document, stop)
        else:
            engine.gradients([document], stop)
    assert asked == questions


@pytest.mark.parametrize("copies", [1, 12])  # 12: the first layer's products are the embeddings'
@pytest.mark.parametrize("spoilt", [math.nan, math.inf, 1e30])
def test_divergence_is_noticed_and_not_applied(spoilt: float, copies: int) -> None:
    config = Config(n_embd=8, n_head=2, block_size=6)
    batch = [[5, 0, 1, 5]] * copies
    for k in (0, 3, 50, 100, 200, 500, 900):  # lm_head, embeddings in use, attention, perceptron
        state = state_for(config, 6, 1)
        state.parameters[k] = spoilt
        engine = FastEngine(config, 6, state)
        before = engine.state()
        loss, gradients = engine.gradients(batch, never)
        run = engine.steps([batch], [0.01], never)
        if math.isfinite(loss) and all(g * g <= LARGEST for g in gradients):  # false for NaN
            assert run.end == "done"
        else:
            assert run == ([], "diverged")
            assert hash_of(engine.state()) == hash_of(before)
    assert run.end == "diverged" or spoilt == 1e30


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("copies", [1, 12])
@pytest.mark.parametrize(("spoilt", "scale", "end"), [
    ("matrix", 1e15, "done"), ("matrix", 1e25, "diverged"),
    ("table", 1e10, "done"), ("table", 1e20, "diverged"),
])  # fmt: skip
def test_a_finite_gradient_whose_square_is_not_counts_as_divergence(
    spoilt: str, scale: float, end: str, copies: int, isa: str
) -> None:
    batch = [[5, 0, 1, 5]] * copies
    config, rng, weights = Config(n_embd=8, n_head=2, block_size=6), random.Random(1), []
    large = {"matrix": "layer0.mlp_fc2", "table": "lm_head"}[
        spoilt
    ]  # the gradient of lm_head; of the embeddings
    zero = {"matrix": ["lm_head"], "table": ["layer0.attn_wv", "layer0.mlp_fc1"]}[spoilt]
    for name, (rows, columns) in config.shapes(6).items():
        factor = scale if name == large else 0.0 if name in zero else 1.0
        weights += [factor * rng.gauss(0, 0.3) for _ in range(rows * columns)]
    engine = FastEngine(config, 6, State.initial(array("d", weights)), isa=isa)
    before = engine.state()
    loss, gradients = engine.gradients(batch, never)
    assert math.isfinite(loss) and all(map(math.isfinite, gradients))
    assert (max(g * g for g in gradients) > LARGEST) == (end == "diverged")
    tables = 8 * (6 + config.block_size)
    assert (max(map(abs, gradients[:tables])) > max(map(abs, gradients[tables:]))) == (
        spoilt == "table"
    )
    assert engine.steps([batch], [0.01], never).end == end
    assert (engine.state() == before) == (end == "diverged")


def test_an_exception_in_stop_comes_through_and_calls_back_are_refused() -> None:
    config = Config(n_embd=8, n_head=2, block_size=6)
    engine = FastEngine(config, 6, state_for(config, 6, 1))

    def fails() -> bool:
        raise KeyboardInterrupt

    def calls_back() -> bool:
        engine.state()
        return False

    with pytest.raises(KeyboardInterrupt):
        engine.steps([[[5, 0, 5]]], [0.01], fails)
    with pytest.raises(KeyboardInterrupt):
        engine.gradients([[5, 0, 5]], fails)
    with pytest.raises(KeyboardInterrupt):
        engine.trace([5, 0, 5], fails)
    with pytest.raises(RuntimeError):
        engine.steps([[[5, 0, 5]]], [0.01], calls_back)
    assert engine.state().step == 0


def test_what_does_not_fit_is_refused_with_a_python_error() -> None:
    config = Config(n_embd=8, n_head=2, block_size=6)
    engine = FastEngine(config, 6, state_for(config, 6, 1))
    before = hash_of(engine.state())
    bad: list[tuple[Any, type[Exception] | tuple[type[Exception], ...]]] = [
        ([[[5, 6, 5]]], ValueError),
        ([[[5, -1, 5]]], ValueError),
        ([[[5, 2**70, 5]]], ValueError),
        ([[[5, "a", 5]]], TypeError),
        ([[[5, 1.5, 5]]], TypeError),
        ([[[5]]], ValueError),
        ([[]], ValueError),
        ([[None]], TypeError),
        ([5], TypeError),
        (5, TypeError),
    ]
    for batches, error in bad:
        with pytest.raises(error):
            engine.steps(batches, [0.01], never)
    with pytest.raises(ValueError):
        engine.steps([[[5, 1, 5]]], [0.01, 0.01], never)
    with pytest.raises(ValueError):
        FastEngine(config, 7, state_for(config, 6, 1))
    with pytest.raises(ValueError):
        FastEngine(config, 6, state_for(config, 6, 1), isa="mmx")
    with pytest.raises(ValueError):
        _native.fast_peak("mmx")
    with pytest.raises(ValueError):
        engine.generate(1, array("d", [1.0] * 9), [5], 1.0, 0, 1.0, never)
    assert hash_of(engine.state()) == before


def test_the_environment_chooses_the_instruction_set_of_both_engines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = Config(n_embd=16, n_head=4, batch_size=4)
    state, batch = state_for(config, 9, 5, std=0.3), batch_for(config, 9, 5, longest=9)
    default = ExactEngine(config, 9, state).gradients(batch, never)
    for isa in ISAS:
        monkeypatch.setenv("MICROGPT_ISA", isa)
        chosen = FastEngine(config, 9, state).gradients(batch, never)
        assert chosen == FastEngine(config, 9, state, isa=isa).gradients(batch, never)
        assert ExactEngine(config, 9, state).gradients(batch, never) == default
        assert all(f"compiled for {isa}" in available()[engine] for engine in ("exact", "fast"))
    monkeypatch.setenv("MICROGPT_ISA", "abacus")
    for engine in (ExactEngine, FastEngine):
        with pytest.raises(ConfigError, match="'abacus' does not run here"):
            engine(config, 9, state)


def test_python_threads_may_share_an_engine() -> None:
    config = Config(n_embd=16, n_head=4, block_size=8)
    engine = FastEngine(config, 6, state_for(config, 6, 1))
    documents = [[5, 1, 2, 5]] * 50
    alone = engine.log_probabilities(documents, never)
    results: list[list[list[float]]] = []
    workers = [
        threading.Thread(target=lambda: results.append(engine.log_probabilities(documents, never)))
        for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [alone] * 8


SMALLEST = 2.0**-126  # normal number of float32


@pytest.mark.parametrize("isa", ISAS)
def test_kernels_take_subnormal_numbers_for_zeros_on_every_thread(isa: str) -> None:
    config = Config(n_layer=2, n_embd=32, n_head=4, block_size=12, batch_size=300)
    state, batches = state_for(config, 9, 5), [batch_for(config, 9, 5, 14)] * 2
    count = len(state.parameters)
    tiny = array("d", array("f", [(1e-45, -1e-40, 1e-38, -3e-39)[k % 4] for k in range(count)]))
    zeros = array("d", [math.copysign(0.0, x) for x in tiny])
    weights = [
        array("d", [small[k] if k % 7 == 0 else w for k, w in enumerate(state.parameters)])
        for small in (tiny, zeros)
    ]
    squares = array("d", map(abs, tiny))
    subnormal = State(weights[0], tiny, squares)
    flushed = State(weights[1], zeros, array("d", bytes(8 * count)))
    seen = set()
    for start in (subnormal, flushed):
        for threads in (1, 2, 4):
            engine = FastEngine(config, 9, start, threads=threads, isa=isa)
            assert engine.state() == start  # as it was given, subnormal numbers too
            gradients = engine.gradients(batches[0], never)
            scores = engine.log_probabilities(batches[0], never)
            run, after = engine.steps(batches, [0.01] * 2, never), engine.state()
            numbers = (*after.parameters, *after.m, *after.v, *gradients[1])
            assert all(x == 0.0 or abs(x) >= SMALLEST for x in numbers)
            seen.add((hash_of(after), *run.losses, gradients[0], *map(tuple, scores)))
    assert len(seen) == 1


@pytest.mark.parametrize("isa", ISAS)
def test_a_gradient_whose_square_is_flushed_moves_a_weight_by_no_more_than_the_rate(
    isa: str,
) -> None:
    config = Config(n_embd=16, n_head=4, block_size=6, batch_size=1, eps_adam=1e-300)
    for exponent in range(-80, -50, 2):
        state = state_for(config, 6, 1)
        output = 16 * (6 + 6)  # lm_head: all other gradients are as small as it is
        for k in range(output, output + 16 * 6):
            state.parameters[k] *= 2.0**exponent
        engine = FastEngine(config, 6, state, isa=isa)
        assert engine.steps([[[5, 1, 2, 5]]], [0.01], never).end == "done"
        moved = zip(engine.state().parameters, state.parameters)
        assert max(abs(a - b) for a, b in moved) <= 0.0101
