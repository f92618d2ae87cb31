"""The compiled float64 engine: every bit as `scalar` computes it, some ten thousand times faster.

A wrapper of `microgpt._native.Exact` that fulfils the contract; the arithmetic is in
src/native/exact/.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import _native
from ..config import Config, instruction_set
from . import Run, State, Stop, Tokens
from .compiled import CompiledEngine
from .contract import cannot_train, check_threads


class ExactEngine(CompiledEngine):
    """Arguments and results: see `Engine`. Threads may share one; they take turns.

    isa: an instruction set, one of `_native.about()["isas"]`; None: MICROGPT_ISA's, or the best.
    libm: "system" to call the C library's exp, log and pow one by one. Neither changes a bit.
    threads: this engine uses one.
    """

    name = "exact"
    bound = 0.0  # the same bits as scalar, in everything that it computes

    def __init__(
        self,
        config: Config,
        vocab_size: int,
        state: State,
        *,
        threads: int = 0,
        isa: str | None = None,
        libm: str | None = None,
    ) -> None:
        check_threads(threads)
        native = _native.Exact(
            config,
            vocab_size,
            state.parameters,
            state.m,
            state.v,
            state.step,
            isa=isa or instruction_set(_native.about()["isas"]),
            libm=libm,
        )
        super().__init__(native, config, vocab_size)

    @classmethod
    def supports(cls, config: Config) -> bool:
        """Plain Adam, as in the reference."""
        return config.plain

    @classmethod
    def about(cls) -> str:
        """Instruction set, and how it computes exp, log and pow."""
        native = _native.about()
        isa = instruction_set(native["isas"]) or native["isa"]
        libm = "vector forms that equal it" if native["libm"] == "vector" else "its own functions"
        return f"compiled for {isa}; exp, log and pow of this libm by {libm}"

    def steps(
        self, batches: Sequence[Sequence[Tokens]], learning_rates: Sequence[float], stop: Stop
    ) -> Run:
        if not self._config.plain:
            raise cannot_train(self.name)
        return super().steps(batches, learning_rates, stop)
