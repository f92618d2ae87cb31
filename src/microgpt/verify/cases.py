"""The cases of a verification: the data, seed and number of steps with which both programs run."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

FRESH_LINES = 200  # documents in a dataset drawn at random


@dataclass(frozen=True)
class Settings:
    """How to run a program once. seed, steps: None leaves the number that the program has."""

    data: bytes  # becomes input.txt
    seed: int | None = None
    steps: int | None = None


@dataclass(frozen=True)
class Case:
    """One case: the dataset's name, and the settings of the runs."""

    name: str
    settings: Settings

    def __str__(self) -> str:
        parts = [self.name]
        if self.settings.seed is not None:
            parts.append(f"seed {self.settings.seed}")
        parts.append("all steps" if self.settings.steps is None else f"{self.settings.steps} steps")
        return ", ".join(parts)


def cases_for(
    data: Sequence[tuple[str, bytes]],
    seeds: Sequence[int] = (),
    steps: int | None = None,
    fresh: int = 0,
    fresh_seed: int | None = None,
) -> list[Case]:
    r"""Every dataset with every seed, and with `fresh` datasets drawn from the lines of the first.

    data: (name, content) of each. fresh_seed: draws the same datasets again. No program can be
    prepared for a fresh dataset; its name says how to draw it again.

    >>> [str(case) for case in cases_for([("names", b"ann\nbo\n")], seeds=(1, 2), steps=3)]
    ['names, seed 1, 3 steps', 'names, seed 2, 3 steps']
    """
    if fresh:
        first = fresh_seed if fresh_seed is not None else secrets.randbelow(1_000_000)
        data = [*data, *(_fresh(*data[0], first + i) for i in range(fresh))]
    wanted: Sequence[int | None] = list(seeds) or [None]
    return [Case(name, Settings(content, seed, steps)) for name, content in data for seed in wanted]


def _fresh(name: str, content: bytes, seed: int) -> tuple[str, bytes]:
    lines = content.splitlines()
    drawn = random.Random(seed).sample(lines, min(len(lines), FRESH_LINES))
    name = f"{FRESH_LINES} lines of {name} drawn with --fresh-seed {seed}"
    return name, b"\n".join(drawn) + b"\n"
