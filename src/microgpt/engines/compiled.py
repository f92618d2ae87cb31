"""What the compiled engines share as Python sees them: arrays and lists in, arrays and lists out.

Does no arithmetic and chooses no engine; `exact` and `fast` make the native object.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from .. import _native
from ..config import Config
from ..errors import StoppedError
from . import Generated, Run, State, Stop, Tokens, Trace


class CompiledEngine:
    """Arguments and results: see `Engine`."""

    def __init__(self, native: _native.Engine, config: Config, vocab_size: int) -> None:
        self._native, self._config, self._vocab_size = native, config, vocab_size

    @property
    def instruction_set(self) -> str:
        """Of this model's code, for example "avx2"."""
        return self._native.instruction_set

    def state(self) -> State:
        parameters, m, v = self._zeros(), self._zeros(), self._zeros()
        return State(parameters, m, v, self._native.copy_state(parameters, m, v))

    def steps(
        self, batches: Sequence[Sequence[Tokens]], learning_rates: Sequence[float], stop: Stop
    ) -> Run:
        return Run(*self._native.steps(batches, learning_rates, stop))

    def gradients(self, batch: Sequence[Tokens], stop: Stop) -> tuple[float, array[float]]:
        gradients = self._zeros()
        loss = self._native.gradients(batch, gradients, stop)
        if loss is None:
            raise StoppedError
        return loss, gradients

    def log_probabilities(self, documents: Sequence[Tokens], stop: Stop) -> list[list[float]]:
        return self._native.log_probabilities(documents, stop)

    def trace(self, tokens: Tokens, stop: Stop) -> Trace:
        trace = self._native.trace(tokens, stop)
        if trace is None:
            raise StoppedError
        probabilities, weights = trace
        positions = len(probabilities) // (8 * self._vocab_size)
        rows = range(1, positions + 1)
        attention = iter(_rows(weights, [*rows] * self._config.n_head * self._config.n_layer, stop))
        return Trace(
            list(_rows(probabilities, [self._vocab_size] * positions, stop)),
            [
                [[next(attention) for _ in rows] for _ in range(self._config.n_head)]
                for _ in range(self._config.n_layer)
            ],
        )

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
        return Generated(
            *self._native.generate(count, coins, start, temperature, top_k, top_p, stop)
        )

    def _zeros(self) -> array[float]:
        return array("d", bytes(8 * self._config.parameter_count(self._vocab_size)))


def _rows(numbers: bytes, lengths: list[int], stop: Stop) -> Iterator[list[float]]:
    """Float64 numbers as rows of these lengths. Large models have millions: it asks `stop`."""
    flat, at = array("d", numbers), 0
    for length in lengths:
        if stop():
            raise StoppedError
        yield flat[at : at + length].tolist()
        at += length
