"""Every random draw of the program, in the reference's order: shuffle, initial weights, coins.

Python's Mersenne Twister, whose shuffle, gauss and random have kept their streams since Python 3.2.
"""

from __future__ import annotations

import json
import math
import random
from array import array
from collections.abc import Callable, Iterable, MutableSequence
from typing import Any

from .errors import StoppedError


class Draws:
    """A stream of random draws, fixed by its seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put the items into random order, in place."""
        self._rng.shuffle(items)

    def weights(
        self,
        shapes: Iterable[tuple[int, int]],
        std: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> array[float]:
        """Independent Gaussians for matrices of these (rows, columns), one after the other, row by row.

        stop: asked before each row, for large models take seconds. Raises StoppedError when it answers True.
        """
        gauss, found = self._rng.gauss, array("d")
        for rows, columns in shapes:
            for _ in range(rows):
                if stop():
                    raise StoppedError
                found.extend([gauss(0, std) for _ in range(columns)])
        return found

    def coins(self, count: int) -> array[float]:
        """Uniform draws from [0, 1), one for each token that will be sampled."""
        toss = self._rng.random
        return array("d", [toss() for _ in range(count)])

    def state(self) -> str:
        """The generator's state as JSON."""
        return json.dumps(self._rng.getstate(), separators=(",", ":"))

    @classmethod
    def from_state(cls, state: str) -> Draws:
        """The stream, where it stood when `state` was taken. Raises ValueError on anything else."""
        draws = cls(0)
        try:
            version, words, gauss_next = json.loads(state)
            # setstate does not look at types: a string in `words` would be a format of any width to it.
            if version != 3 or not all(type(word) is int and 0 <= word < 2**32 for word in words):
                raise ValueError("these are not the numbers of a generator")
            if gauss_next is not None and not (
                isinstance(gauss_next, float) and math.isfinite(gauss_next)
            ):
                raise ValueError("gauss_next is not a number")
            draws._rng.setstate((version, tuple(words), gauss_next))
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from error
        return draws


def fresh_seed() -> int:
    """A seed nobody chose, small enough to be read aloud and typed again."""
    return random.SystemRandom().randrange(10**6)
