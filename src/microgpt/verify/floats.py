"""Comparing float64 by their bits: how far apart two are, and where two arrays first differ."""

from __future__ import annotations

import struct


def ordinal(number: float) -> int:
    """The place of a float64 among all float64 in ascending order: neighbors differ by one.

    >>> ordinal(0.0), ordinal(-0.0), ordinal(5e-324)
    (0, -1, 1)
    """
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits) if bits >= 0 else -(int(bits) & (2**63 - 1)) - 1


def ulps_apart(a: float, b: float) -> int:
    """Distance in units in the last place (ulp): 0 only for the same bits, 1 for neighbors.

    A NaN is further from every other number than any two numbers are from each other.

    >>> ulps_apart(1.0, 1.0 + 2**-52), ulps_apart(0.0, -0.0)
    (1, 1)
    """
    if struct.pack("<d", a) == struct.pack("<d", b):
        return 0
    return 2**64 if a != a or b != b else abs(ordinal(a) - ordinal(b))


def first_apart(original: bytes, variant: bytes, ulps: int) -> int | None:
    """Index of the first float64 that is more than `ulps` apart; None where there is none.

    Both are raw little-endian float64. Where one is shorter, that is the index of its end.
    """
    if original == variant:
        return None
    expected, actual = memoryview(original).cast("d"), memoryview(variant).cast("d")
    if len(expected) != len(actual):
        return min(len(expected), len(actual))
    apart = (i for i in range(len(expected)) if ulps_apart(expected[i], actual[i]) > ulps)
    return next(apart, None)


def number_at(raw: bytes, index: int) -> float | None:
    """Number `index` of raw float64; None past the end."""
    numbers = memoryview(raw).cast("d")
    return numbers[index] if index < len(numbers) else None


def show(number: float | None) -> str:
    """A float as decimal and as hexadecimal text. Neither is rounded.

    >>> show(0.1)
    '0.1 = 0x1.999999999999ap-4'
    """
    return "absent" if number is None else f"{number!r} = {number.hex()}"
