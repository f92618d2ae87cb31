"""The definition behind the engines' contract: `reference.py`, one scalar at a time, slow and readable."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from .. import reference
from ..config import Config
from . import Generated, Run, State, Stop, Tokens, Trace

Number = Any  # reference.Value: a file for readers, without annotations


class ScalarEngine:
    """Runs the reference's own functions. Arguments and results: see `Engine`."""

    name = "scalar"

    def __init__(self, config: Config, vocab_size: int, state: State) -> None:
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

    def steps(self, batches: Sequence[Sequence[Tokens]], learning_rates: Sequence[float], stop: Stop) -> Run:
        losses: list[float] = []
        c = self._config
        for batch, rate in zip(batches, learning_rates, strict=True):
            loss = self._backward(batch, stop, self._thinned())
            if loss is None:
                return Run(losses, "stopped")
            if not (math.isfinite(loss) and all(math.isfinite(p.grad) for p in self._parameters)):
                self._clear_gradients()
                return Run(losses, "diverged")
            self._decay(1 - rate * c.weight_decay)
            reference.adam(self._parameters, self._m, self._v, self._step, rate, c.beta1, c.beta2, c.eps_adam)
            self._step += 1
            losses.append(loss)
        return Run(losses, "done")

    def gradients(self, batch: Sequence[Tokens]) -> tuple[float, array[float]]:
        loss = self._backward(batch, lambda: False, self._weights)
        gradients = array("d", [p.grad for p in self._parameters])
        self._clear_gradients()
        return math.nan if loss is None else loss, gradients

    def log_probabilities(self, documents: Sequence[Tokens], stop: Stop) -> list[list[float]]:
        found: list[list[float]] = []
        for tokens in documents:
            if stop():
                break
            rows, _ = self._forward(tokens)
            found.append([_log(row[token]) for row, token in zip(rows, tokens[1:])])
        return found

    def trace(self, tokens: Tokens) -> Trace:
        rows, cache = self._forward(tokens)
        attention = [
            [[[w.data for w in heads[h]] for heads in layer] for h in range(self._config.n_head)]
            for layer in cache.attention
        ]
        return Trace(rows, attention)

    def generate(
        self,
        count: int,
        coins: array[float],
        prefix: Tokens,
        temperature: float,
        top_k: int,
        top_p: float,
        stop: Stop,
    ) -> Generated:
        documents: list[list[int]] = []
        used = 0
        longest = self._config.block_size - len(prefix)
        while len(documents) < count and len(coins) - used >= longest and not stop():
            cache, tokens = reference.Cache(self._config.n_layer), [self._bos, *prefix]
            for position in range(self._config.block_size):
                logits = self._logits(tokens[position], position, cache)
                if position < len(prefix):
                    continue
                probabilities = reference.softmax([logit / temperature for logit in logits])
                token = draw(truncate([p.data for p in probabilities], top_k, top_p), coins[used])
                used += 1
                if token == self._bos:
                    break
                tokens.append(token)
            documents.append(tokens[1:])
        return Generated(documents, used)

    def _logits(self, token: int, position: int, cache: Any) -> list[Number]:
        logits: list[Number] = reference.gpt(token, position, cache, self._weights, self._config.n_head)
        return logits

    def _forward(self, tokens: Tokens) -> tuple[list[list[float]], Any]:
        """Next-token probabilities at each position, and the cache."""
        cache = reference.Cache(self._config.n_layer)
        rows = []
        for position in range(min(self._config.block_size, len(tokens) - 1)):
            probabilities = reference.softmax(self._logits(tokens[position], position, cache))
            rows.append([p.data for p in probabilities])
        return rows, cache

    def _thinned(self) -> Any:
        """The weights, without the hidden units that this update leaves out; the others made up for it.

        Dropout (Srivastava et al. 2014) with one choice for all documents and positions of an update: as column j of
        mlp_fc2 takes hidden unit j, the unit is left out by a column of zeros.
        """
        dropout = self._config.dropout
        if not dropout:
            return self._weights
        thinned = dict(self._weights)
        for i in range(self._config.n_layer):
            units = range(4 * self._config.n_embd)
            mask = [(dropout_coin(self._step, i, j) >= dropout) / (1 - dropout) for j in units]
            name = f"layer{i}.mlp_fc2"
            thinned[name] = [[w * m for w, m in zip(row, mask, strict=True)] for row in self._weights[name]]
        return thinned

    def _decay(self, keep: float) -> None:
        """AdamW's weight decay (Loshchilov and Hutter 2019): all matrices but the embeddings shrink."""
        if keep == 1:
            return
        for name, matrix in self._weights.items():
            for row in matrix if name not in ("wte", "wpe") else ():
                for w in row:
                    w.data *= keep

    def _backward(self, batch: Sequence[Tokens], stop: Stop, weights: Any) -> float | None:
        """Loss of a batch, its gradients left in the parameters; None when stopped.

        Python's own arithmetic raises where a compiled engine gets an infinity: that is a loss of NaN.
        """
        c = self._config
        losses = []
        try:
            for tokens in batch:
                if stop():
                    return None
                losses.append(reference.document_loss(tokens, weights, c.n_layer, c.n_head, c.block_size))
            loss = reference.batch_loss(losses)
            if stop():
                return None
            loss.backward()
        except (ArithmeticError, ValueError):
            return math.nan
        found: float = loss.data
        return found

    def _clear_gradients(self) -> None:
        for p in self._parameters:
            p.grad = 0


def dropout_coin(step: int, layer: int, unit: int) -> float:
    """A number in [0, 1) for each triple, as good as random: splitmix64's mixing function (Steele et al. 2014).

    So a mask depends on nothing but the update, the layer and the unit, in every engine and after every resume.
    """
    x = ((step << 32 ^ layer << 20 ^ unit) + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return ((x ^ x >> 31) >> 11) * 2.0**-53


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


ENGINE = ScalarEngine
