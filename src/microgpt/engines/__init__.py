"""The contract that every engine fulfils, and the table that finds an engine by its name.

An engine holds a model's weights and optimiser state and does arithmetic on them. It draws no random
numbers, reads no files and prints nothing: documents arrive as token ids, randomness as coins. Loop,
seeds, sampling and saving therefore exist once, for all engines.
"""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from ..errors import ConfigError, MissingPartError, quote

if TYPE_CHECKING:
    from ..config import Config

Tokens = Sequence[int]  # one document: BOS, its characters, BOS
Stop = Callable[[], bool]  # asked at least every 5 ms of work, where the engine can; True: give up


@dataclass
class State:
    """A model in training: what a checkpoint keeps and every engine can start from.

    parameters, m, v: float64, one number a weight, in the order of `reference.shapes`, row by row.
    step: updates made so far.
    """

    parameters: array[float]
    m: array[float]
    v: array[float]
    step: int = 0

    @classmethod
    def initial(cls, parameters: array[float]) -> State:
        """Fresh weights, Adam's moments at zero."""
        return cls(
            parameters,
            array("d", bytes(8 * len(parameters))),
            array("d", bytes(8 * len(parameters))),
        )


class Run(NamedTuple):
    """What `Engine.steps` did: the losses of the steps that were applied, and why it ended.

    "diverged": the next step's loss or the square of one of its gradients, which Adam takes, is not
    finite (the fast engine: a sum of such squares); the step was not applied.
    """

    losses: list[float]
    end: Literal["done", "stopped", "diverged"]


class Trace(NamedTuple):
    """One document, seen from inside.

    probabilities[position][token]: of the next token.
    attention[layer][head][position][earlier position]: weights, each row as long as position + 1.
    """

    probabilities: list[list[float]]
    attention: list[list[list[list[float]]]]


class Generated(NamedTuple):
    """New documents, without the first token of their start and without the end mark; and how many coins they took."""

    documents: list[list[int]]
    coins_used: int


class Engine(Protocol):
    """Forward, backward, Adam, generation and scoring for one model.

    Where `stop` answers True, a method returns what is finished by then, and a step under way is
    given up without a trace; `gradients` and `trace` raise StoppedError.
    """

    name: str
    bound: float
    instruction_set: str

    def __init__(self, config: Config, vocab_size: int, state: State, *, threads: int = 0) -> None:
        """threads: at most so many, 0 for the engine's choice; engines that have one use one. Results are the same."""
        ...

    def state(self) -> State:
        """A copy of weights, moments and step count."""
        ...

    def steps(
        self, batches: Sequence[Sequence[Tokens]], learning_rates: Sequence[float], stop: Stop
    ) -> Run:
        """One update for each batch, in order, at its learning rate."""
        ...

    def gradients(self, batch: Sequence[Tokens], stop: Stop) -> tuple[float, array[float]]:
        """Loss of a batch in nats, and its gradient by every parameter; changes nothing."""
        ...

    def log_probabilities(self, documents: Sequence[Tokens], stop: Stop) -> list[list[float]]:
        """For each document log p, in nats, of each token after the first, up to the block's end."""
        ...

    def trace(self, tokens: Tokens, stop: Stop) -> Trace:
        """Next-token probabilities and attention weights at every position but the last token's."""
        ...

    def generate(
        self,
        count: int,
        coins: array[float],
        start: Tokens,
        temperature: float,
        top_k: int,
        top_p: float,
        stop: Stop,
    ) -> Generated:
        """Up to `count` new documents, fewer when the coins run out.

        coins: uniform in [0, 1), one for each token drawn, end marks included. A document is begun
        only while coins for the longest one remain: block_size + 1 - len(start) of them.
        start: the tokens every document starts with, at most block_size: BOS and a prefix, or for a later
        piece of a document the last token of the piece before. They cost no coins; all but the first are
        part of the result.
        top_k: keep the k most probable tokens, 0 for all. top_p: then keep the fewest tokens, most
        probable first, whose probabilities sum to at least p, 1.0 for all. Ties: lower id first.
        Raises ValueError for a start of no tokens, or of more than block_size.
        """
        ...


_MODULES = {"exact": "exact", "fast": "fast", "scalar": "scalar"}
AUTO = "auto"
NAMES = (AUTO, *_MODULES)


def engine_class(name: str, config: Config | None = None) -> type[Engine]:
    """The engine of that name, its module imported only now.

    "auto" is the exact engine, which computes the scalar one's bits; to train with updates that only the fast one
    has (`config` is not plain), the fast one; and where neither was built the scalar one, with a warning.
    Raises ConfigError for an unknown name, MissingPartError when the module was not built.
    """
    if name not in NAMES:
        raise ConfigError(
            f"there is no engine {quote(name)}",
            where="option engine",
            fix=f"one of {', '.join(NAMES)}",
        )
    if name == AUTO:
        try:
            return engine_class("exact" if config is None or config.plain else "fast")
        except MissingPartError:
            warnings.warn(
                "the compiled engine is not installed: using the scalar engine, the same numbers but thousands of "
                "times slower",
                RuntimeWarning,
                stacklevel=2,
            )
            return engine_class("scalar")
    try:
        module = import_module(f".{_MODULES[name]}", __name__)
    except ImportError as error:
        raise MissingPartError(
            f"the engine {quote(name)} is not installed: {error}",
            where="option engine",
            fix="engine scalar, or install again with a C++ compiler",
        ) from error
    found: type[Engine] = module.ENGINE
    return found


def trained_by(state: State) -> str:
    """The name of the engine that made this state, as far as its numbers tell: the fast one's are all float32."""
    numbers = (state.parameters, state.m, state.v)
    return (
        "fast" if state.step and all(array("d", array("f", xs)) == xs for xs in numbers) else AUTO
    )


def available() -> dict[str, str]:
    """Engine name -> what it runs on here, or why it cannot."""
    found = {}
    for name in _MODULES:
        try:
            module = import_module(f".{_MODULES[name]}", __name__)
            found[name] = module.about()
        except ImportError as error:
            found[name] = f"not installed: {error}"
    return found
