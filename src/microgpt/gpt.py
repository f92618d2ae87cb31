"""A usable model: configuration, tokenizer, and the engine that holds the weights."""

from __future__ import annotations

from typing import NamedTuple

from .checkpoint import Checkpoint
from .config import Config
from .engines import AUTO, Engine, engine_class
from .tokenizer import Tokenizer


class GPT(NamedTuple):
    """What sampling, scoring and explaining work on.

    The configuration and the tokenizer never change. The engine's weights do, if it is trained.
    """

    config: Config
    tokenizer: Tokenizer
    engine: Engine

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, engine: str = AUTO, *, threads: int = 0
    ) -> GPT:
        """The model in a checkpoint, computed by the engine of this name.

        threads: maximum number of threads; 0: the engine chooses.
        Raises ConfigError for an unknown engine, MissingPartError for one that is not installed.
        """
        config, tokenizer = checkpoint.config, checkpoint.tokenizer
        kind = engine_class(engine)
        return cls(
            config,
            tokenizer,
            kind(config, tokenizer.vocab_size, checkpoint.state, threads=threads),
        )
