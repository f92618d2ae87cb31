"""One string, seen through a model: what it expected at each position, and where each head looked."""

from __future__ import annotations

import html
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from .config import Config
from .engines import Engine, Stop
from .errors import ConfigError, quote
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class Explanation:
    """Position t has seen tokens[0..t] and predicts tokens[t + 1].

    tokens: labels, the mark on both ends included. alphabet: labels of the columns of `probabilities`.
    probabilities[position][token]; losses[position] in nats; loss is their mean.
    attention[layer][head][position][earlier position].
    gradients: matrix name -> rows, d loss / d weight; empty unless asked for.
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
        """A table for notebooks: each token with its surprise, shaded by it."""
        cells = "".join(
            f'<td style="background:rgba(214,69,65,{min(loss / 6, 1):.2f});text-align:center;padding:4px 8px">'
            f"{html.escape(token)}<br><small>{loss:.2f}</small></td>"
            for token, loss in zip(self.tokens[1:], self.losses)
        )
        return f"<table><tr>{cells}</tr></table><small>loss {self.loss:.4f} nats a token</small>"


def explain(
    engine: Engine, tokenizer: Tokenizer, config: Config, text: str, gradients: bool, stop: Stop
) -> Explanation:
    """Trace `text` as far as the block goes. A character outside the alphabet is a DataError; stopped, StoppedError."""
    tokens = tokenizer.encode(text[: config.block_size])[: config.block_size + 1]
    trace = engine.trace(tokens, stop)
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
        gradients=_gradients(engine, tokenizer, config, tokens, stop) if gradients else {},
    )


def next_probabilities(
    engine: Engine, tokenizer: Tokenizer, config: Config, prefix: str, stop: Stop
) -> list[float]:
    """Probabilities of what comes after a prefix. One that fills the block is a ConfigError; stopped, StoppedError."""
    if len(prefix) >= config.block_size:
        raise ConfigError(
            f"the prefix fills the model's block of {config.block_size}",
            where=quote(prefix),
            fix=f"at most {config.block_size - 1} characters",
        )
    return engine.trace(tokenizer.encode(prefix), stop).probabilities[-1]


def _gradients(
    engine: Engine, tokenizer: Tokenizer, config: Config, tokens: list[int], stop: Stop
) -> dict[str, list[list[float]]]:
    _, flat = engine.gradients([tokens], stop)
    numbers = iter(flat)
    return {
        name: [[next(numbers) for _ in range(columns)] for _ in range(rows)]
        for name, (rows, columns) in config.shapes(tokenizer.vocab_size).items()
    }
