"""Presets: hyper-parameters of better models than the reference's, fitted to a list of documents.

How they were found, and what was tried and did not help: docs/log.md, "Recipes".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
_BETTER = {"batch_size": 64, "muon": 0.95, "warmup": 50}

PRESETS: dict[str, Preset | None] = {
    "reference": None,
    "good": Preset(
        _BETTER | {"n_layer": 2, "n_embd": 48, "n_head": 4, "learning_rate": 0.008, "beta2": 0.995}, 1900, 0.75, 0.75
    ),
    "best": Preset(
        _BETTER
        | {
            "n_layer": 3,
            "n_embd": 96,
            "n_head": 6,
            "learning_rate": 0.005,
            "weight_decay": 0.1,
            "input_dropout": 0.15,
        },
        5500,
        1.3,
        0.5,
    ),
}
FEWEST_STEPS = 60
LONGEST_BLOCK = 256


def recipe(name: str, documents: Sequence[str]) -> dict[str, int | float]:
    """The fields of `Config` that this preset sets for these documents; none for "reference".

    block_size fits the longest document; past LONGEST_BLOCK they are trained on in windows. Raises ConfigError for an
    unknown name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"there is no preset {quote(name)}", where="option preset", fix=f"one of {', '.join(PRESETS)}"
        )
    preset = PRESETS[name]
    if preset is None:
        return {}
    longest = max(map(len, documents), default=0) + 1
    share = len(documents) / MANY
    steps = preset.steps * share ** (preset.shorter if share < 1 else preset.longer)
    return preset.fields | {
        "block_size": min(longest, LONGEST_BLOCK),
        "windows": longest > LONGEST_BLOCK,
        "num_steps": max(int(float(f"{steps:.2g}")), FEWEST_STEPS),  # a round number
    }
