"""Baselines for a model's loss: the uniform distribution, and n-gram models of order 1 to 5.

Interpolated Witten-Bell smoothing (Chen and Goodman 1999, section 2.5):
    p(w | h) = (c(h w) + T(h) * p(w | h')) / (c(h) + T(h))
c counts occurrences. T(h) is the number of different tokens that follow h. h' is h without its
first token. The recursion ends in the uniform distribution over the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

ORDERS = (1, 2, 3, 4, 5)


class NGrams:
    """Counts for all ORDERS, over token sequences that begin and end with BOS."""

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
        """p(tokens[t] | the tokens before it), for the uniform model and each order.

        Near the beginning, an order uses as many tokens as there are.
        """
        p = 1.0 / self._vocab_size
        probabilities = [p]
        histories = _histories(tokens, t)
        for history in histories:
            after = self._counts.get(history)
            if after:
                kinds = len(after)
                p = (after.get(tokens[t], 0) + kinds * p) / (self._totals[history] + kinds)
            probabilities.append(p)
        return probabilities + probabilities[-1:] * (len(ORDERS) - len(histories))

    def losses(self, documents: Iterable[Sequence[int]], block_size: int) -> dict[str, float]:
        """Model name -> mean loss in nats per token, over the tokens that fit into a block."""
        sums, count = [0.0] * (len(ORDERS) + 1), 0
        for tokens in documents:
            for t in range(1, min(block_size, len(tokens) - 1) + 1):
                count += 1
                for i, p in enumerate(self.probabilities(tokens, t)):
                    sums[i] -= math.log(p)
        names = ["uniform", *(f"{n}-gram" for n in ORDERS)]
        return {name: total / count for name, total in zip(names, sums)}


def _histories(tokens: Sequence[int], t: int) -> list[tuple[int, ...]]:
    """The last 0, 1, ... tokens before position t, up to what the longest order uses."""
    return [tuple(tokens[t - n : t]) for n in range(min(t, ORDERS[-1] - 1) + 1)]
