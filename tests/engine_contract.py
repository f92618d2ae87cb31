"""The engines' contract as checks; each takes an engine's class and fails where it deviates.

`tests/engines/test_engine_contract.py` runs every check on every registered engine. Holds no test.
"""

from __future__ import annotations

import math
import random
import re
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from microgpt.config import Config
from microgpt.engines import Engine, State
from microgpt.engines.scalar import ScalarEngine
from microgpt.errors import ConfigError, StoppedError

Kind = type[Engine]
VOCAB = 5
BOS = VOCAB - 1
SMALL = Config(n_embd=4, n_head=2, block_size=4)
DEEP = Config(n_layer=2, n_embd=6, n_head=3, block_size=7, beta1=0.9, beta2=0.95, eps_adam=1e-6)
# The last is longer than a block.
DOCUMENTS = [[4, 0, 1, 4], [4, 2, 4], [4, 3, 3, 0, 1, 2, 0, 1, 1, 4]]


def never() -> bool:
    return False


def initial(config: Config, seed: int = 1) -> State:
    """Weights so large that attention is far from uniform; moments as in the middle of a run."""
    rng = random.Random(seed)
    count = config.parameter_count(VOCAB)
    weights = array("d", [rng.gauss(0, 0.4) for _ in range(count)])
    m = array("d", [rng.gauss(0, 0.01) for _ in range(count)])
    v = array("d", [rng.uniform(1e-6, 1e-3) for _ in range(count)])
    return State(weights, m, v, 3)


def model(kind: Kind, config: Config = SMALL, **options: Any) -> Engine:
    return kind(config, VOCAB, initial(config), **options)


def flat(numbers: Any) -> Iterator[float]:
    """All numbers of nested lists, in order."""
    if isinstance(numbers, (list, tuple, array)):
        for inner in numbers:
            yield from flat(inner)
    else:
        yield numbers


def assert_agree(kind: Kind, ours: Any, theirs: Any, slack: float = 1.0) -> None:
    """The same bits where the bound is 0, else the same within it, relative to the largest."""
    left, right = array("d", flat(ours)), array("d", flat(theirs))
    assert len(left) == len(right)
    if kind.bound == 0.0:
        assert left.tobytes() == right.tobytes()
        return
    largest = max(map(abs, right), default=0.0)
    apart = max((abs(a - b) for a, b in zip(left, right)), default=0.0)
    assert apart <= slack * kind.bound * largest, f"{apart / largest:.1e}, bound {kind.bound:.1e}"


def bits(state: State) -> tuple[bytes, bytes, bytes, int]:
    return state.parameters.tobytes(), state.m.tobytes(), state.v.tobytes(), state.step


def coins(count: int, seed: int = 5) -> array[float]:
    rng = random.Random(seed)
    return array("d", [rng.random() for _ in range(count)])


# ---- What an engine says of itself ---------------------------------------------------------------


def check_it_declares_name_bound_and_what_it_supports(kind: Kind) -> None:
    assert kind.name and kind.name.isidentifier()
    assert 0.0 <= kind.bound < 0.01
    assert kind.supports(SMALL) is True
    assert kind.about()
    assert isinstance(model(kind).instruction_set, str)


def check_it_starts_from_a_state_and_gives_copies_of_it(kind: Kind) -> None:
    given = initial(SMALL)
    engine = model(kind)
    state = engine.state()
    assert state.step == given.step
    for name in ("parameters", "m", "v"):
        assert_agree(kind, getattr(state, name), getattr(given, name))
    before = bits(state)
    for part in (state.parameters, state.m, state.v):
        part[0] = 99.0
    assert bits(engine.state()) == before


# ---- Agreement with the definition ---------------------------------------------------------------


def check_losses_and_gradients_agree_with_scalar(kind: Kind) -> None:
    for config in (SMALL, DEEP):
        ours, theirs = model(kind, config), model(ScalarEngine, config)
        for batch in (DOCUMENTS, DOCUMENTS[:1], DOCUMENTS[2:]):
            loss, gradients = ours.gradients(batch, never)
            expected_loss, expected = theirs.gradients(batch, never)
            assert_agree(kind, [loss], [expected_loss])
            assert_agree(kind, gradients, expected)


def check_log_probabilities_and_traces_agree_with_scalar(kind: Kind) -> None:
    for config in (SMALL, DEEP):
        ours, theirs = model(kind, config), model(ScalarEngine, config)
        rows = ours.log_probabilities(DOCUMENTS, never)
        assert [len(row) for row in rows] == [min(config.block_size, len(d) - 1) for d in DOCUMENTS]
        assert_agree(kind, rows, theirs.log_probabilities(DOCUMENTS, never))
        for tokens in DOCUMENTS:
            trace, expected = ours.trace(tokens, never), theirs.trace(tokens, never)
            assert_agree(kind, trace.probabilities, expected.probabilities)
            assert_agree(kind, trace.attention, expected.attention)
            assert len(trace.attention) == config.n_layer
            for layer in trace.attention:
                assert len(layer) == config.n_head
                for head in layer:
                    assert [len(row) for row in head] == [*range(1, len(trace.probabilities) + 1)]


def check_generated_documents_are_the_scalar_engines(kind: Kind) -> None:
    ours, theirs = model(kind), model(ScalarEngine)
    for start in ([BOS], [BOS, 1, 3], [2]):
        for temperature, top_k, top_p in ((1.0, 0, 1.0), (0.7, 2, 1.0), (1.5, 0, 0.6), (1, 4, 0.9)):
            request = (8, coins(30), start, temperature, top_k, top_p, never)
            assert ours.generate(*request) == theirs.generate(*request)
    deep = (4, coins(30), [BOS], 1.0, 0, 0.95, never)
    assert model(kind, DEEP).generate(*deep) == model(ScalarEngine, DEEP).generate(*deep)


def check_an_update_is_adams(kind: Kind) -> None:
    """m, v and weights after an update, from the engine's own gradients (Kingma and Ba 2015)."""
    for config in (SMALL, DEEP):
        engine, start, rate = model(kind, config), initial(config), 0.02
        _, gradients = engine.gradients(DOCUMENTS, never)
        assert engine.steps([DOCUMENTS], [rate], never).end == "done"
        m = [config.beta1 * a + (1 - config.beta1) * g for a, g in zip(start.m, gradients)]
        v = [config.beta2 * a + (1 - config.beta2) * g * g for a, g in zip(start.v, gradients)]
        t = start.step + 1
        weights = [
            p
            - rate
            * (a / (1 - config.beta1**t))
            / (math.sqrt(b / (1 - config.beta2**t)) + config.eps_adam)
            for p, a, b in zip(start.parameters, m, v)
        ]
        state, tolerance = engine.state(), max(kind.bound, 1e-14)
        assert state.step == t
        for ours, expected in ((state.m, m), (state.v, v), (state.parameters, weights)):
            largest = max(map(abs, expected))
            assert max(abs(a - b) for a, b in zip(ours, expected)) <= tolerance * largest


def check_updates_follow_one_another_as_in_scalar(kind: Kind) -> None:
    batches = [DOCUMENTS[:2], DOCUMENTS[2:], DOCUMENTS]
    rates = [0.01, 0.003, 0.02]
    ours, theirs = model(kind, DEEP), model(ScalarEngine, DEEP)
    losses, expected = ours.steps(batches, rates, never), theirs.steps(batches, rates, never)
    assert losses.end == "done"
    assert_agree(kind, losses.losses, expected.losses, slack=10.0)  # of updates: they add up
    assert_agree(kind, ours.state().parameters, theirs.state().parameters, slack=10.0)


def check_other_updates_are_scalars_or_refused(kind: Kind) -> None:
    for changes in ({"weight_decay": 0.1}, {"input_dropout": 0.4}, {"muon": 0.95}):
        config = Config(**(DEEP.to_dict() | changes))
        ours, theirs = model(kind, config), model(ScalarEngine, config)
        if not kind.supports(config):
            with pytest.raises(ConfigError, match="does not support"):
                ours.steps([DOCUMENTS], [0.01], never)
            assert_agree(
                kind,
                ours.log_probabilities(DOCUMENTS, never),
                theirs.log_probabilities(DOCUMENTS, never),
            )
            continue
        run, expected = (e.steps([DOCUMENTS[:2]] * 2, [0.01] * 2, never) for e in (ours, theirs))
        assert run.end == "done"
        assert_agree(kind, run.losses, expected.losses, slack=10.0)


# ---- One model, whatever is done with it ---------------------------------------------------------


def check_only_steps_changes_the_model(kind: Kind) -> None:
    engine = model(kind)
    before = bits(engine.state())
    first = engine.gradients(DOCUMENTS, never)
    engine.log_probabilities(DOCUMENTS, never)
    engine.trace(DOCUMENTS[2], never)
    engine.generate(5, coins(40), [BOS], 1.0, 0, 1.0, never)
    assert engine.gradients(DOCUMENTS, never) == first
    assert bits(engine.state()) == before


def check_a_run_in_pieces_is_the_run_in_one(kind: Kind) -> None:
    batches, rates = [[document] for document in DOCUMENTS], [0.01, 0.02, 0.005]
    whole = model(kind)
    losses = whole.steps(batches, rates, never).losses
    piece = model(kind)
    pieces = piece.steps(batches[:1], rates[:1], never).losses
    again = kind(SMALL, VOCAB, piece.state())
    pieces += again.steps(batches[1:], rates[1:], never).losses
    assert pieces == losses
    assert bits(again.state()) == bits(whole.state())
    assert whole.state().step == 6


def check_the_same_calls_give_the_same_bits(kind: Kind) -> None:
    results = []
    for _ in range(2):
        engine = model(kind, DEEP)
        run = engine.steps([DOCUMENTS], [0.01], never)
        loss, gradients = engine.gradients(DOCUMENTS, never)
        rows = engine.log_probabilities(DOCUMENTS, never)
        results.append((run, bits(engine.state()), loss, gradients.tobytes(), rows))
    assert results[0] == results[1]


def check_the_number_of_threads_changes_nothing(kind: Kind) -> None:
    results = []
    for threads in (1, 2, 4):
        engine = model(kind, threads=threads)
        run = engine.steps([DOCUMENTS * 4], [0.01], never)
        results.append((run, bits(engine.state())))
    assert results[0] == results[1] == results[2]


def check_threads_that_share_an_engine_take_turns(kind: Kind) -> None:
    engine = model(kind)
    draws = [coins(60, seed) for seed in range(6)]
    expected = [engine.generate(10, c, [BOS], 1.0, 0, 1.0, never) for c in draws]
    gradients = engine.gradients(DOCUMENTS, never)
    results: list[Any] = [None] * 6

    def work(i: int) -> None:
        drawn = [engine.generate(10, draws[i], [BOS], 1.0, 0, 1.0, never) for _ in range(3)]
        results[i] = (drawn, engine.gradients(DOCUMENTS, never))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [([generated] * 3, gradients) for generated in expected]


# ---- Edges ---------------------------------------------------------------------------------------


def check_a_batchs_loss_is_the_mean_of_its_documents(kind: Kind) -> None:
    engine = model(kind)
    together, _ = engine.gradients(DOCUMENTS, never)
    alone = [engine.gradients([document], never)[0] for document in DOCUMENTS]
    assert together == pytest.approx(math.fsum(alone) / len(alone), rel=max(kind.bound, 1e-14))


def check_tokens_past_the_block_are_not_looked_at(kind: Kind) -> None:
    engine, size = model(kind), SMALL.block_size + 1
    long = [BOS, 0, 1, 2, 3, 0, 1]
    assert engine.gradients([[*long, 2]], never) == engine.gradients([long[:size]], never)
    assert engine.log_probabilities([long], never) == engine.log_probabilities([long[:size]], never)
    assert engine.trace(long, never) == engine.trace(long[:size], never)


def check_empty_calls_give_empty_results(kind: Kind) -> None:
    engine = model(kind)
    assert engine.steps([], [], never) == ([], "done")
    assert engine.log_probabilities([], never) == []
    assert engine.generate(0, coins(40), [BOS], 1.0, 0, 1.0, never) == ([], 0)
    assert engine.generate(5, coins(SMALL.block_size - 1), [BOS], 1.0, 0, 1.0, never) == ([], 0)


def check_coins_run_out_only_between_documents(kind: Kind) -> None:
    engine, draws = model(kind), coins(50)
    everything = engine.generate(100, draws, [BOS], 1.0, 0, 1.0, never)
    assert 50 - SMALL.block_size < everything.coins_used <= 50
    used = 0
    for document in everything.documents:
        alone = engine.generate(1, draws[used:], [BOS], 1.0, 0, 1.0, never)
        assert alone.documents == [document]
        used += alone.coins_used
    assert used == everything.coins_used


# Calls with one wrong argument each, and what every engine says of it.
WRONG_DOCUMENTS = {
    "token 99 is outside the vocabulary of 5 tokens": [4, 99, 4],
    "token -1 is outside the vocabulary of 5 tokens": [-1, 0, 4],
    "token 5 is outside the vocabulary of 5 tokens": [4, 5, 4],
    "a document needs at least two tokens": [4],
}
WRONG_GENERATE: Sequence[tuple[str, dict[str, Any]]] = (
    ("start must have 1 to 4 tokens, not 0", {"start": []}),
    ("start must have 1 to 4 tokens, not 5", {"start": [4, 0, 0, 0, 0]}),
    ("token 7 is outside the vocabulary of 5 tokens", {"start": [4, 7]}),
    ("temperature must be finite and above 0", {"temperature": 0.0}),
    ("temperature must be finite and above 0", {"temperature": -1.0}),
    ("temperature must be finite and above 0", {"temperature": math.nan}),
    ("temperature must be finite and above 0", {"temperature": math.inf}),
    ("top_k must be at least 0", {"top_k": -1}),
    ("top_p must be above 0 and at most 1", {"top_p": 2.0}),
    ("top_p must be above 0 and at most 1", {"top_p": 0.0}),
    ("top_p must be above 0 and at most 1", {"top_p": math.nan}),
    ("coins must be at least 0 and below 1", {"coins": array("d", [0.5, 1.5] * 9)}),
    ("coins must be at least 0 and below 1", {"coins": array("d", [0.5, -0.1] * 9)}),
    ("coins must be at least 0 and below 1", {"coins": array("d", [math.nan] * 9)}),
    ("count must be at least 0", {"count": -1}),
)
WRONG_STEPS: Sequence[tuple[str, tuple[Any, Any]]] = (
    ("a batch needs at least one document", ([[]], [0.1])),
    ("a batch needs at least one document", ([DOCUMENTS, []], [0.1, 0.1])),
    ("3 batches need 3 learning rates, not 2", ([DOCUMENTS] * 3, [0.1] * 2)),
    ("a learning rate must be finite", ([DOCUMENTS], [math.nan])),
    ("a learning rate must be finite", ([DOCUMENTS], [math.inf])),
)


def check_wrong_arguments_have_the_same_words_everywhere(kind: Kind) -> None:
    engine = model(kind)
    before = bits(engine.state())
    for words, tokens in WRONG_DOCUMENTS.items():
        calls: list[Callable[[], Any]] = [
            lambda t=tokens: engine.gradients([DOCUMENTS[0], t], never),
            lambda t=tokens: engine.steps([DOCUMENTS, [t]], [0.1, 0.1], never),
            lambda t=tokens: engine.log_probabilities([DOCUMENTS[0], t], never),
            lambda t=tokens: engine.trace(t, never),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
                call()
    for words, steps in WRONG_STEPS:
        with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
            engine.steps(*steps, never)
    with pytest.raises(ValueError, match=r"^a batch needs at least one document$"):
        engine.gradients([], never)
    right = {
        "count": 2,
        "coins": coins(18),
        "start": [4],
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
    }
    for words, wrong in WRONG_GENERATE:
        with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
            engine.generate(**(right | wrong), stop=never)
    for token in ("0", 1.5, None):
        with pytest.raises(TypeError):
            engine.gradients([[4, token, 4]], never)
    for token in (10**30, -(10**5000)):
        with pytest.raises(ValueError, match=r"^a token is outside the vocabulary of 5 tokens$"):
            engine.gradients([[4, token, 4]], never)
    for threads in (-1, 65):
        with pytest.raises(ValueError, match=r"^threads must be from 0 to 64$"):
            model(kind, threads=threads)
    assert bits(engine.state()) == before


def check_a_state_of_another_model_is_refused(kind: Kind) -> None:
    count = SMALL.parameter_count(VOCAB)
    for name in ("parameters", "m", "v"):
        state = initial(SMALL)
        state = state._replace(**{name: getattr(state, name)[:3]})
        with pytest.raises(ValueError, match=f"^{name} must hold {count} numbers, not 3$"):
            kind(SMALL, VOCAB, state)
    state = initial(SMALL)._replace(step=-1)
    with pytest.raises(ValueError, match=r"^step must be at least 0$"):
        kind(SMALL, VOCAB, state)


def check_a_diverged_update_leaves_no_trace(kind: Kind) -> None:
    for planted in (math.nan, math.inf):
        state = initial(SMALL)
        state.parameters[5] = planted
        engine = kind(SMALL, VOCAB, state)
        before = bits(engine.state())
        assert engine.steps([DOCUMENTS] * 2, [0.1] * 2, never) == ([], "diverged")
        assert bits(engine.state()) == before
    engine = model(kind)
    run = engine.steps([DOCUMENTS] * 3, [0.01, 1e30, 0.01], never)
    assert run.end in ("done", "diverged") and all(map(math.isfinite, run.losses))
    assert engine.state().step == initial(SMALL).step + len(run.losses)


# ---- Stopping ------------------------------------------------------------------------------------


def check_stopped_at_once_it_returns_what_is_finished(kind: Kind) -> None:
    engine = model(kind)
    before = bits(engine.state())
    assert engine.steps([DOCUMENTS], [0.1], lambda: True) == ([], "stopped")
    assert engine.log_probabilities(DOCUMENTS, lambda: True) == []
    assert engine.generate(3, coins(40), [BOS], 1.0, 0, 1.0, lambda: True) == ([], 0)
    with pytest.raises(StoppedError):
        engine.gradients(DOCUMENTS, lambda: True)
    with pytest.raises(StoppedError):
        engine.trace(DOCUMENTS[0], lambda: True)
    assert bits(engine.state()) == before


def check_stopped_later_it_is_between_two_updates(kind: Kind) -> None:
    """`stop` is called several times in this run. Its steps, made again, give the same bits."""
    engine, batches = model(kind, DEEP), [DOCUMENTS * 4] * 4000
    asked = 0

    def third() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    run = engine.steps(batches, [0.001] * len(batches), third)
    assert run.end == "stopped" and asked == 3
    count = len(run.losses)
    assert engine.state().step == initial(DEEP).step + count < len(batches)
    again = model(kind, DEEP)
    assert again.steps(batches[:count], [0.001] * count, never) == (run.losses, "done")
    assert bits(again.state()) == bits(engine.state())


def check_what_stop_raises_comes_out(kind: Kind) -> None:
    """Also errors that arithmetic raises: they may not be taken for a divergence."""
    engine = model(kind)
    before = bits(engine.state())
    for error in (KeyboardInterrupt, ValueError, ZeroDivisionError):

        def stop(error: type[BaseException] = error) -> bool:
            raise error

        calls: list[Callable[[], Any]] = [
            lambda stop=stop: engine.steps([DOCUMENTS], [0.1], stop),
            lambda stop=stop: engine.gradients(DOCUMENTS, stop),
            lambda stop=stop: engine.log_probabilities(DOCUMENTS, stop),
            lambda stop=stop: engine.trace(DOCUMENTS[0], stop),
            lambda stop=stop: engine.generate(3, coins(40), [BOS], 1.0, 0, 1.0, stop),
        ]
        for call in calls:
            with pytest.raises(error):
                call()
    assert bits(engine.state()) == before
    assert engine.steps([DOCUMENTS], [0.1], never).end == "done"


def check_stop_may_not_call_its_own_engine(kind: Kind) -> None:
    engine = model(kind)
    with pytest.raises(RuntimeError, match="stop\\(\\) must not call the engine that asks it"):
        engine.steps([DOCUMENTS], [0.1], lambda: bool(engine.state()))
    assert engine.steps([DOCUMENTS], [0.1], never).end == "done"


CHECKS = {
    name.removeprefix("check_"): f for name, f in globals().items() if name.startswith("check_")
}
