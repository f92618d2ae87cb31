"""The definition behind the engines' contract: `reference.py`, one scalar at a time, slow and readable."""

from __future__ import annotations

import math
import platform
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from .. import reference, reference_recipe
from ..config import Config, physical_memory
from ..errors import ConfigError, StoppedError
from . import Generated, Run, State, Stop, Tokens, Trace, muon, noise

Number = Any  # reference.Value: a file for readers, without annotations
GRAPH_BYTES = (
    570  # that the graph takes for a product and its sum, two Values: CPython 3.11, measured
)


class ScalarEngine:
    """Runs the reference's own functions. Arguments and results: see `Engine`."""

    name = "scalar"

    def __init__(self, config: Config, vocab_size: int, state: State, *, threads: int = 0) -> None:
        self._config, self._bos, self._step = config, vocab_size - 1, state.step
        numbers = iter(state.parameters)
        self._weights = {
            name: [[reference.Value(next(numbers)) for _ in range(columns)] for _ in range(rows)]
            for name, (rows, columns) in config.shapes(vocab_size).items()
        }
        self._parameters: list[Number] = reference.parameters_of(self._weights)
        self._m, self._v = list(state.m), list(state.v)

    def state(self) -> State:
        parameters = array("d", [p.data for p in self._parameters])
        return State(parameters, array("d", self._m), array("d", self._v), self._step)

    def steps(
        self, batches: Sequence[Sequence[Tokens]], learning_rates: Sequence[float], stop: Stop
    ) -> Run:
        losses: list[float] = []
        for batch, rate in zip(batches, learning_rates, strict=True):
            loss = self._backward(batch, stop, self._config.input_dropout)
            if loss is None:
                return Run(losses, "stopped")
            if not (
                math.isfinite(loss)
                and all(math.isfinite(p.grad * p.grad) for p in self._parameters)
            ):
                self._clear_gradients()
                return Run(losses, "diverged")
            self._update(rate)
            self._step += 1
            losses.append(loss)
        return Run(losses, "done")

    def gradients(self, batch: Sequence[Tokens], stop: Stop) -> tuple[float, array[float]]:
        loss = self._backward(batch, stop)
        if loss is None:
            raise StoppedError
        gradients = array("d", [p.grad for p in self._parameters])
        self._clear_gradients()
        return loss, gradients

    def log_probabilities(self, documents: Sequence[Tokens], stop: Stop) -> list[list[float]]:
        found: list[list[float]] = []
        for tokens in documents:
            try:
                rows, _ = self._forward(tokens, stop)
            except StoppedError:
                break
            found.append([_log(row[token]) for row, token in zip(rows, tokens[1:])])
        return found

    def trace(self, tokens: Tokens, stop: Stop) -> Trace:
        rows, positions = self._forward(tokens, stop)
        layers, heads = range(self._config.n_layer), range(self._config.n_head)
        attention = [
            [[[w.data for w in position[layer][head]] for position in positions] for head in heads]
            for layer in layers
        ]
        return Trace(rows, attention)

    def generate(
        self,
        count: int,
        coins: array[float],
        start: Tokens,
        temperature: float,
        top_k: int,
        top_p: float,
        stop: Stop,
    ) -> Generated:
        if not 1 <= len(start) <= self._config.block_size:
            raise ValueError("the start has 1 to block_size tokens")
        documents: list[list[int]] = []
        used = 0
        longest = self._config.block_size + 1 - len(start)
        while len(documents) < count and len(coins) - used >= longest and not stop():
            cache, tokens = reference.empty_cache(self._config), [*start]
            for position in range(self._config.block_size):
                logits, _ = self._gpt(tokens[position], position, cache)
                if position + 1 < len(start):
                    continue
                probabilities = reference.softmax([logit / temperature for logit in logits])
                token = draw(truncate([p.data for p in probabilities], top_k, top_p), coins[used])
                used += 1
                if token == self._bos:
                    break
                tokens.append(token)
            documents.append(tokens[1:])
        return Generated(documents, used)

    def _gpt(
        self, token: int, position: int, cache: reference.Cache
    ) -> tuple[list[Number], reference.Attention]:
        return reference.gpt(token, position, cache, self._weights, self._config)

    def _forward(
        self, tokens: Tokens, stop: Stop
    ) -> tuple[list[list[float]], list[reference.Attention]]:
        """Next-token probabilities and attention weights at each position. Raises StoppedError."""
        cache = reference.empty_cache(self._config)
        rows, attention = [], []
        for position in range(min(self._config.block_size, len(tokens) - 1)):
            if stop():
                raise StoppedError
            logits, weights = self._gpt(tokens[position], position, cache)
            rows.append([p.data for p in reference.softmax(logits)])
            attention.append(weights)
        return rows, attention

    def _backward(self, batch: Sequence[Tokens], stop: Stop, hidden: float = 0.0) -> float | None:
        """Loss of a batch, its gradients left in the parameters; None when stopped.

        Python's own arithmetic raises where a compiled engine gets an infinity: that is a loss of NaN.
        Raises ConfigError where memory cannot hold the graph of all that the batch computes.
        """
        self._require_memory(batch)
        losses = []
        try:
            for tokens in batch:
                if stop():
                    return None
                losses.append(self._document_loss(tokens, hidden))
            loss = reference_recipe.batch_loss(losses)
            if stop():
                return None
            loss.backward()
        except (ArithmeticError, ValueError):
            return math.nan
        found: float = loss.data
        return found

    def _require_memory(self, batch: Sequence[Tokens]) -> None:
        c, vocab_size = self._config, self._bos + 1
        each, products = (
            12 * c.n_layer * c.n_embd**2 + vocab_size * c.n_embd,
            0,
        )  # for a position; in all
        for tokens in batch:
            n = min(c.block_size, len(tokens) - 1)
            products += n * each + n * (n + 1) * c.n_layer * c.n_embd
        if products * GRAPH_BYTES > (limit := physical_memory()):
            raise ConfigError(
                f"the graph of one update, {products:,} products, needs about {products * GRAPH_BYTES / 1e9:,.1f} GB "
                f"of memory; this machine has {limit / 1e9:,.1f} GB",
                where="engine scalar",
                fix="another engine, a smaller batch_size, n_embd or n_layer",
            )

    def _update(self, rate: float) -> None:
        """The reference's Adam; with Config.muon for the embeddings and lm_head alone, and Muon for the layers."""
        c, keep = self._config, 1 - rate * self._config.weight_decay
        end = len(self._parameters)
        if c.muon:
            for matrix in [
                matrix for name, matrix in self._weights.items() if name.startswith("layer")
            ][::-1]:
                end -= len(matrix) * len(matrix[0])
                self._muon(matrix, end, rate, keep)
        parameters, m, v = self._parameters[:end], self._m[:end], self._v[:end]
        for p in parameters:
            p.data *= keep
        reference.adam(parameters, m, v, self._step, rate, c.beta1, c.beta2, c.eps_adam)
        self._m[:end], self._v[:end] = m, v

    def _muon(self, matrix: list[list[Number]], start: int, rate: float, keep: float) -> None:
        """Muon's update of a matrix whose momentum begins at self._m[start]."""
        columns = len(matrix[0])
        momentum = [
            self._m[start + i * columns : start + (i + 1) * columns] for i in range(len(matrix))
        ]
        weights, gradient = (
            [[p.data for p in row] for row in matrix],
            [[p.grad for p in row] for row in matrix],
        )
        weights, momentum = muon.update(weights, gradient, momentum, rate, self._config.muon, keep)
        self._m[start : start + len(matrix) * columns] = [m for row in momentum for m in row]
        for row, numbers in zip(matrix, weights):
            for p, number in zip(row, numbers):
                p.data, p.grad = number, 0

    def _document_loss(self, tokens: Tokens, hidden: float) -> Number:
        """The reference's; with a share of the inputs hidden, but not of the targets."""
        inputs, targets = tokens[:-1], tokens[1:]
        if hidden:
            inputs = noise.inputs(inputs, self._bos, self._step, hidden)
        return reference.document_loss(inputs, targets, self._weights, self._config)

    def _clear_gradients(self) -> None:
        for p in self._parameters:
            p.grad = 0


def truncate(probabilities: list[float], top_k: int, top_p: float) -> list[float]:
    """The probabilities with those that top-k and top-p leave out set to zero; the sum is below 1 then."""
    by_rank = sorted(range(len(probabilities)), key=lambda token: -probabilities[token])
    kept = by_rank[:top_k] if top_k else by_rank
    if top_p < 1.0:
        sums = list(accumulate(probabilities[token] for token in kept))
        enough = next((i for i, total in enumerate(sums) if total >= top_p), len(kept) - 1)
        kept = kept[: enough + 1]
    allowed = set(kept)
    return [p if token in allowed else 0.0 for token, p in enumerate(probabilities)]


def draw(weights: list[float], coin: float) -> int:
    """The token that `random.choices` draws with these weights when its random() is `coin`."""
    sums = list(accumulate(weights))
    return bisect_right(sums, coin * (sums[-1] + 0.0), 0, len(sums) - 1)


def _log(p: float) -> float:
    return math.log(p) if p > 0.0 else -math.inf


def about() -> str:
    """What the engine runs on."""
    return f"reference.py on {platform.python_implementation()} {platform.python_version()}"


ENGINE = ScalarEngine
