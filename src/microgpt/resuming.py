"""Which engine may continue the training of a model file, so that the bits are those of one run."""

from __future__ import annotations

import warnings

from .checkpoint import Checkpoint
from .engines import AUTO, Engine, engine_class, guessed_engine
from .errors import CheckpointError, ConfigError, MissingPartError, quote

REFERENCE_BITS = ("scalar", "exact")  # engines whose bits are the reference's, installed or not


def engine_to_resume(checkpoint: Checkpoint, engine: str) -> type[Engine]:
    """The engine that continues a checkpoint's training, by the rules of `Session.resume`."""
    config, recorded = checkpoint.config, checkpoint.made_by.engine
    if not recorded:  # format version 1
        return _guessed_engine(checkpoint, engine)
    if engine in (AUTO, recorded) or (recorded == "exact" and not config.plain):
        return recorded_engine(checkpoint)
    kind = engine_class(engine, config)
    if kind.bound == 0.0 and (
        recorded in REFERENCE_BITS or recorded_engine(checkpoint).bound == 0.0
    ):
        return kind
    raise ConfigError(
        f"the model was trained by the engine {recorded}, and {engine} computes other bits",
        where="option engine",
        fix=f"engine {recorded}, or leave the option out; another engine must train from the start",
    )


def _guessed_engine(checkpoint: Checkpoint, engine: str) -> type[Engine]:
    """The engine that continues the training of a file of format version 1.

    Such a file does not say which engine trained it, so its numbers tell.
    """
    config, guess = checkpoint.config, guessed_engine(checkpoint.state)
    kind = engine_class(guess if engine == AUTO else engine, config)
    if checkpoint.state.step and engine not in (AUTO, guess):
        same_bits = guess == AUTO and kind.bound == 0.0
        if not same_bits and kind is not (suspected := engine_class(guess, config)):
            raise ConfigError(
                f"the model file does not say which engine trained it; its numbers suggest "
                f"{suspected.name}, and {engine} computes other bits",
                where="option engine",
                fix=f"engine {suspected.name}, or leave the option out; another engine must train "
                f"from the start",
            )
    if guess != AUTO:
        warnings.warn(
            f"the model file does not say which engine trained it; its numbers suggest "
            f"{guess}; training continues with {kind.name}",
            stacklevel=4,
        )
    return kind


def recorded_engine(checkpoint: Checkpoint) -> type[Engine]:
    """The engine that a checkpoint names.

    Raises MissingPartError if it is not installed, and CheckpointError if it does not train with
    the checkpoint's configuration.
    """
    name = checkpoint.made_by.engine
    try:
        kind = engine_class(name)
    except (ConfigError, MissingPartError) as error:
        same_bits = name in REFERENCE_BITS
        raise MissingPartError(
            f"the model was trained by the engine {quote(name)}, which is not installed: "
            f"{error.what}",
            where="entry made_by of the model file",
            fix="engine scalar, which computes the same bits"
            if same_bits
            else f"install the engine {name}, or train from the start with another one",
        ) from error
    if not kind.supports(checkpoint.config):
        raise CheckpointError(
            f"the file says that the engine {quote(name)} trained the model, but that engine does "
            f"not train with the file's configuration",
            where="entry made_by of the model file",
            fix="use a copy of the file, or train again",
        )
    return kind
