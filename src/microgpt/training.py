"""The training loop: documents in, one `Step` per update out, and a checkpoint at any step."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from . import corpus
from .checkpoint import Checkpoint, Data
from .config import Config, standard_arithmetic
from .engines import AUTO, Engine, State, Stop, engine_class
from .errors import ConfigError, DivergedError, MissingPartError, quote
from .gpt import GPT
from .made_by import FACT_LIMIT, THEN, MadeBy, depends_on, is_fact
from .randomness import Draws
from .reference_recipe import batch_indices, learning_rate_at
from .resuming import engine_to_resume
from .tokenizer import Tokenizer

T = TypeVar("T")


class Step(NamedTuple):
    """One update of the weights.

    step: its number, counted from 1. loss: the mean loss of its documents, in nats per token.
    learning_rate: the rate it was made with. documents: what it was trained on.
    """

    step: int
    loss: float
    learning_rate: float
    documents: list[str]


class Session:
    """A training run: documents in random order, a tokenizer, an engine, and the random numbers.

    documents: the training set. held_out: the held-out set. step: number of updates made.
    """

    engine: Engine

    def __init__(
        self, config: Config, documents: list[str], data: Data, tokenizer: Tokenizer, draws: Draws
    ) -> None:
        self.config, self.data, self.tokenizer, self.draws = config, data, tokenizer, draws
        self.documents, self.held_out = corpus.split(documents, config.held_out)
        self._windows = _windows(self.documents, config) if config.windows else None
        self.step = 0
        self._resumed_from: Checkpoint | None = None

    @classmethod
    def start(
        cls,
        config: Config,
        source: corpus.Corpus,
        engine: str,
        threads: int = 0,
        stop: Stop = lambda: False,
        instruction_set: str = "",
    ) -> Session:
        """A new run. It draws what the reference draws: first the document order, then the weights.

        source: its documents are shuffled in place.
        engine: a name; "auto" is the exact engine, or the fast one if `config` needs it.
        threads: maximum number of threads; 0: the engine chooses.
        stop: asked while weights are drawn; StoppedError is raised when it returns True.
        instruction_set: one that the engine must use; MissingPartError if it does not run here.
        """
        tokenizer = Tokenizer.from_documents(source.documents)
        config.check_memory(tokenizer.vocab_size)
        data = Data.of(source)
        draws = Draws(config.seed)
        draws.shuffle(source.documents)
        self = cls(config, source.documents, data, tokenizer, draws)
        shapes = config.shapes(tokenizer.vocab_size).values()
        with standard_arithmetic():
            weights = draws.weights(shapes, config.init_std, stop)
        state = State.initial(weights)
        kind = engine_class(engine, config)
        self.engine = _engine(kind, config, tokenizer, state, threads, instruction_set)
        return self

    @classmethod
    def resume(
        cls, checkpoint: Checkpoint, source: corpus.Corpus, engine: str = AUTO, threads: int = 0
    ) -> Session:
        """Continue the run of a checkpoint, bit for bit as if it had never stopped.

        source: the documents it was trained on; others are a DataError.
        engine: "auto" is the engine that trained the checkpoint. Another one is accepted if both
        compute the reference's bits; otherwise it is a ConfigError.
        Warns where the bits will differ from those of an uninterrupted run.
        """
        kind = engine_to_resume(checkpoint, engine)
        self = cls._of(checkpoint, source, kind, threads)
        made_by, here = checkpoint.made_by, MadeBy.here(self.engine)
        for name in depends_on(kind.bound) if made_by.engine and self.step else ():
            before, now = getattr(made_by, name), getattr(here, name)
            if before.split(THEN)[-1] != now:
                sure = name == "instruction_set"
                what = "" if sure else f"{name} "
                warnings.warn(
                    f"the model was trained on {what}{before or 'unknown'}, and training continues "
                    f"on {now or 'unknown'}: the bits {'will' if sure else 'may'} differ from "
                    f"those of an uninterrupted run",
                    stacklevel=2,
                )
        return self

    @classmethod
    def measure(
        cls, checkpoint: Checkpoint, source: corpus.Corpus, engine: str, threads: int = 0
    ) -> Session:
        """The run of a checkpoint on any engine, for looking at the model without training it.

        source: the documents of `checkpoint.data`; others are a DataError.
        """
        return cls._of(checkpoint, source, engine_class(engine, checkpoint.config), threads)

    @classmethod
    def _of(
        cls, checkpoint: Checkpoint, source: corpus.Corpus, kind: type[Engine], threads: int
    ) -> Session:
        config, data = checkpoint.config, checkpoint.data
        data.require(source, where=str(source.origin), fix=f"resume with {data.origin}")
        Draws(config.seed).shuffle(source.documents)
        self = cls(config, source.documents, data, checkpoint.tokenizer, checkpoint.draws)
        self.engine = _engine(kind, config, checkpoint.tokenizer, checkpoint.state, threads)
        self.step = checkpoint.state.step
        self._resumed_from = checkpoint
        return self

    @property
    def gpt(self) -> GPT:
        """The model as it stands; it changes when training continues."""
        return GPT(self.config, self.tokenizer, self.engine)

    @property
    def made_by(self) -> MadeBy:
        """What trained the model. Without a step since a checkpoint: what the checkpoint says."""
        before = self._resumed_from
        if before is not None and self.step == before.state.step:
            return before.made_by
        here = MadeBy.here(self.engine)
        if before is None or before.state.step == 0:
            return here
        return here.after(before.made_by, self.engine.bound)

    def checkpoint(self) -> Checkpoint:
        """The run as it stands."""
        return Checkpoint(
            self.config, self.tokenizer, self.engine.state(), self.draws, self.data, self.made_by
        )

    def batch(self, step: int) -> list[str]:
        """The documents of one step, counted from 0; with `config.windows`, pieces of documents."""
        if self._windows is not None:
            return [
                window.text(self.config.block_size) for window in self._picked(step, self._windows)
            ]
        return self._picked(step, self.documents)

    def _picked(self, step: int, items: Sequence[T]) -> list[T]:
        return [items[i] for i in batch_indices(step, self.config.batch_size, len(items))]

    def _tokens(self, step: int, batch: list[str]) -> list[list[int]]:
        """The token ids of the batch of a step."""
        longest = self.config.block_size
        if self._windows is not None:
            windows = self._picked(step, self._windows)
            return [self.tokenizer.window(w.document, w.start, longest + 1) for w in windows]
        # Characters past the block are never encoded, so a line of 10 MB costs nothing.
        return [self.tokenizer.encode(document[:longest]) for document in batch]

    def run(self, stop: Stop, every: int = 0) -> Iterator[list[Step]]:
        """Train to the last step, or until `stop` returns True.

        Yields the finished steps in blocks of about 50 ms. When a block is yielded, the engine's
        weights are those after its last step.
        every: no block contains steps on both sides of a multiple of it; 0: no limit.
        Raises DivergedError if a loss or gradient is not finite; that update is not made.
        """
        size = 1
        while self.step < self.config.num_steps:
            end = min(self.step + size, self.config.num_steps)
            if every:
                end = min(end, (self.step // every + 1) * every)
            steps = range(self.step, end)
            began = time.perf_counter()
            block, end_reason = self._block(steps, stop)
            elapsed = time.perf_counter() - began
            self.step += len(block)
            if block:
                yield block
            if end_reason == "diverged":
                raise DivergedError(
                    f"training diverged at step {self.step + 1}: "
                    f"the loss or a gradient is not finite",
                    where=f"learning rate {self.config.learning_rate:g}",
                    fix="lower the learning rate; the last saved checkpoint is kept",
                )
            if end_reason == "stopped":
                return
            size = max(1, min(2 * size, int(size * 0.05 / max(elapsed, 1e-9)), 1024))

    def _block(self, steps: range, stop: Stop) -> tuple[list[Step], str]:
        documents = [self.batch(step) for step in steps]
        batches = [self._tokens(step, batch) for step, batch in zip(steps, documents)]
        with standard_arithmetic():
            rates = [learning_rate_at(step, self.config) for step in steps]
        losses, end = self.engine.steps(batches, rates, stop)
        if len(losses) > len(batches) or (end == "done") != (len(losses) == len(batches)):
            raise MissingPartError(
                f"the engine {quote(self.engine.name)} breaks its contract: {len(losses)} losses "
                f"and {quote(end)} for {len(batches)} batches",
                where="option engine",
                fix="use another engine",
            )
        return [
            Step(step + 1, *row) for step, row in zip(steps, zip(losses, rates, documents))
        ], end


def training_set(checkpoint: Checkpoint) -> frozenset[str]:
    """The documents that a checkpoint was trained on, read again from their source.

    Those that it held out are not among them. Raises InputError if the source is gone, DataError if
    it has changed, or if the documents did not come from a file.
    """
    data, config = checkpoint.data, checkpoint.config
    documents = corpus.read_again(data.origin, data.fingerprint).documents
    if config.held_out:  # the last ones of the list in the order of the run
        Draws(config.seed).shuffle(documents)
    return frozenset(corpus.split(documents, config.held_out)[0])


def _engine(
    kind: type[Engine],
    config: Config,
    tokenizer: Tokenizer,
    state: State,
    threads: int,
    instruction_set: str = "",
) -> Engine:
    """An engine of this class, on this instruction set if one is given.

    For an instruction set that is not its default, the constructor is called with `isa`.
    """
    engine = kind(config, tokenizer.vocab_size, state, threads=threads)
    if not (is_fact(engine.name) and is_fact(engine.instruction_set)):
        raise ConfigError(  # now, because the model could not be saved after its training
            f"the engine's name and instruction set must be printable strings of at most "
            f"{FACT_LIMIT} characters, not {quote(engine.name)} and "
            f"{quote(engine.instruction_set)}",
            where="option engine",
            fix="mend the engine, or use another one",
        )
    if instruction_set in ("", engine.instruction_set):
        return engine
    isa: dict[str, Any] = {"isa": instruction_set}
    try:
        return kind(config, tokenizer.vocab_size, state, threads=threads, **isa)
    except (TypeError, ValueError) as error:
        raise MissingPartError(
            f"the engine {kind.name} does not run on {instruction_set} here: {error}",
            where="instruction set",
        ) from error


def _windows(documents: list[str], config: Config) -> list[corpus.Window]:
    """The pieces of all documents, shuffled: neighboring pieces are too similar for one batch."""
    windows = [
        window for document in documents for window in corpus.windows(document, config.block_size)
    ]
    Draws(config.seed).shuffle(windows)
    return windows


def settle_block_size(block_size: int | str, documents: list[str]) -> int:
    """The block size as a number: "auto" fits the longest document and its end token.

    >>> settle_block_size("auto", ["ab", "abcd"])
    5
    """
    if block_size == "auto":
        return max(map(len, documents)) + 1
    if isinstance(block_size, str):
        raise ConfigError(
            "block_size must be a whole number or 'auto'", where="option block_size", fix="auto"
        )
    return block_size


class Interrupt:
    """A context manager in which a signal does nothing but make `stop` return True.

    Engines call `stop`, so no signal interrupts a step. The second signal raises
    KeyboardInterrupt at once. Python handles signals in the main thread only; in other threads
    `stop` always returns False.
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
        """Whether a signal has arrived."""
        return self.received is not None
