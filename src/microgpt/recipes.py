"""Presets: hyper-parameters of better models than the reference's, fitted to a list of documents.

How they were found, and what was tried and did not help: docs/log.md, "Recipes".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .errors import ConfigError, quote


class Preset(NamedTuple):
    """Fields of `Config`, and how long to train: at most `epochs` passes over the list, at most `most_steps`."""

    fields: dict[str, int | float]
    epochs: float
    most_steps: int


_BETTER = {"batch_size": 64, "beta2": 0.99, "muon": 0.95, "warmup": 50}

PRESETS: dict[str, Preset | None] = {
    "reference": None,
    "good": Preset(_BETTER | {"n_layer": 2, "n_embd": 48, "n_head": 12, "learning_rate": 0.006}, 6, 2000),
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
        12,
        5500,
    ),
}
FEWEST_STEPS = 100
LONGEST_BLOCK = 256


def recipe(name: str, documents: Sequence[str]) -> dict[str, int | float]:
    """The fields of `Config` that this preset sets for these documents; none for "reference".

    block_size fits the longest document; past LONGEST_BLOCK they are trained on in windows. Short lists get fewer
    steps: more would teach them by heart. Raises ConfigError for an unknown name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"there is no preset {quote(name)}", where="option preset", fix=f"one of {', '.join(PRESETS)}"
        )
    preset = PRESETS[name]
    if preset is None:
        return {}
    longest = max(map(len, documents), default=0) + 1
    steps = round(preset.epochs * len(documents) / preset.fields["batch_size"])
    return preset.fields | {
        "block_size": min(longest, LONGEST_BLOCK),
        "windows": longest > LONGEST_BLOCK,
        "num_steps": min(max(steps, FEWEST_STEPS), preset.most_steps),
    }
