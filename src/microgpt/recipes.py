"""Presets: hyper-parameters of better models than the reference's, fitted to a list of documents.

How they were found, and what was tried and did not help: docs/lab/recipes.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from .corpus import from_iterable
from .errors import ConfigError, quote


class Preset(NamedTuple):
    """Fields of `Config`; steps for `MANY` documents; the power of their number for shorter lists, and for longer ones.

    Fitted to 500, 2,000, 8,000 and 32,000 names, where more steps teach a short list by heart, and 88,799 surnames.
    """

    fields: dict[str, int | float]
    steps: int
    shorter: float
    longer: float


MANY = 32_000
BATCH, WARMUP = 64, 50

PRESETS: dict[str, Preset | None] = {
    "reference": None,
    "good": Preset(
        {
            "n_layer": 2,
            "n_embd": 48,
            "n_head": 6,
            "learning_rate": 0.008,
            "beta2": 0.995,
            "muon": 0.95,
        },
        1600,
        0.75,
        0.75,
    ),
    "best": Preset(
        {
            "n_layer": 3,
            "n_embd": 96,
            "n_head": 6,
            "learning_rate": 0.005,
            "muon": 0.95,
            "weight_decay": 0.1,
            "input_dropout": 0.15,
        },
        5500,
        1.3,
        0.5,
    ),
}
FEWEST_STEPS = 30  # fewer teach nothing: shorter lists get smaller batches instead
LONGEST_BLOCK = 256


def recipe(
    name: str, documents: Iterable[str] | os.PathLike[str], num_steps: int | None = None
) -> dict[str, int | float]:
    """The fields of `Config` that this preset sets for these documents; none for "reference".

    documents: as `MicroGPT.fit` takes them. num_steps: instead of the preset's own; the warm-up is a fifth of them at
    most. block_size fits the longest document; past LONGEST_BLOCK they are trained on in windows.
    Raises ConfigError for an unknown name, DataError where there are no documents.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"there is no preset {quote(name)}",
            where="option preset",
            fix=f"one of {', '.join(PRESETS)}",
        )
    preset = PRESETS[name]
    if preset is None:
        return {}
    strings = from_iterable(documents).documents
    longest, share = max(map(len, strings)) + 1, len(strings) / MANY
    steps = preset.steps * share ** (preset.shorter if share < 1 else preset.longer)
    batch_size = max(1, round(BATCH * min(1.0, steps / FEWEST_STEPS)))
    steps = num_steps or max(int(float(f"{steps:.2g}")), FEWEST_STEPS)  # a round number
    return preset.fields | {
        "block_size": min(longest, LONGEST_BLOCK),
        "windows": longest > LONGEST_BLOCK,
        "num_steps": steps,
        "batch_size": batch_size,
        "warmup": min(WARMUP, steps // 5),
    }
