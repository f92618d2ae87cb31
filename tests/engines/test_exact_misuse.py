"""The exact engine refuses what it cannot take, and survives what it can: no crash, no wrong memory."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from exact_support import LASTING, native_module, never, small
from hypothesis import example, given, settings
from hypothesis import strategies as st


def native(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "n_layer": 1,
        "n_embd": 4,
        "n_head": 2,
        "block_size": 4,
        "vocab_size": 5,
    }
    arguments |= {"beta1": 0.85, "beta2": 0.99, "eps": 1e-8, "step": 0}
    count = 4 * (2 * 5 + 4) + 12 * 16
    arguments |= {name: array("d", bytes(8 * count)) for name in ("parameters", "m", "v")}
    return native_module.Exact(**(arguments | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"n_embd": 0},
        {"n_head": 3},
        {"n_layer": -1},
        {"n_embd": 2**62},
        {"n_embd": 2**80},
        {"n_layer": 2**50, "n_embd": 2**20},
        {"vocab_size": 2**40},
        {"block_size": 2**61},
        {"step": -1},
        {"step": 2**60},
        {"parameters": array("d", [0.0])},
        {"parameters": array("f", [0.0] * 248)},
        {"parameters": [0.0] * 248},
        {"m": memoryview(array("d", [0.0] * 496))[::2]},
        {"v": b"x" * 8 * 248},
        {"isa": "abacus"},
        {"libm": "mine"},
        {"isa": 3},
    ],
)
def test_a_wrong_model_is_refused(changes: dict[str, Any]) -> None:
    native()
    with pytest.raises((ValueError, TypeError, OverflowError, RuntimeError)) as caught:
        native(**changes)
    assert caught.type is not RuntimeError or "cast" in str(caught.value)


@pytest.mark.parametrize("token", [5, -1, 2**31, 2**70, "a", None, 1.5])
def test_a_token_outside_the_vocabulary_is_refused(token: Any) -> None:
    engine = native()
    for call in (
        lambda: engine.steps([[[4, token, 4]]], [0.1], never),
        lambda: engine.gradients([[4, token]], array("d", bytes(8 * 248)), never),
        lambda: engine.log_probabilities([[token, 4]], never),
        lambda: engine.trace([4, token], never),
        lambda: engine.generate(1, array("d", [0.5] * 9), [4, token], 1.0, 0, 1.0, never),
    ):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            call()


def test_wrong_arguments_are_refused() -> None:
    engine = native()
    coins, out = array("d", [0.5] * 9), array("d", bytes(8 * 248))
    for call in (
        lambda: engine.steps([[[4, 0, 4]]], [], never),
        lambda: engine.steps([[[4, 0, 4]]], ["x"], never),
        lambda: engine.steps([4], [0.1], never),
        lambda: engine.steps(None, [0.1], never),
        lambda: engine.gradients([[4, 0]], array("d", [0.0]), never),
        lambda: engine.gradients([[4, 0]], memoryview(out).toreadonly(), never),
        lambda: engine.gradients([[4, 0]], array("f", [0.0] * 248), never),
        lambda: engine.generate(1, coins, [4, 0, 0, 0, 0], 1.0, 0, 1.0, never),
        lambda: engine.generate(1, coins, [], 1.0, 0, 1.0, never),
        lambda: engine.generate(1, coins, [4], 0.0, 0, 1.0, never),
        lambda: engine.generate(1, coins, [4], float("nan"), 0, 1.0, never),
        lambda: engine.generate(1, coins, [4], 1.0, -1, 1.0, never),
        lambda: engine.generate(1, coins, [4], 1.0, 0, 0.0, never),
        lambda: engine.generate(2**70, coins, [4], 1.0, 0, 1.0, never),
        lambda: engine.generate(1, [0.5] * 9, [4], 1.0, 0, 1.0, never),
        lambda: engine.generate(1, coins[::2].tobytes(), [4], 1.0, 0, 1.0, never),
        lambda: engine.copy_state(out, out, array("d", [0.0])),
        lambda: engine.copy_state(memoryview(out).toreadonly(), out, out),
    ):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            call()


def test_more_documents_asked_for_than_coins_allow_are_not_made() -> None:
    engine = small()
    assert engine.generate(2**62, array("d", [0.99] * 3), [4], 1.0, 0, 1.0, never) == ([], 0)
    found = engine.generate(2**62, array("d", [0.5] * 9), [4], 1.0, 0, 1.0, never)
    assert 9 - found.coins_used < 4


def test_coins_and_weights_that_are_no_numbers_do_not_crash_generation() -> None:
    engine = small(array("d", [float("nan")]) * 248)
    coins = array("d", [float("nan"), 2.0, -1.0, float("inf"), 0.5])
    for top_k, top_p in ((0, 1.0), (3, 0.5)):
        for document in engine.generate(2, coins, [4], 1.0, top_k, top_p, never).documents:
            assert all(0 <= token < 4 for token in document)


@settings(LASTING, max_examples=100)
@example(length=17)
@given(length=st.integers(0, 60))
def test_documents_of_any_length_are_scored_up_to_the_block(length: int) -> None:
    found = small().log_probabilities([[4] * length], never)
    assert len(found[0]) == max(0, min(4, length - 1))
