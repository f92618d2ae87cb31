"""The compiled float32 engine: batches, SIMD, threads; within float32's rounding of `scalar`.

A wrapper of `microgpt._native.Fast` that fulfils the contract; the arithmetic is in
src/native/fast/. Not for proofs: its last bits depend on the instruction set (never on the
number of threads).
"""

from __future__ import annotations

from .. import _native
from ..config import Config, instruction_set
from . import State
from .compiled import CompiledEngine
from .contract import check_threads

if not hasattr(_native, "Fast"):
    raise ImportError("the compiled module was built without it")


class FastEngine(CompiledEngine):
    """Arguments and results: see `Engine`. Threads may share one; they take turns.

    threads: the maximum number; 0: the engine chooses one, or all cores if an update is large
    enough to gain by them. Results do not depend on it.
    isa: an instruction set, one of `_native.about()["isas"]`; "": MICROGPT_ISA's, or the best.
    """

    name = "fast"
    # Largest seen on 260 random models (up to 4 layers, width 48, 60 tokens), AVX2 and baseline:
    # gradients 8e-6, log-probabilities 2e-6, losses 1e-6. Models that are nearly certain, with
    # losses below about 1e-3, are not covered: float32 knows 1 - p only to 6e-8.
    bound = 1e-4

    def __init__(
        self, config: Config, vocab_size: int, state: State, *, threads: int = 0, isa: str = ""
    ) -> None:
        check_threads(threads)
        native = _native.Fast(
            config,
            vocab_size,
            state.parameters,
            state.m,
            state.v,
            state.step,
            threads,
            isa or instruction_set(_native.about()["isas"]),
        )
        super().__init__(native, config, vocab_size)

    @classmethod
    def supports(cls, config: Config) -> bool:
        """Every configuration."""
        return True

    @classmethod
    def about(cls) -> str:
        """Instruction set and threads."""
        known = _native.about()["isas"]
        isa = instruction_set(known) or known[0]
        also = f" (also {', '.join(name for name in known if name != isa)})" if known[1:] else ""
        return f"compiled for {isa}{also}; one thread, or all cores where a step gains by it"
