"""What an engine written in Python inherits: checks, turns, and the loops around a model.

A subclass holds a model and fills in seven methods: `_state`, `_update`, `_gradients`, `_trace`,
`_new_cache`, `_logits` and `about`. Everything else of the contract is here, once.
`examples/numpy_engine` shows a whole engine in NumPy; `scalar.py` is another.
"""

from __future__ import annotations

import math
import operator
import threading
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, ClassVar

from ..config import Config, standard_arithmetic
from ..errors import StoppedError
from .contract import Generated, Run, State, Stop, Tokens, Trace, cannot_train, check_threads


class PythonEngine(ABC):
    """Arguments, results and errors: see `Engine`."""

    name: ClassVar[str]
    bound: ClassVar[float]
    instruction_set = ""

    def __init__(self, config: Config, vocab_size: int, state: State, *, threads: int = 0) -> None:
        check_state(state, config.parameter_count(vocab_size))
        check_threads(threads)
        self.config, self.vocab_size = config, vocab_size
        self._lock, self._inside = threading.Lock(), 0  # _inside: id of the thread whose turn it is

    # ---- what a subclass fills in: arguments are checked, and this thread has its turn ----

    @classmethod
    def supports(cls, config: Config) -> bool:
        """Whether `_update` does what this configuration says: here, plain Adam."""
        return config.plain

    @classmethod
    @abstractmethod
    def about(cls) -> str:
        """What it runs on here, in a few words."""

    @abstractmethod
    def _state(self) -> State: ...

    @abstractmethod
    def _update(self, batch: Sequence[Tokens], rate: float, stop: Stop) -> float:
        """One update; its loss. If that is not finite, or it stopped, nothing has changed."""

    @abstractmethod
    def _gradients(self, batch: Sequence[Tokens], stop: Stop) -> tuple[float, array[float]]: ...

    @abstractmethod
    def _trace(self, tokens: Tokens, stop: Stop) -> Trace: ...

    @abstractmethod
    def _new_cache(self) -> Any:
        """What `_logits` needs to remember of a document's earlier positions; nothing yet."""

    @abstractmethod
    def _logits(self, token: int, position: int, cache: Any) -> list[float]:
        """Logits of the token after this one; the position goes into the cache."""

    # ---- the contract ----

    def state(self) -> State:
        """See `Engine`."""
        with self._turn():
            return self._state()

    def steps(
        self, batches: Sequence[Sequence[Tokens]], learning_rates: Sequence[float], stop: Stop
    ) -> Run:
        """See `Engine`."""
        if not self.supports(self.config):
            raise cannot_train(self.name)
        if len(batches) != len(learning_rates):
            raise ValueError(
                f"{len(batches)} batches need {len(batches)} learning rates, "
                f"not {len(learning_rates)}"
            )
        if not all(map(math.isfinite, learning_rates)):
            raise ValueError("a learning rate must be finite")
        checked = [self._checked_batch(batch) for batch in batches]
        losses: list[float] = []
        with self._turn():
            for batch, rate in zip(checked, learning_rates):
                try:
                    loss = self._update(batch, rate, stop)
                except StoppedError:
                    return Run(losses, "stopped")
                if not math.isfinite(loss):
                    return Run(losses, "diverged")
                losses.append(loss)
        return Run(losses, "done")

    def gradients(self, batch: Sequence[Tokens], stop: Stop) -> tuple[float, array[float]]:
        """See `Engine`."""
        checked = self._checked_batch(batch)
        with self._turn():
            return self._gradients(checked, stop)

    def log_probabilities(self, documents: Sequence[Tokens], stop: Stop) -> list[list[float]]:
        """See `Engine`."""
        checked = [self._checked_document(tokens) for tokens in documents]
        rows: list[list[float]] = []
        with self._turn():
            for tokens in checked:
                try:
                    probabilities = self._trace(tokens, stop).probabilities
                except StoppedError:
                    break
                rows.append([_log(row[token]) for row, token in zip(probabilities, tokens[1:])])
        return rows

    def trace(self, tokens: Tokens, stop: Stop) -> Trace:
        """See `Engine`."""
        checked = self._checked_document(tokens)
        with self._turn():
            return self._trace(checked, stop)

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
        """See `Engine`."""
        check_sampling(count, coins, temperature, top_k, top_p)
        if not 1 <= len(start) <= self.config.block_size:
            raise ValueError(
                f"start must have 1 to {self.config.block_size} tokens, not {len(start)}"
            )
        start = self._checked_tokens(start, len(start))
        documents: list[list[int]] = []
        used, longest = 0, self.config.block_size + 1 - len(start)
        with self._turn():
            while len(documents) < count and len(coins) - used >= longest and not stop():
                tokens, spent = self._document(
                    start, coins[used : used + longest], temperature, top_k, top_p
                )
                documents.append(tokens[1:])
                used += spent
        return Generated(documents, used)

    def _document(
        self, start: Tokens, coins: array[float], temperature: float, top_k: int, top_p: float
    ) -> tuple[list[int], int]:
        """One document with the first token of its start, and how many coins it took."""
        cache, tokens, spent = self._new_cache(), [*start], 0
        for position in range(self.config.block_size):
            logits = self._logits(tokens[position], position, cache)
            if position + 1 < len(start):
                continue
            token = draw(truncate(softmax(logits, temperature), top_k, top_p), coins[spent])
            spent += 1
            if token == self.vocab_size - 1:
                break
            tokens.append(token)
        return tokens, spent

    # ---- turns and checks ----

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One thread at a time, in the standard floating-point mode (ConfigError: see `config`).

        The thread inside may not come back from its own stop().
        """
        if self._inside == threading.get_ident():
            raise RuntimeError("stop() must not call the engine that asks it")
        with standard_arithmetic(), self._lock:
            self._inside = threading.get_ident()
            try:
                yield
            finally:
                self._inside = 0

    def _checked_batch(self, batch: Sequence[Tokens]) -> list[list[int]]:
        if not len(batch):
            raise ValueError("a batch needs at least one document")
        return [self._checked_document(tokens) for tokens in batch]

    def _checked_document(self, tokens: Tokens) -> list[int]:
        """The tokens that the model looks at: as many as a block predicts, and one more."""
        if len(tokens) < 2:
            raise ValueError("a document needs at least two tokens")
        return self._checked_tokens(tokens, self.config.block_size + 1)

    def _checked_tokens(self, tokens: Tokens, most: int) -> list[int]:
        """Up to `most` of the tokens, as plain integers."""
        if isinstance(tokens, (Set, Mapping)):
            raise TypeError("tokens must come in a sequence")
        checked = [*map(operator.index, tokens[:most])]
        for token in checked:
            if not 0 <= token < self.vocab_size:
                shown = f"token {token}" if -(2**63) <= token < 2**63 else "a token"
                raise ValueError(f"{shown} is outside the vocabulary of {self.vocab_size} tokens")
        return checked


def check_state(state: State, count: int) -> None:
    """A ValueError where a state is not that of a model with `count` parameters."""
    for name in ("parameters", "m", "v"):
        if len(getattr(state, name)) != count:
            raise ValueError(f"{name} must hold {count} numbers, not {len(getattr(state, name))}")
    if operator.index(state.step) < 0:
        raise ValueError("step must be at least 0")


def check_sampling(
    count: int, coins: array[float], temperature: float, top_k: int, top_p: float
) -> None:
    """A ValueError for arguments of `generate` that are out of range."""
    if operator.index(count) < 0:
        raise ValueError("count must be at least 0")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError("temperature must be finite and above 0")
    if operator.index(top_k) < 0:
        raise ValueError("top_k must be at least 0")
    if not 0 < top_p <= 1:
        raise ValueError("top_p must be above 0 and at most 1")
    if not all(0 <= coin < 1 for coin in coins):
        raise ValueError("coins must be at least 0 and below 1")


# ---- From logits to a token, in the reference's order of operations, on plain floats ----


def softmax(logits: Sequence[float], temperature: float) -> list[float]:
    """Probabilities from logits over the temperature, with the bits of `reference.sample`."""
    inverse = temperature**-1
    scaled = [logit * inverse for logit in logits]
    highest = max(scaled)
    exps = [math.exp(x - highest) for x in scaled]
    total = 0.0
    for e in exps:  # a loop: sum() of floats rounds differently from Python 3.12 on
        total += e
    inverse = total**-1
    return [e * inverse for e in exps]


def truncate(probabilities: list[float], top_k: int, top_p: float) -> list[float]:
    """The probabilities, with zeros for the tokens that top-k and top-p leave out.

    >>> truncate([0.5, 0.2, 0.3], 2, 1.0)
    [0.5, 0.0, 0.3]
    """
    by_rank = sorted(range(len(probabilities)), key=lambda token: -probabilities[token])
    kept = by_rank[:top_k] if top_k else by_rank
    if top_p < 1.0:
        sums = list(accumulate(probabilities[token] for token in kept))
        enough = next((i for i, total in enumerate(sums) if total >= top_p), len(kept) - 1)
        kept = kept[: enough + 1]
    allowed = set(kept)
    return [p if token in allowed else 0.0 for token, p in enumerate(probabilities)]


def draw(weights: list[float], coin: float) -> int:
    """The token that `random.choices` draws with these weights when its random() is `coin`.

    >>> draw([0.25, 0.25, 0.5], 0.3)
    1
    """
    sums = list(accumulate(weights))
    return bisect_right(sums, coin * (sums[-1] + 0.0), 0, len(sums) - 1)


def _log(p: float) -> float:
    return math.log(p) if p > 0.0 else -math.inf
