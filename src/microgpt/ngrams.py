"""What counting reaches: uniform and 1- to 5-gram models, the yardstick beside a neural model's loss.

Interpolated Witten-Bell smoothing (Chen and Goodman 1999, section 2.5):
    p(w | h) = (c(h w) + T(h) * p(w | h')) / (c(h) + T(h))
c counts, T(h) is the number of different tokens seen after h, h' is h without its first token, and the
recursion ends in the uniform distribution over the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

ORDERS = (1, 2, 3, 4, 5)


class NGrams:
    """Counts of all orders up to `ORDERS[-1]` over token sequences that begin and end with BOS."""

    def __init__(self, documents: Iterable[Sequence[int]], vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._counts: dict[tuple[int, ...], dict[int, int]] = {}  # history -> next token -> count
        for tokens in documents:
            for t in range(1, len(tokens)):
                for history in _histories(tokens, t):
                    after = self._counts.setdefault(history, {})
                    after[tokens[t]] = after.get(tokens[t], 0) + 1
        self._totals = {history: sum(after.values()) for history, after in self._counts.items()}

    def probabilities(self, tokens: Sequence[int], t: int) -> list[float]:
        """p(tokens[t] | those before it), for the uniform model and each order.

        Where fewer tokens come before than an order looks back, it looks at those there are.
        """
        p = 1.0 / self._vocab_size
        found = [p]
        histories = _histories(tokens, t)
        for history in histories:
            after = self._counts.get(history)
            if after:
                kinds = len(after)
                p = (after.get(tokens[t], 0) + kinds * p) / (self._totals[history] + kinds)
            found.append(p)
        return found + found[-1:] * (len(ORDERS) - len(histories))

    def losses(self, documents: Iterable[Sequence[int]], block_size: int) -> dict[str, float]:
        """Mean loss in nats a token for each model, over the tokens a block of this size predicts."""
        sums, count = [0.0] * (len(ORDERS) + 1), 0
        for tokens in documents:
            for t in range(1, min(block_size, len(tokens) - 1) + 1):
                count += 1
                for i, p in enumerate(self.probabilities(tokens, t)):
                    sums[i] -= math.log(p)
        names = ["uniform", *(f"{n}-gram" for n in ORDERS)]
        return {name: total / count for name, total in zip(names, sums)}


def _histories(tokens: Sequence[int], t: int) -> list[tuple[int, ...]]:
    """The 0, 1, ... tokens before position t, as far as the longest order looks and the document goes."""
    return [tuple(tokens[t - n : t]) for n in range(min(t, ORDERS[-1] - 1) + 1)]
