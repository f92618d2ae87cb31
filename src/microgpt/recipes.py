"""Presets: settings for better models than the reference's, fitted to a list of documents.

The settings are in reference_recipe.py, which defines what they do. How they were found, and what
was tried without success: docs/lab/recipes.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .corpus import from_iterable
from .errors import ConfigError, quote
from .reference_recipe import BATCH_SIZE, BEST, GOOD, WARMUP


class Preset(NamedTuple):
    """Fields of `Config`, and how the number of steps follows the number of documents.

    `steps` are for `MANY` documents. Other lists get steps * (documents / MANY) ** power, where
    the power is `shorter` or `longer`. Both were fitted on 500 to 32,000 names, where more steps
    overfit a short list, and on 88,799 surnames.
    """

    fields: Mapping[str, int | float]
    steps: int
    shorter: float
    longer: float


MANY = 32_000
PRESETS: dict[str, Preset | None] = {
    "reference": None,
    "good": Preset(GOOD, steps=1600, shorter=0.75, longer=0.75),
    "best": Preset(BEST, steps=5500, shorter=1.3, longer=0.5),
}
FEWEST_STEPS = 30  # fewer teach nothing: shorter lists get smaller batches instead
LONGEST_BLOCK = 256


def recipe(
    name: str, documents: Iterable[str] | os.PathLike[str], num_steps: int | None = None
) -> dict[str, int | float]:
    """The fields of `Config` that a preset sets for these documents; none for "reference".

    name: "reference", "good" or "best".
    documents: as `MicroGPT.fit` takes them.
    num_steps: replaces the preset's number of steps. The warm-up is at most a fifth of them.
    block_size fits the longest document. Documents longer than LONGEST_BLOCK are trained on in
    windows. Raises ConfigError for an unknown name, DataError where there are no documents.

    >>> fields = recipe("good", ["ann", "bob", "carla"], num_steps=100)
    >>> fields["n_embd"], fields["block_size"], fields["num_steps"], fields["warmup"]
    (48, 6, 100, 20)
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
    batch_size = max(1, round(BATCH_SIZE * min(1.0, steps / FEWEST_STEPS)))
    steps = num_steps or max(int(float(f"{steps:.2g}")), FEWEST_STEPS)  # a round number
    return {
        **preset.fields,
        "block_size": min(longest, LONGEST_BLOCK),
        "windows": longest > LONGEST_BLOCK,
        "num_steps": steps,
        "batch_size": batch_size,
        "warmup": min(WARMUP, steps // 5),
    }
