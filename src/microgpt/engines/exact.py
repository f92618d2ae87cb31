"""The compiled float64 engine: every bit as `scalar` computes it, some ten thousand times faster.

A wrapper of `microgpt._native.Exact` that fulfils the contract; the arithmetic is in src/native/exact.hpp.
"""

from __future__ import annotations

from .. import _native
from ..config import Config
from . import State
from .compiled import CompiledEngine


class ExactEngine(CompiledEngine):
    """Arguments and results: see `Engine`. Threads may share one; they take turns.

    A token id outside the vocabulary, and a state of another model's size, are a ValueError.
    isa: instruction set, one of `_native.about()["isas"]`; libm: "system" to call exp, log and pow one by one.
    """

    name = "exact"

    def __init__(
        self, config: Config, vocab_size: int, state: State, *, isa: str | None = None, libm: str | None = None
    ) -> None:
        native = _native.Exact(
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
            isa=isa,
            libm=libm,
        )
        super().__init__(native, config, vocab_size)


def about() -> str:
    """What the engine runs on."""
    found = _native.about()
    libm = "vector forms that equal it" if found["libm"] == "vector" else "its own functions"
    return f"compiled for {found['isa']}; exp, log and pow of this libm by {libm}"


ENGINE = ExactEngine
