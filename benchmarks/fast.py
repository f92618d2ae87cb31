"""Compare the fast engine with the peak of the core, PyTorch and NumPy, on the same steps.

    python benchmarks/fast.py [--rounds 5] [--no-compile]       prints one JSON object

Times are CPU times of one thread. Where two threads are compared, they are wall times.
The engines take turns, so that other work on the machine disturbs all of them alike.
The operations counted are those of forward and backward for the given shapes. Sharing of prefixes
does not reduce the count, and Adam is not counted. The peak of a core is the best measurement made
before and after each comparison. Writes no file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy reads it when it is imported

from microgpt import _native, corpus
from microgpt.config import Config
from microgpt.engines import State
from microgpt.engines.fast import FastEngine
from microgpt.training import Session

RATE = 0.001
# n_embd, batch size, steps in a run, whether torch.compile takes part (it compiles for a minute)
NAMES = (
    (16, 1, 600, False),
    (16, 16, 100, True),
    (32, 16, 60, False),
    (64, 16, 40, False),
    (128, 16, 20, True),
)
NANOGPT = Config(n_layer=4, n_head=4, n_embd=128, block_size=64, batch_size=12)
# Steps whose losses are compared. Later, where a hidden unit is almost never active, Adam turns
# differences of rounding into differences of whole steps.
COMPARED = 4
Batch = Sequence[Sequence[int]]


class Trainer(Protocol):
    """What is timed: training steps over batches that were prepared before."""

    def prepare(self, batches: Sequence[Batch]) -> Any: ...
    def steps(self, batches: Any, rate: float) -> list[float]: ...


class FastTrainer:
    def __init__(
        self, config: Config, vocab_size: int, parameters: array[float], threads: int, isa: str
    ) -> None:
        self.engine = FastEngine(
            config, vocab_size, State.initial(parameters), threads=threads, isa=isa
        )

    def prepare(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        return batches

    def steps(self, batches: Sequence[Batch], rate: float) -> list[float]:
        run = self.engine.steps(batches, [rate] * len(batches), lambda: False)
        assert run.end == "done"
        return run.losses


@dataclass
class Contender:
    """One way to train: how it is constructed, and its measurements."""

    name: str
    make: Callable[[], Trainer]
    share: float = 1.0  # of the batches; below 1 for slow contenders
    seconds: list[float] = field(default_factory=list)  # a step
    losses: list[float] = field(default_factory=list)
    difference: float = 0.0  # of its losses from the first contender's
    missing: str = ""  # why it is not here


def work(config: Config, vocab_size: int, batches: Sequence[Batch]) -> float:
    """Operations of forward and backward; a multiply-add counts as two."""
    weights = 12 * config.n_layer * config.n_embd**2 + vocab_size * config.n_embd
    total = 0
    for batch in batches:
        for tokens in batch:
            n = min(config.block_size, len(tokens) - 1)
            total += 6 * weights * n + 6 * config.n_layer * config.n_embd * n * (n + 1)
    return float(total)


def contenders(
    config: Config, vocab_size: int, parameters: array[float], compiled: bool
) -> list[Contender]:
    """The fast engine on each instruction set, and others. Slow ones run fewer batches."""
    contenders = []
    for isa in _native.about()["isas"]:
        make = lambda isa=isa: FastTrainer(config, vocab_size, parameters, 1, isa)  # noqa: E731
        contenders.append(Contender(f"fast {isa}", make))

    def numpy() -> Trainer:
        from numpy_trainer import NumpyTrainer

        return NumpyTrainer(config, vocab_size, parameters)

    share = 0.1 if config.n_embd < 64 else 0.3
    contenders += torch_contenders(config, vocab_size, parameters, share, 1, compiled)
    return [*contenders, Contender("NumPy", numpy, share)]


def torch_contenders(
    config: Config,
    vocab_size: int,
    parameters: array[float],
    share: float,
    threads: int,
    compiled: bool,
) -> list[Contender]:
    def make(compiled: bool) -> Callable[[], Trainer]:
        def trainer() -> Trainer:
            import torch
            from torch_trainer import TorchTrainer

            torch.set_num_threads(threads)
            return TorchTrainer(config, vocab_size, parameters, compiled=compiled)

        return trainer

    contenders = [Contender("PyTorch eager", make(False), share)]
    return [*contenders, Contender("torch.compile", make(True), share)] if compiled else contenders


def race(
    entered: list[Contender],
    batches: Sequence[Batch],
    rounds: int,
    runs: int,
    clock: Callable[[], float],
) -> None:
    """Time each contender in turn, in rounds. An untimed first run gives its losses."""
    ready = []
    for contender in entered:
        some = batches[: max(4, round(contender.share * len(batches)))]
        try:
            trainer = contender.make()
            prepared = trainer.prepare(some)
            contender.losses = trainer.steps(prepared, RATE)
        except (
            Exception
        ) as error:  # an ImportError, or whatever torch.compile finds missing on this machine
            contender.missing = (
                f"not available: {type(error).__name__}: {str(error).splitlines()[0][:100]}"
            )
            continue
        contender.difference = max(
            abs(a - b) for a, b in zip(contender.losses[:COMPARED], entered[0].losses)
        )
        if contender.difference > 1e-5:
            contender.missing = (
                f"not the same training: a loss differs by {contender.difference:.1e}"
            )
            continue
        ready.append((contender, trainer, prepared, len(some)))
    for _ in range(rounds):
        for contender, trainer, prepared, steps in ready:
            for _ in range(runs):
                began = clock()
                trainer.steps(prepared, RATE)
                contender.seconds.append((clock() - began) / steps)


def row(
    contender: Contender, scale: float, flops: float, peaks: dict[str, float]
) -> dict[str, Any]:
    """The figures of a contender: seconds per step times `scale`, and its share of the peak."""
    if contender.missing:
        return {"engine": contender.name, "missing": contender.missing}
    median, low, high = (scale * f(contender.seconds) for f in (statistics.median, min, max))
    figures: dict[str, Any] = {
        "engine": contender.name,
        "median": median,
        "low": low,
        "high": high,
        "runs": len(contender.seconds),
    }
    isa = contender.name.removeprefix("fast ")
    if isa in peaks:
        figures |= {
            "peak_share": flops / peaks[isa] / median,
            "best_peak_share": flops / peaks[isa] / low,
        }
    return figures | {"loss_difference": contender.difference}


def peaks(rounds: int = 3) -> dict[str, float]:
    """Operations of one core per microsecond, for each instruction set."""
    return {
        isa: max(_native.fast_peak(isa) for _ in range(rounds)) / 1e6
        for isa in _native.about()["isas"]
    }


def start(config: Config) -> tuple[Session, array[float], int]:
    session = Session.start(config, corpus.builtin(), "fast")
    return session, session.engine.state().parameters, session.tokenizer.vocab_size


def names(n_embd: int, batch_size: int, steps: int, rounds: int, compiled: bool) -> dict[str, Any]:
    """Microseconds per document, on the built-in names."""
    config = Config(n_embd=n_embd, batch_size=batch_size)
    session, parameters, vocab_size = start(config)
    batches = [
        [session.tokenizer.encode(text) for text in session.batch(step)] for step in range(steps)
    ]
    entered = contenders(config, vocab_size, parameters, compiled)
    before = peaks()
    race(entered, batches, rounds, 8, time.process_time)
    peak = {isa: max(value, before[isa]) for isa, value in peaks().items()}
    flops = work(config, vocab_size, batches) / (steps * batch_size)
    rows = [row(contender, 1e6 / batch_size, flops, peak) for contender in entered]
    return {
        "what": f"n_embd {n_embd}, batch {batch_size}",
        "unit": "us a document",
        "kflop": flops / 1e3,
        "rows": rows,
    }


def two_threads(rounds: int) -> dict[str, Any]:
    """Wall microseconds per document with one and two threads, for an idle machine."""
    config = Config(n_embd=64, batch_size=64)
    session, parameters, vocab_size = start(config)
    batches = [
        [session.tokenizer.encode(text) for text in session.batch(step)] for step in range(20)
    ]
    entered = [
        Contender(
            f"fast, threads {n}", lambda n=n: FastTrainer(config, vocab_size, parameters, n, "")
        )
        for n in (1, 2)
    ]
    race(entered, batches, 3 * rounds, 4, time.perf_counter)
    rows = [row(contender, 1e6 / 64, 0.0, {}) for contender in entered]
    return {"what": "n_embd 64, batch 64", "unit": "wall us a document", "rows": rows}


def nanogpt(threads: int, rounds: int) -> dict[str, Any]:
    """nanoGPT's setting for characters on a CPU, on random text.

    4 layers, n_embd 128, block size 64, batch size 12, 65 characters.
    """
    rng = random.Random(1)
    batches = [[[rng.randrange(65) for _ in range(65)] for _ in range(12)] for _ in range(8)]
    parameters = array("d", [rng.gauss(0, 0.08) for _ in range(NANOGPT.parameter_count(65))])
    fast = Contender(
        f"fast, threads {threads}", lambda: FastTrainer(NANOGPT, 65, parameters, threads, "")
    )
    entered = [fast, *torch_contenders(NANOGPT, 65, parameters, 1.0, threads, False)]
    race(entered, batches, rounds, 3, time.process_time if threads == 1 else time.perf_counter)
    unit = "CPU ms a step" if threads == 1 else "wall ms a step"
    rows = [row(contender, 1e3, 0.0, {}) for contender in entered]
    return {"what": f"nanoGPT's character setting, threads {threads}", "unit": unit, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--no-compile",
        action="store_true",
        help="without torch.compile, which compiles for minutes",
    )
    args = parser.parse_args()
    races: list[dict[str, Any]] = []
    for n_embd, batch_size, steps, compiled in NAMES:
        races.append(
            names(n_embd, batch_size, steps, args.rounds, compiled and not args.no_compile)
        )
        print(json.dumps(races[-1]), file=sys.stderr)
    races.append(two_threads(args.rounds))
    races += [nanogpt(threads, args.rounds) for threads in (1, 2)]
    gigaflops = {isa: value / 1e3 for isa, value in peaks().items()}
    torch = sys.modules.get("torch")
    print(
        json.dumps(
            {"peak_gflops": gigaflops, "torch": torch and torch.__version__, "races": races},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
