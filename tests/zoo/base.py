"""The reference, made small: the program of which the zoo's animals are variants."""

from __future__ import annotations

from pathlib import Path

import microgpt.reference

DATA = (
    b"emma\nolivia\nava\nisabella\nsophia\ncharlotte\nmia\namelia\nharper\nevelyn\nabigail\nemily\n"
)
OTHER_DATA = b"ann\nbo\nchloe\nann\ndora\neve\nfay\ngil\nhal\n"
_SMALLER = (
    ("n_embd: int = 16", "n_embd: int = 4"),
    ("n_head: int = 4", "n_head: int = 2"),
    ("block_size: int = 16", "block_size: int = 8"),
    ("num_steps=1000", "num_steps=6"),
    ("range(20)", "range(6)"),
)


def changed(text: str, *changes: tuple[str, str]) -> str:
    """A text with each (old, new) replaced; every old must be there exactly once."""
    for old, new in changes:
        assert text.count(old) == 1, f"{text.count(old)} times in the program: {old!r}"
        text = text.replace(old, new)
    return text


def small_reference() -> str:
    assert microgpt.reference.__file__
    return changed(Path(microgpt.reference.__file__).read_text(encoding="utf-8"), *_SMALLER)
