"""All random numbers of the program: document order, initial weights and coins.

They come from Python's `random.Random`, a Mersenne Twister. Its methods shuffle, gauss and random
have returned the same numbers for the same seed since Python 3.2.
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
    """A stream of random numbers that its seed determines.

    >>> Draws(42).coins(2).tolist()
    [0.6394267984578837, 0.025010755222666936]
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Shuffle a sequence in place, as `random.Random.shuffle` does.

        Its loop is written out here: that halves the time, because no function is called per item.

        >>> numbers, same = list(range(100)), list(range(100))
        >>> Draws(42).shuffle(numbers)
        >>> random.Random(42).shuffle(same)
        >>> numbers == same
        True
        """
        bits = self._rng.getrandbits
        for last in range(len(items) - 1, 0, -1):
            size = (last + 1).bit_length()
            chosen = bits(size)
            while chosen > last:
                chosen = bits(size)
            items[last], items[chosen] = items[chosen], items[last]

    def weights(
        self,
        shapes: Iterable[tuple[int, int]],
        std: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> array[float]:
        """Independent Gaussian numbers for matrices of these (rows, columns), row by row.

        std: their standard deviation; their mean is 0.
        stop: asked before each row, because a large model takes seconds. Raises StoppedError when
        it returns True.
        """
        gauss, numbers = self._rng.gauss, array("d")
        for rows, columns in shapes:
            for _ in range(rows):
                if stop():
                    raise StoppedError
                numbers.extend([gauss(0, std) for _ in range(columns)])
        return numbers

    def coins(self, count: int) -> array[float]:
        """Uniform random numbers in [0, 1). An engine uses one for each token that it generates."""
        toss = self._rng.random
        return array("d", [toss() for _ in range(count)])

    def state(self) -> str:
        """The generator's state as JSON."""
        return json.dumps(self._rng.getstate(), separators=(",", ":"))

    @classmethod
    def from_state(cls, state: str) -> Draws:
        """The stream at the point where `state` was called. Raises ValueError for other text."""
        draws = cls(0)
        try:
            version, words, gauss_next = json.loads(state)
            # setstate does not check types, and formats words: a string could be any format.
            if version != 3 or not all(type(word) is int and 0 <= word < 2**32 for word in words):
                raise ValueError("this is not the state of a random generator")
            if gauss_next is not None and not (
                isinstance(gauss_next, float) and math.isfinite(gauss_next)
            ):
                raise ValueError("gauss_next is not a number")
            draws._rng.setstate((version, tuple(words), gauss_next))
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from error
        return draws


def fresh_seed() -> int:
    """A random seed below a million, short enough to be typed again."""
    return random.SystemRandom().randrange(10**6)
