"""The native engines refuse what they cannot take: no crash, no wrong memory."""

from __future__ import annotations

from array import array
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from exact_support import LASTING, native_module, never, small
from hypothesis import example, given, settings
from hypothesis import strategies as st

from microgpt.config import Config

SMALL = Config(n_embd=4, n_head=2, block_size=4)


KINDS = [name for name in ("Exact", "Fast") if hasattr(native_module, name)]
COUNT = 4 * (2 * 5 + 4) + 12 * 16


def native(kind: str = "Exact", **changes: Any) -> Any:
    """A native engine, with a configuration that need not be a valid Config."""
    fields: dict[str, Any] = vars(SMALL) | {k: v for k, v in changes.items() if k in vars(SMALL)}
    arguments: dict[str, Any] = {"config": SimpleNamespace(**fields), "vocab_size": 5, "step": 0}
    arguments |= {name: array("d", bytes(8 * COUNT)) for name in ("parameters", "m", "v")}
    if kind == "Fast":
        arguments |= {"threads": 1, "isa": ""}
    rest = {k: v for k, v in changes.items() if k not in fields}
    return getattr(native_module, kind)(**(arguments | rest))


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
        {"beta1": "x"},
        {"n_layer": 1.5},
        {"config": None},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_model_is_refused(kind: str, changes: dict[str, Any]) -> None:
    native(kind)
    with pytest.raises((ValueError, TypeError, OverflowError)):
        native(kind, **changes)


@pytest.mark.parametrize("token", [5, -1, 2**31, 2**70, "a", None, 1.5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_outside_the_vocabulary_is_refused(kind: str, token: Any) -> None:
    engine = native(kind)
    words = "outside the vocabulary of 5 tokens" if isinstance(token, int) else "integer"
    error = ValueError if isinstance(token, int) else TypeError
    for call in (
        lambda: engine.steps([[[4, token, 4]]], [0.1], never),
        lambda: engine.gradients([[4, token]], array("d", bytes(8 * 248)), never),
        lambda: engine.log_probabilities([[token, 4]], never),
        lambda: engine.trace([4, token], never),
        lambda: engine.generate(1, array("d", [0.5] * 9), [4, token], 1.0, 0, 1.0, never),
    ):
        with pytest.raises(error, match=words):
            call()


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_arguments_are_refused(kind: str) -> None:
    engine = native(kind)
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
        lambda: engine.generate(-1, coins, [4], 1.0, 0, 1.0, never),
        lambda: engine.generate(1, coins, [4], float("inf"), 0, 1.0, never),
        lambda: engine.generate(1, coins, [4], 1.0, 0, 1.5, never),
        lambda: engine.generate(1, array("d", [1.0] * 9), [4], 1.0, 0, 1.0, never),
        lambda: engine.generate(1, array("d", [float("nan")] * 9), [4], 1.0, 0, 1.0, never),
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


def test_weights_that_are_no_numbers_do_not_crash_generation() -> None:
    engine = small(array("d", [float("nan")]) * 248)
    coins = array("d", [0.0, 0.999, 0.5, 0.25, 0.5])
    for top_k, top_p in ((0, 1.0), (3, 0.5)):
        for document in engine.generate(2, coins, [4], 1.0, top_k, top_p, never).documents:
            assert all(0 <= token < 4 for token in document)


@settings(LASTING, max_examples=100)
@example(length=17)
@given(length=st.integers(2, 60))
def test_documents_of_any_length_are_scored_up_to_the_block(length: int) -> None:
    found = small().log_probabilities([[4] * length], never)
    assert len(found[0]) == min(4, length - 1)


class Changing:
    """A token that changes the lists it is read from while it is read."""

    def __init__(self, lists: list[list[Any]], action: str) -> None:
        self.lists, self.action = lists, action

    def __index__(self) -> int:
        for target in self.lists:
            if self.action == "clear":
                target.clear()
            elif len(target) < 10_000:
                target.extend([0] * 500)
        return 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", ["clear", "grow"])
def test_lists_that_change_while_they_are_read_are_read_within_their_bounds(
    kind: str, action: str
) -> None:
    engine = native(kind)
    document: list[Any] = [4, 0, 1, 0, 4]
    batch, batches = [document, [4, 0, 4]], [[[4, 0, 4]]]
    batches.append(batch)
    document[1] = Changing([document], action)
    for call in (
        lambda: engine.steps(batches, [0.1, 0.1], never),
        lambda: engine.log_probabilities(batch, never),
        lambda: engine.generate(1, array("d", [0.5] * 9), document, 1.0, 0, 1.0, never),
    ):
        document[:] = [4, Changing([document, batch], action), 1, 0, 4]
        batch[:] = [document, [4, 0, 4]]
        with suppress(ValueError, TypeError):  # or the call succeeds
            call()
