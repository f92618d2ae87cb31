"""The compiled engines: src/native/binding.cpp. What the arguments mean: `engines.contract`."""

from array import array
from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

from .config import Config

class About(TypedDict):
    isa: str  # the best that runs here
    libm: Literal["vector", "system"]  # how the exact engine computes exp, log and pow on it
    isas: list[str]  # all instruction sets that run here, best first

def about() -> About: ...

class StandardArithmetic:
    """A context manager: in this thread, results are rounded to nearest, subnormals are kept."""

    def __enter__(self) -> StandardArithmetic: ...
    def __exit__(self, *exception: object) -> None: ...

class Engine:
    """What both classes offer. The arrays are float64 of the right length, or TypeError."""

    @property
    def instruction_set(self) -> str: ...
    def copy_state(self, parameters: array[float], m: array[float], v: array[float]) -> int: ...
    def steps(
        self,
        batches: Sequence[Sequence[Sequence[int]]],
        learning_rates: Sequence[float],
        stop: Callable[[], bool],
    ) -> tuple[list[float], Literal["done", "stopped", "diverged"]]: ...
    def gradients(
        self, batch: Sequence[Sequence[int]], out: array[float], stop: Callable[[], bool]
    ) -> float | None: ...  # None: stopped
    def log_probabilities(
        self, documents: Sequence[Sequence[int]], stop: Callable[[], bool]
    ) -> list[list[float]]: ...
    def trace(
        self, tokens: Sequence[int], stop: Callable[[], bool]
    ) -> tuple[bytes, bytes] | None: ...  # float64 numbers, row by row; None: stopped
    def generate(
        self,
        count: int,
        coins: array[float],
        start: Sequence[int],
        temperature: float,
        top_k: int,
        top_p: float,
        stop: Callable[[], bool],
    ) -> tuple[list[list[int]], int]: ...

class Exact(Engine):
    def __init__(
        self,
        config: Config,
        vocab_size: int,
        parameters: array[float],
        m: array[float],
        v: array[float],
        step: int,
        *,
        isa: str | None = None,
        libm: str | None = None,
    ) -> None: ...

class Fast(Engine):  # missing where the module was built without it
    def __init__(
        self,
        config: Config,
        vocab_size: int,
        parameters: array[float],
        m: array[float],
        v: array[float],
        step: int,
        threads: int,
        isa: str,
    ) -> None: ...

def fast_peak(isa: str) -> float: ...
