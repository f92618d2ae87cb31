"""The loop: documents in, one step per update out, a checkpoint whenever one is wanted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from . import corpus
from .checkpoint import Checkpoint, Data
from .config import Config
from .engines import AUTO, Engine, State, Stop, engine_class, trained_by
from .errors import ConfigError, DataError, DivergedError
from .randomness import Draws
from .reference_recipe import batch_indices, learning_rate_at
from .tokenizer import Tokenizer

T = TypeVar("T")


class Step(NamedTuple):
    """One update: its number from 1, the mean loss of its documents in nats a token, its learning rate."""

    step: int
    loss: float
    learning_rate: float
    documents: list[str]


class Session:
    """A training run: documents in their random order, a tokenizer, an engine, the stream of draws."""

    def __init__(
        self, config: Config, documents: list[str], data: Data, tokenizer: Tokenizer, draws: Draws
    ) -> None:
        self.config, self.data, self.tokenizer, self.draws = config, data, tokenizer, draws
        self.documents, self.held_out = corpus.split(documents, config.val)
        self._windows = _windows(self.documents, config) if config.windows else None
        self.engine: Engine
        self.step = 0

    @classmethod
    def start(
        cls,
        config: Config,
        source: corpus.Corpus,
        engine: str,
        threads: int = 0,
        stop: Stop = lambda: False,
    ) -> Session:
        """A new run, drawn as the reference draws: documents shuffled first, then the weights.

        threads: at most so many, 0 for the engine's choice. Takes the corpus over: its documents are shuffled in place.
        Raises StoppedError when `stop` answers True.
        """
        tokenizer = Tokenizer.from_documents(source.documents)
        config.check_memory(tokenizer.vocab_size)
        data = Data.of(source)
        draws = Draws(config.seed)
        draws.shuffle(source.documents)
        self = cls(config, source.documents, data, tokenizer, draws)
        shapes = config.shapes(tokenizer.vocab_size).values()
        state = State.initial(draws.weights(shapes, config.init_std, stop))
        self.engine = engine_class(engine, config)(
            config, tokenizer.vocab_size, state, threads=threads
        )
        return self

    @classmethod
    def resume(
        cls, checkpoint: Checkpoint, source: corpus.Corpus, engine: str, threads: int = 0
    ) -> Session:
        """Go on from a checkpoint, with the documents it was trained on, bit for bit as if never stopped.

        engine: "auto" is the one that trained it up to here.
        """
        data = checkpoint.data
        if source.fingerprint() != data.fingerprint:
            raise DataError(
                f"these are not the documents the model was trained on: {len(source.documents):,} documents here, "
                f"{data.documents:,} there, or other ones",
                where=str(source.origin),
                fix=f"resume with {data.origin}",
            )
        Draws(checkpoint.config.seed).shuffle(source.documents)
        self = cls(
            checkpoint.config, source.documents, data, checkpoint.tokenizer, checkpoint.draws
        )
        if engine == AUTO:
            engine = trained_by(checkpoint.state)
        kind, vocab_size = engine_class(engine, self.config), self.tokenizer.vocab_size
        self.engine = kind(self.config, vocab_size, checkpoint.state, threads=threads)
        self.step = checkpoint.state.step
        return self

    def checkpoint(self) -> Checkpoint:
        """The run as it stands."""
        return Checkpoint(self.config, self.tokenizer, self.engine.state(), self.draws, self.data)

    def batch(self, step: int) -> list[str]:
        """The documents of one step; pieces of them where the configuration says windows."""
        if self._windows is not None:
            return [
                window.text(self.config.block_size) for window in self._picked(step, self._windows)
            ]
        return self._picked(step, self.documents)

    def _picked(self, step: int, items: Sequence[T]) -> list[T]:
        return [items[i] for i in batch_indices(step, self.config.batch_size, len(items))]

    def _tokens(self, step: int) -> list[list[int]]:
        longest = self.config.block_size
        if self._windows is not None:
            windows = self._picked(step, self._windows)
            return [self.tokenizer.window(w.document, w.start, longest + 1) for w in windows]
        # A character more than the block predicts is never seen: a line of 10 MB costs nothing.
        return [
            self.tokenizer.encode(document[:longest])
            for document in self._picked(step, self.documents)
        ]

    def run(self, stop: Stop, every: int = 0) -> Iterator[list[Step]]:
        """Train to the last step, or until `stop`; yields the finished steps in blocks of about 50 ms.

        every: no block goes past a multiple of this, for a caller who looks at the weights that often.
        When a block is yielded the engine stands at its end.
        Raises DivergedError at a loss or gradient that is not finite, the weights left as before it.
        """
        size = 1
        while self.step < self.config.num_steps:
            end = min(self.step + size, self.config.num_steps)
            if every:
                end = min(end, (self.step // every + 1) * every)
            steps = range(self.step, end)
            began = time.perf_counter()
            block, why = self._block(steps, stop)
            elapsed = time.perf_counter() - began
            self.step += len(block)
            if block:
                yield block
            if why == "diverged":
                raise DivergedError(
                    f"training diverged at step {self.step + 1}: the loss or a gradient is not finite",
                    where=f"learning rate {self.config.learning_rate:g}",
                    fix="lower the learning rate; the last saved checkpoint is kept",
                )
            if why == "stopped":
                return
            size = max(1, min(2 * size, int(size * 0.05 / max(elapsed, 1e-9)), 1024))

    def _block(self, steps: range, stop: Stop) -> tuple[list[Step], str]:
        documents, batches = (
            [self.batch(step) for step in steps],
            [self._tokens(step) for step in steps],
        )
        rates = [learning_rate_at(step, self.config) for step in steps]
        losses, end = self.engine.steps(batches, rates, stop)
        return [
            Step(step + 1, *row) for step, row in zip(steps, zip(losses, rates, documents))
        ], end


def _windows(documents: list[str], config: Config) -> list[corpus.Window]:
    """The pieces of all documents, in a random order of their own: neighbours would be too much alike."""
    found = [
        window for document in documents for window in corpus.windows(document, config.block_size)
    ]
    Draws(config.seed).shuffle(found)
    return found


def settle_block_size(block_size: int | str, documents: list[str]) -> int:
    """The block size, with "auto" as the longest document and its end mark."""
    if block_size == "auto":
        return max(map(len, documents)) + 1
    if isinstance(block_size, str):
        raise ConfigError(
            "block_size must be a whole number or 'auto'", where="option block_size", fix="auto"
        )
    return block_size


class Interrupt:
    """Turns signals into a question: `stop` for engines, asked instead of dying in the middle of a step.

    A context manager. Only the main thread can watch signals; elsewhere it never answers True. The
    second signal acts at once, as KeyboardInterrupt.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self._signals = signals or (signal.SIGINT,)
        self._before: dict[signal.Signals, Any] = {}
        self.received: int | None = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in self._signals}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def stop(self) -> bool:
        """Whether a signal has come."""
        return self.received is not None
