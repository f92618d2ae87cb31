"""One string as a model sees it: next-token probabilities and attention at each position."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from .engines import Stop
from .errors import ConfigError, quote
from .gpt import GPT


@dataclass(frozen=True)
class Explanation:
    """What a model computes for one string.

    Position t sees tokens[0..t] and predicts tokens[t + 1].

    tokens: labels of the string's tokens. BOS, which marks both ends, is "·".
    alphabet: labels of the columns of `probabilities`.
    probabilities[position][token]. losses[position]: in nats. loss: their mean.
    attention[layer][head][position][earlier position].
    gradients: matrix name -> rows of d loss / d weight; empty unless requested.
    """

    text: str
    tokens: list[str]
    alphabet: list[str]
    probabilities: list[list[float]]
    losses: list[float]
    loss: float
    attention: list[list[list[list[float]]]]
    gradients: dict[str, list[list[float]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """A table for notebooks: each token with its loss, which also sets the shade."""
        import html

        cells = "".join(
            f'<td style="background:rgba(214,69,65,{min(loss / 6, 1):.2f});'
            f'text-align:center;padding:4px 8px">'
            f"{html.escape(token)}<br><small>{loss:.2f}</small></td>"
            for token, loss in zip(self.tokens[1:], self.losses)
        )
        return f"<table><tr>{cells}</tr></table><small>loss {self.loss:.4f} nats per token</small>"


def explain(gpt: GPT, text: str, gradients: bool, stop: Stop) -> Explanation:
    """Look at the string's first block_size characters.

    Raises DataError for a character outside the alphabet, StoppedError when `stop` returns True.
    """
    if not isinstance(text, str):
        raise TypeError(f"explain reads one string, not {quote(repr(text))[1:-1]}")
    tokenizer, block_size = gpt.tokenizer, gpt.config.block_size
    tokens = tokenizer.encode(text[:block_size])[: block_size + 1]
    trace = gpt.engine.trace(tokens, stop)
    losses = [
        -math.log(row[token]) if row[token] else math.inf
        for row, token in zip(trace.probabilities, tokens[1:])
    ]
    total = 0.0
    for loss in losses:
        total += loss
    return Explanation(
        text=text,
        tokens=[tokenizer.label(token) for token in tokens],
        alphabet=[tokenizer.label(token) for token in range(tokenizer.vocab_size)],
        probabilities=trace.probabilities,
        losses=losses,
        loss=(1 / len(losses)) * total,
        attention=trace.attention,
        gradients=_gradients(gpt, tokens, stop) if gradients else {},
    )


def next_probabilities(gpt: GPT, prefix: str, stop: Stop) -> list[float]:
    """The probability of each token after a prefix.

    Raises ConfigError for a prefix that fills the block, StoppedError when `stop` returns True.
    """
    if len(prefix) >= gpt.config.block_size:
        raise ConfigError(
            f"the prefix fills the model's block of {gpt.config.block_size}",
            where=quote(prefix),
            fix=f"at most {gpt.config.block_size - 1} characters",
        )
    return gpt.engine.trace(gpt.tokenizer.encode(prefix), stop).probabilities[-1]


def _gradients(gpt: GPT, tokens: list[int], stop: Stop) -> dict[str, list[list[float]]]:
    _, flat = gpt.engine.gradients([tokens], stop)
    numbers = iter(flat)
    return {
        name: [[next(numbers) for _ in range(columns)] for _ in range(rows)]
        for name, (rows, columns) in gpt.config.shapes(gpt.tokenizer.vocab_size).items()
    }
