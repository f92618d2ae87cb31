"""What the compiled engines share as Python sees them: arrays and lists in, arrays and lists out.

Does no arithmetic and chooses no engine; `exact` and `fast` make the native object.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import islice

from .. import _native
from ..config import Config
from . import Generated, Run, State, Stop, Tokens, Trace


class CompiledEngine:
    """Arguments and results: see `Engine`."""

    def __init__(self, native: _native.Exact | _native.Fast, config: Config, vocab_size: int) -> None:
        self._native, self._config, self._vocab_size = native, config, vocab_size

    def state(self) -> State:
        parameters, m, v = self._zeros(), self._zeros(), self._zeros()
        return State(parameters, m, v, self._native.copy_state(parameters, m, v))

    def steps(self, batches: Sequence[Sequence[Tokens]], learning_rates: Sequence[float], stop: Stop) -> Run:
        return Run(*self._native.steps(batches, learning_rates, stop))

    def gradients(self, batch: Sequence[Tokens]) -> tuple[float, array[float]]:
        gradients = self._zeros()
        return self._native.gradients(batch, gradients), gradients

    def log_probabilities(self, documents: Sequence[Tokens], stop: Stop) -> list[list[float]]:
        return self._native.log_probabilities(documents, stop)

    def trace(self, tokens: Tokens) -> Trace:
        flat, weights = map(iter, self._native.trace(tokens))
        positions = max(0, min(self._config.block_size, len(tokens) - 1))
        probabilities = [list(islice(flat, self._vocab_size)) for _ in range(positions)]
        attention = [
            [[list(islice(weights, t + 1)) for t in range(positions)] for _ in range(self._config.n_head)]
            for _ in range(self._config.n_layer)
        ]
        return Trace(probabilities, attention)

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
        return Generated(*self._native.generate(count, coins, prefix, temperature, top_k, top_p, stop))

    def _zeros(self) -> array[float]:
        return array("d", bytes(8 * self._config.parameter_count(self._vocab_size)))
