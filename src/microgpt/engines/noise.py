"""Which inputs an update hides, in plain Python: what `Config.input_dropout` means.

Hidden characters are a smoothing: what follows must be predicted from what is left (Xie et al. 2017, "Data noising
as smoothing in neural network language models", there called blank noising). The coin of an input depends on the
update and on the document up to that input, on nothing else: documents that begin alike lose the same inputs, in
every engine, whatever the batch and however many threads.
"""

from __future__ import annotations

from collections.abc import Sequence

_WORD = 0xFFFFFFFF  # all arithmetic is modulo 2**32


def inputs(tokens: Sequence[int], mark: int, step: int, share: float) -> list[int]:
    """The tokens with about a `share` of them, never the first, replaced by the mark (BOS)."""
    update = _mixed((step + 0x2545F491) & _WORD)
    limit = int(share * 2**32)
    result, prefix = [], 0
    for t, token in enumerate(tokens):
        prefix = _mixed(prefix ^ (token + 0x9E3779B9) & _WORD)
        hide = t > 0 and _mixed((prefix + update) & _WORD) < limit
        result.append(mark if hide else token)
    return result


def _mixed(word: int) -> int:
    """A word as good as random for each word: the last steps of MurmurHash3 (Appleby 2011)."""
    word = (word ^ word >> 16) * 0x85EBCA6B & _WORD
    word = (word ^ word >> 13) * 0xC2B2AE35 & _WORD
    return word ^ word >> 16
