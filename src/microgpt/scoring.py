"""Log-probabilities of strings under a model: one by one, and on average."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from . import corpus
from .engines import Stop
from .gpt import GPT

_CHUNK = 1024  # strings per call of the engine


@dataclass(frozen=True)
class Score:
    """The score of one string.

    log_probability: the sum over its tokens, end token included, in nats. tokens: their number.
    cut: the string is longer than the model's block, so only its first block_size characters are
    scored. Never True for a model trained with windows.
    """

    text: str
    log_probability: float
    tokens: int
    cut: bool

    @property
    def per_token(self) -> float:
        """Mean log-probability in nats per token."""
        return self.log_probability / self.tokens


def score(gpt: GPT, texts: Iterable[str], stop: Stop) -> Iterator[Score]:
    """One Score per string, in order; fewer when `stop` returns True.

    Raises DataError for a character outside the alphabet.
    """
    texts = iter(texts)
    while chunk := list(islice(texts, _CHUNK)):
        pieces = [_pieces(gpt, text) for text in chunk]
        rows = gpt.engine.log_probabilities([tokens for piece in pieces for tokens in piece], stop)
        start = 0
        for text, piece in zip(chunk, pieces):
            if start + len(piece) > len(rows):
                return  # stopped
            logs = [log for row in rows[start : start + len(piece)] for log in row]
            start += len(piece)
            total = 0.0
            for log in logs:  # from left to right, as the reference sums
                total += log
            yield Score(text, total, len(logs), len(logs) <= len(text))


def _pieces(gpt: GPT, text: str) -> list[list[int]]:
    """The string as one sequence of tokens cut to the block; with windows, as several, uncut."""
    size = gpt.config.block_size
    if gpt.config.windows:
        return [
            gpt.tokenizer.window(text, window.start, size + 1)
            for window in corpus.windows(text, size)
        ]
    return [gpt.tokenizer.encode(text[:size])]


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a set of documents.

    loss: the mean over all their tokens, in nats per token.

    >>> Evaluation(loss=2.0794415416798357, tokens=100, documents=20).perplexity
    7.999999999999998
    """

    loss: float
    tokens: int
    documents: int

    @property
    def bits(self) -> float:
        """The loss in bits per token."""
        return self.loss / math.log(2)

    @property
    def perplexity(self) -> float:
        """e to the power of the loss: a uniform choice among this many tokens has the same loss."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def evaluate(gpt: GPT, texts: Iterable[str], stop: Stop) -> Evaluation:
    """The mean loss over all tokens of the strings. Each token has the same weight."""
    total, tokens, documents = 0.0, 0, 0
    for result in score(gpt, texts, stop):
        total += result.log_probability
        tokens += result.tokens
        documents += 1
    return Evaluation(-total / tokens if tokens else math.nan, tokens, documents)
