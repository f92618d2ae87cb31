"""The compiled float32 engine: batches, SIMD, threads; within float32's rounding of `scalar`.

A wrapper of `microgpt._native.Fast` that fulfils the contract; the arithmetic is in src/native/fast.hpp.
Not for proofs: its last bits depend on the instruction set (never on the number of threads).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import islice

from .. import _native
from ..config import Config
from . import Generated, Run, State, Stop, Tokens, Trace

if not hasattr(_native, "Fast"):
    raise ImportError("the compiled module was built without it")


class FastEngine:
    """Arguments and results: see `Engine`. Threads may share one; they take turns.

    A token id outside the vocabulary, and a state of another model's size, are a ValueError.
    threads: 0 for one, or for all cores where a step is large enough to gain by it; results are the same.
    isa: instruction set, one of `_native.fast_isas()`; empty for the best.
    """

    name = "fast"

    def __init__(self, config: Config, vocab_size: int, state: State, *, threads: int = 0, isa: str = "") -> None:
        self._config, self._vocab_size = config, vocab_size
        self._native = _native.Fast(
            config.n_layer,
            config.n_embd,
            config.n_head,
            config.block_size,
            vocab_size,
            config.beta1,
            config.beta2,
            config.eps_adam,
            state.parameters,
            state.m,
            state.v,
            state.step,
            threads,
            isa,
        )

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
        positions = min(self._config.block_size, len(tokens) - 1)
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


def about() -> str:
    """What the engine runs on."""
    best, *others = _native.fast_isas()
    also = f" (also {', '.join(others)})" if others else ""
    return f"compiled for {best}{also}; one thread, or all cores where a step gains by it"


ENGINE = FastEngine
