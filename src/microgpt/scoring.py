"""How probable strings are to a model, one by one and on average, in nats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from . import corpus
from .config import Config
from .engines import Engine, Stop
from .tokenizer import Tokenizer

_CHUNK = 1024  # documents a call of the engine


@dataclass(frozen=True)
class Score:
    """log_probability: sum over the string's tokens, its end mark included, in nats; tokens: how many.

    cut: the string does not fit the model's block, so only its first block_size characters counted (never for a
    model trained with windows).
    """

    text: str
    log_probability: float
    tokens: int
    cut: bool

    @property
    def per_token(self) -> float:
        """Mean log-probability of a token, in nats."""
        return self.log_probability / self.tokens


def score(
    engine: Engine, tokenizer: Tokenizer, config: Config, texts: Iterable[str], stop: Stop
) -> Iterator[Score]:
    """A Score for each text, in order. A character outside the alphabet is a DataError."""
    texts = iter(texts)
    while chunk := list(islice(texts, _CHUNK)):
        pieces = [_pieces(tokenizer, config, text) for text in chunk]
        found = engine.log_probabilities([tokens for piece in pieces for tokens in piece], stop)
        at = 0
        for text, piece in zip(chunk, pieces):
            if at + len(piece) > len(found):
                return  # stopped
            logs = [log for piece_logs in found[at : at + len(piece)] for log in piece_logs]
            at += len(piece)
            total = 0.0
            for log in logs:  # left to right, as the reference sums
                total += log
            yield Score(text, total, len(logs), len(logs) <= len(text))


def _pieces(tokenizer: Tokenizer, config: Config, text: str) -> list[list[int]]:
    """The text's tokens as far as the block predicts them; all of them, in windows, for a model trained so."""
    if config.windows:
        size = config.block_size
        return [
            tokenizer.window(text, window.start, size + 1) for window in corpus.windows(text, size)
        ]
    return [tokenizer.encode(text[: config.block_size])]


@dataclass(frozen=True)
class Evaluation:
    """A model's fit to documents: mean loss in nats a token over all their tokens."""

    loss: float
    tokens: int
    documents: int

    @property
    def bits(self) -> float:
        """The loss in bits a token."""
        return self.loss / math.log(2)

    @property
    def perplexity(self) -> float:
        """e to the loss: as good as choosing among so many equally likely tokens."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def evaluate(
    engine: Engine, tokenizer: Tokenizer, config: Config, texts: Iterable[str], stop: Stop
) -> Evaluation:
    """Mean loss over all tokens of the texts; every token counts alike, so long texts count more."""
    total, tokens, documents = 0.0, 0, 0
    for found in score(engine, tokenizer, config, texts, stop):
        total += found.log_probability
        tokens += found.tokens
        documents += 1
    return Evaluation(-total / tokens if tokens else math.nan, tokens, documents)
