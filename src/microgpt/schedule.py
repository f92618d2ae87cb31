"""The learning rate of every update, as a pure function of the hyper-parameters.

Knows no engine and keeps no state: a run that resumes asks for the rates it has left.
"""

from __future__ import annotations

from .config import Config


def rate_at(step: int, config: Config) -> float:
    """Learning rate of update `step`, counted from 0.

    With `warmup` 0 these are the bits of `reference.learning_rate_at`: full rate first, then linearly towards zero.
    Otherwise the rate rises linearly over the first `warmup` updates, and falls linearly over the rest.
    """
    if step < config.warmup:
        return config.learning_rate * ((step + 1) / config.warmup)
    return config.learning_rate * (1 - (step - config.warmup) / (config.num_steps - config.warmup))
