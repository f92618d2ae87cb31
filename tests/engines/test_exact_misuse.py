"""The native engines refuse what they cannot take: no crash, no wrong memory."""

from __future__ import annotations

import functools
import math
import signal
import subprocess
import sys
from array import array
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from exact_support import LASTING, native_module, never, small
from hypothesis import example, given, settings
from hypothesis import strategies as st

from microgpt.config import Config
from microgpt.engines import State, engine_class

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


class Text(int):
    """An int that cannot be printed."""

    def __str__(self) -> str:
        raise AssertionError

    __repr__ = __str__


@pytest.mark.parametrize("kind", KINDS)
def test_a_huge_token_is_refused_without_its_digits(kind: str) -> None:
    engine = native(kind)
    for token in (2**63, -(2**63) - 1, 10**5000, Text(2**70)):
        with pytest.raises(ValueError, match=r"^a token is outside the vocabulary of 5 tokens$"):
            engine.trace([4, token], never)
    for token in (2**63 - 1, -(2**63), Text(7)):
        words = rf"^token {int(token)} is outside the vocabulary of 5 tokens$"
        with pytest.raises(ValueError, match=words):
            engine.trace([4, token], never)


class Counted:
    """A sequence of zeros that counts how many were read."""

    def __init__(self, length: int) -> None:
        self.length, self.read = length, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        self.read += 1
        return 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_of_a_document_is_read_than_the_model_looks_at(kind: str) -> None:
    engine = native(kind)
    for call in (
        lambda tokens: engine.trace(tokens, never),
        lambda tokens: engine.log_probabilities([tokens], never),
        lambda tokens: engine.gradients([tokens], array("d", bytes(8 * COUNT)), never),
        lambda tokens: engine.steps([[tokens]], [0.1], never),
    ):
        tokens = Counted(100_000)
        call(tokens)
        assert tokens.read == 5  # block_size + 1
        call([4, 0, 1, 0, 4, "no token"])
    start = Counted(100_000)
    with pytest.raises(ValueError, match="start must have 1 to 4 tokens, not 100000"):
        engine.generate(1, array("d", [0.5] * 9), start, 1.0, 0, 1.0, never)
    assert start.read == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_interrupts_the_reading_of_a_long_sequence(kind: str) -> None:
    class Long:  # without bytecode, after which Python would look for signals itself
        def __len__(self) -> int:
            return 20_000_000

    class Rates(Long):
        pass

    class Batches(Long):
        pass

    for part, item in ((Rates, 0.1), (Batches, [[99, 99]])):
        same = functools.partial(getattr, SimpleNamespace(item=item), "item")
        part.__getitem__ = same  # type: ignore[index]

    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    engine, before = native(kind), signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(Alarm):
            engine.steps(Batches(), Rates(), never)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_mistake_is_named(kind: str) -> None:
    engine = native(kind)
    nan = float("nan")
    for batches, rates, words in (
        ([[[4, 99]]], [], "1 batches need 1 learning rates, not 0"),
        ([[]], [nan], "a learning rate must be finite"),
        ([[[4, 0]], [], [[4, 99]]], [0.1] * 3, "a batch needs at least one document"),
        ([[[4, 99], [4]]], [0.1], "token 99 is outside the vocabulary of 5 tokens"),
        ([[[99], [4, 99]]], [0.1], "a document needs at least two tokens"),
    ):
        with pytest.raises(ValueError, match=words):
            engine.steps(batches, rates, never)
    with pytest.raises(ValueError, match="count must be at least 0"):
        engine.generate(-1, array("d", [2.0]), [], 0.0, -1, 2.0, never)


@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_to_do_nothing_is_asked(kind: str) -> None:
    engine = native(kind)
    assert engine.steps([], [], lambda: 1 / 0) == ([], "done")
    assert engine.log_probabilities([], lambda: 1 / 0) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_probability_that_is_no_number_has_the_logarithm_of_none(kind: str) -> None:
    engine = native(kind, parameters=array("d", [math.nan] * COUNT))
    assert engine.log_probabilities([[4, 0, 4]], never) == [[-math.inf] * 2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [-1, 65, 2**70])
def test_a_number_of_threads_out_of_range_is_refused(kind: str, threads: int) -> None:
    zeros = array("d", bytes(8 * COUNT))
    with pytest.raises(ValueError, match=r"^threads must be from 0 to 64$"):
        engine_class(kind.lower())(SMALL, 5, State(zeros, zeros, zeros), threads=threads)
    if kind == "Fast":
        with pytest.raises(ValueError, match=r"^threads must be from 0 to 64$"):
            native(kind, threads=threads)


# An object that is made a second time, directly and while the arguments are read.
TWICE = """
import sys
from array import array
from microgpt import _native
from microgpt.config import Config

fields = vars(Config(n_embd=4, n_head=2, block_size=4))
zeros = array("d", bytes(8 * 248))
kind = getattr(_native, sys.argv[1])
rest = {"threads": 1, "isa": ""} if sys.argv[1] == "Fast" else {}

class Lying:
    asked = False
    def __getattr__(self, name):
        if name == "n_embd" and not Lying.asked:
            Lying.asked = True
            make(Lying())
            if sys.argv[2] == "fail":
                raise KeyError("n_embd")
        return fields[name]

def make(config):
    engine.__init__(config, 5, zeros, zeros, zeros, 0, **rest)

engine = kind.__new__(kind)
for _ in range(2):
    try:
        make(Lying())
    except Exception as error:
        print(type(error).__name__)
    print(engine.steps([[[4, 0, 4]]], [0.1], lambda: False)[1])
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["work", "fail"])
def test_an_engine_is_made_once(kind: str, way: str) -> None:
    done = python(TWICE, kind, way)
    assert done.returncode == 0, done.stderr
    first = "RuntimeError" if way == "work" else "KeyError"
    assert done.stdout.split() == [first, "done", "RuntimeError", "done"]


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120
    )


# Python ends while a daemon thread is in an engine, or in Python code that the engine calls.
ENDING = """
import atexit, sys, threading, time

name, way = sys.argv[1:]
threads = []
if way == "joined":  # a hook that runs after the module's
    atexit.register(lambda: (threads[0].join(60), print(threads[0].is_alive())))

from microgpt import MicroGPT
from microgpt.config import Config
from microgpt.engines import State, engine_class
from array import array

names = ["anna", "hannah", "otto", "nathan"] * 30
model = MicroGPT(n_embd=32, block_size=16, num_steps=10**6 if way == "fit" else 3, engine=name)
config = Config(n_embd=32, block_size=16)
zeros = array("d", bytes(8 * config.parameter_count(5)))
engine = engine_class(name)(config, 5, State(zeros, zeros, zeros))
begun = threading.Event()

class Token:
    def __index__(self):
        return wait() or 1

def wait():
    begun.set()
    while True:  # asks for the interpreter again and again
        time.sleep(0.001)

def work():
    if way not in ("stop", "token"):
        begun.set()
    if way == "fit":
        model.fit(names)
    while way == "score":
        model.score(names * 20)
    if way == "stop":
        engine.trace([4, 1], wait)
    if way == "token":
        engine.trace([4, Token()], lambda: False)
    engine.steps([[[4] + [1] * 16] * 100] * 2000, [0.0] * 2000, lambda: False)

class AtTheEnd:
    def __del__(self, engine=engine_class(name)(config, 5, State(zeros, zeros, zeros))):
        print(len(engine.trace([4, 1], lambda: False).probabilities))

if way == "score":
    model.fit(names)
kept = AtTheEnd()
threads.append(threading.Thread(target=work, daemon=True))
threads[0].start()
begun.wait()
time.sleep(0.3)
"""


ENDINGS = ("score", "steps", "joined", "stop", "token")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "way",
    [
        "fit",
        *(pytest.param(way, marks=pytest.mark.proof) for way in ENDINGS),
    ],
)
def test_python_ends_while_a_daemon_thread_is_in_an_engine(kind: str, way: str) -> None:
    for _ in range(1 if way in ("stop", "token") else 3):
        done = python(ENDING, kind.lower(), way)
        assert (done.returncode, done.stderr) == (0, "")
        if way not in ("stop", "token"):  # whose thread keeps the objects alive
            assert done.stdout.split() == (["False", "1"] if way == "joined" else ["1"])
