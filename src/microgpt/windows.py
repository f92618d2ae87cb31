"""Documents longer than the block, cut into windows, so that nothing of them is left out.

Works on token ids, before an engine sees them; engines know only documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def windows(tokens: Sequence[int], block_size: int) -> Iterator[Sequence[int]]:
    """Pieces of at most block_size + 1 tokens, each beginning with the last token of the one before.

    So every token after the first is predicted exactly once, from what its window holds before it. A document that
    fits the block is its own only window; a later window begins with a character instead of BOS.
    """
    for start in range(0, max(1, len(tokens) - 1), block_size):
        yield tokens[start : start + block_size + 1]
