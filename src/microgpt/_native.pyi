from array import array
from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

class About(TypedDict):
    isa: str
    libm: Literal["vector", "system"]
    isas: list[str]

def about() -> About: ...

class Exact:
    def __init__(
        self,
        n_layer: int,
        n_embd: int,
        n_head: int,
        block_size: int,
        vocab_size: int,
        beta1: float,
        beta2: float,
        eps: float,
        parameters: array[float],
        m: array[float],
        v: array[float],
        step: int,
        *,
        isa: str | None = None,
        libm: str | None = None,
    ) -> None: ...
    def steps(
        self,
        batches: Sequence[Sequence[Sequence[int]]],
        learning_rates: Sequence[float],
        stop: Callable[[], bool],
    ) -> tuple[list[float], Literal["done", "stopped", "diverged"]]: ...
    def gradients(
        self, batch: Sequence[Sequence[int]], out: array[float], stop: Callable[[], bool]
    ) -> float | None: ...
    def log_probabilities(
        self, documents: Sequence[Sequence[int]], stop: Callable[[], bool]
    ) -> list[list[float]]: ...
    def trace(
        self, tokens: Sequence[int], stop: Callable[[], bool]
    ) -> tuple[bytes, bytes] | None: ...
    def generate(
        self,
        count: int,
        coins: array[float],
        prefix: Sequence[int],
        temperature: float,
        top_k: int,
        top_p: float,
        stop: Callable[[], bool],
    ) -> tuple[list[list[int]], int]: ...
    def copy_state(self, parameters: array[float], m: array[float], v: array[float]) -> int: ...

def fast_isas() -> list[str]: ...
def fast_peak(isa: str) -> float: ...

class Fast:
    isa: str
    def __init__(
        self,
        n_layer: int,
        n_embd: int,
        n_head: int,
        block_size: int,
        vocab_size: int,
        beta1: float,
        beta2: float,
        eps_adam: float,
        weight_decay: float,
        input_dropout: float,
        muon: float,
        parameters: array[float],
        m: array[float],
        v: array[float],
        step: int,
        threads: int,
        isa: str,
    ) -> None: ...
    def copy_state(self, parameters: array[float], m: array[float], v: array[float]) -> int: ...
    def steps(
        self,
        batches: Sequence[Sequence[Sequence[int]]],
        learning_rates: Sequence[float],
        stop: Callable[[], bool],
    ) -> tuple[list[float], Literal["done", "stopped", "diverged"]]: ...
    def gradients(
        self, batch: Sequence[Sequence[int]], out: array[float], stop: Callable[[], bool]
    ) -> float | None: ...
    def log_probabilities(
        self, documents: Sequence[Sequence[int]], stop: Callable[[], bool]
    ) -> list[list[float]]: ...
    def trace(
        self, tokens: Sequence[int], stop: Callable[[], bool]
    ) -> tuple[bytes, bytes] | None: ...
    def generate(
        self,
        count: int,
        coins: array[float],
        prefix: Sequence[int],
        temperature: float,
        top_k: int,
        top_p: float,
        stop: Callable[[], bool],
    ) -> tuple[list[list[int]], int]: ...
