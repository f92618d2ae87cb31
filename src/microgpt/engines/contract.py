"""The contract that every engine fulfils. `tests/engines/test_engine_contract.py` checks it.

An engine holds a model's weights and the optimizer's state, and does arithmetic on them. It draws
no random numbers, reads no files and prints nothing: documents arrive as token ids, randomness
arrives as coins (uniform random numbers in [0, 1)). So the training loop, seeds, sampling and
saving exist once, for all engines.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import Config

Tokens = Sequence[int]  # one document: BOS, its characters, BOS
Stop = Callable[[], bool]  # an engine calls it at least every 5 ms where it can; True: stop


class State(NamedTuple):
    """A model in training: what a checkpoint keeps, and what every engine can start from.

    parameters, m, v: float64, one number per weight, in the order of `reference.shapes`, row by
    row. m and v are Adam's two moments. step: how many updates were made so far.
    """

    parameters: array[float]
    m: array[float]
    v: array[float]
    step: int = 0

    @classmethod
    def initial(cls, parameters: array[float]) -> State:
        """The state before the first update: these weights, both moments at zero."""
        zeros = bytes(8 * len(parameters))
        return cls(parameters, array("d", zeros), array("d", zeros))


class Run(NamedTuple):
    """What `Engine.steps` did: the losses of the updates that were applied, and why it ended.

    "diverged": the loss of the next update, or the square of one of its gradients, is not finite.
    That update was not applied. (The fast engine looks at sums of such squares.)
    """

    losses: list[float]
    end: Literal["done", "stopped", "diverged"]


class Trace(NamedTuple):
    """One document, seen from inside.

    probabilities[position][token]: of the next token.
    attention[layer][head][position][earlier position]: weights; each row has position + 1 of them.
    """

    probabilities: list[list[float]]
    attention: list[list[list[list[float]]]]


class Generated(NamedTuple):
    """New documents, without the first token of their start and without the end token.

    coins_used: how many coins they took.
    """

    documents: list[list[int]]
    coins_used: int


def check_threads(threads: int) -> None:
    """A ValueError for a maximum number of threads that is out of range."""
    if not 0 <= operator.index(threads) <= 64:
        raise ValueError("threads must be from 0 to 64")


def cannot_train(engine: str) -> ConfigError:
    """The error for a configuration whose updates an engine does not support."""
    return ConfigError(
        f"the {engine} engine does not support weight decay, input dropout or Muon",
        where="option engine",
        fix="engine fast",
    )


class Engine(Protocol):
    """Forward pass, backward pass, optimizer, generation and scoring for one model.

    **Stopping.** Where `stop` answers True, a method returns what is finished by then, and an
    update under way leaves no trace; `gradients` and `trace` raise StoppedError. An exception that
    `stop` raises comes out, and the model is as it was. A `stop` that calls its own engine gets a
    RuntimeError.

    **Errors.** Wrong arguments are a ValueError, in the words of `engines.base`, and nothing has
    changed. A token that is not an integer is a TypeError. Tokens past block_size + 1 are ignored.

    **Threads.** Several may share one engine; they take turns.
    """

    name: ClassVar[str]
    # The largest difference from the scalar engine, relative to the largest number of its kind: of
    # losses, log-probabilities and gradients. 0.0: the same bits, in everything that the engine
    # computes.
    bound: ClassVar[float]
    instruction_set: str  # for example "avx2"; "" where the results cannot depend on it

    def __init__(self, config: Config, vocab_size: int, state: State, *, threads: int = 0) -> None:
        """threads: the maximum number; 0: the engine chooses. Results do not depend on it."""
        ...

    @classmethod
    def supports(cls, config: Config) -> bool:
        """Whether it can train with this configuration. Every engine scores and generates."""
        ...

    @classmethod
    def about(cls) -> str:
        """What it runs on here, in a few words."""
        ...

    def state(self) -> State:
        """A copy of the weights, the moments and the step count."""
        ...

    def steps(
        self, batches: Sequence[Sequence[Tokens]], learning_rates: Sequence[float], stop: Stop
    ) -> Run:
        """One update per batch, in order, each at its learning rate.

        Raises ConfigError for a configuration that it does not support.
        """
        ...

    def gradients(self, batch: Sequence[Tokens], stop: Stop) -> tuple[float, array[float]]:
        """The loss of a batch in nats, and its gradient by every parameter. Changes nothing."""
        ...

    def log_probabilities(self, documents: Sequence[Tokens], stop: Stop) -> list[list[float]]:
        """Per document: log p, in nats, of each token after the first, up to the block's end."""
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

        coins: one per token drawn, end tokens included. A document is begun only while there are
        coins for the longest one, block_size + 1 - len(start).
        start: the tokens every document starts with, 1 to block_size of them. They are BOS and a
        prefix, or the last token of the piece before, where a long document is continued. They
        cost no coins. All but the first are part of the result.
        temperature: logits are divided by it. top_k: keep the k most probable tokens; 0 keeps all.
        top_p: then keep the fewest tokens, most probable first, whose probabilities sum to at least
        top_p; 1.0 keeps all. Among equal probabilities, the lower token id comes first.
        """
        ...
