"""The fast engine against the core's own peak, PyTorch and NumPy: the same steps, in one run.

    python benchmarks/fast.py [--rounds 5] [--no-compile]       prints one JSON object

One thread and its CPU time, but where two threads are compared: wall time then. The engines take turns, so that all
meet the same disturbances. Work is what the shapes ask for, forward and backward, without sharing of prefixes and
without Adam; a core's peak is the best seen before and after each race. Writes no file.
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
# n_embd, batch size, steps in a run, torch.compile too: it compiles for a minute
NAMES = (
    (16, 1, 600, False),
    (16, 16, 100, True),
    (32, 16, 60, False),
    (64, 16, 40, False),
    (128, 16, 20, True),
)
NANOGPT = Config(n_layer=4, n_head=4, n_embd=128, block_size=64, batch_size=12)
COMPARED = 4  # steps: later Adam has made of roundings, where a hidden unit is hardly ever active, whole steps
Batch = Sequence[Sequence[int]]


class Trainer(Protocol):
    """What is timed: steps over batches that were made ready before."""

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
    """One way to train: how it is made, and what was seen of it."""

    name: str
    make: Callable[[], Trainer]
    share: float = 1.0  # of the batches: less for the slow
    seconds: list[float] = field(default_factory=list)  # a step
    losses: list[float] = field(default_factory=list)
    difference: float = 0.0  # of its losses from the first contender's
    missing: str = ""  # why it is not here


def work(config: Config, vocab_size: int, batches: Sequence[Batch]) -> float:
    """Operations of forward and backward, a product and its sum counted as two."""
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
    """The fast engine on each instruction set, and the others; `share` keeps a run of the slow ones short."""
    found = []
    for isa in _native.about()["isas"]:
        make = lambda isa=isa: FastTrainer(config, vocab_size, parameters, 1, isa)  # noqa: E731
        found.append(Contender(f"fast {isa}", make))

    def numpy() -> Trainer:
        from numpy_trainer import NumpyTrainer

        return NumpyTrainer(config, vocab_size, parameters)

    share = 0.1 if config.n_embd < 64 else 0.3
    found += torch_contenders(config, vocab_size, parameters, share, 1, compiled)
    return [*found, Contender("NumPy", numpy, share)]


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

    found = [Contender("PyTorch eager", make(False), share)]
    return [*found, Contender("torch.compile", make(True), share)] if compiled else found


def race(
    entered: list[Contender],
    batches: Sequence[Batch],
    rounds: int,
    runs: int,
    clock: Callable[[], float],
) -> None:
    """Rounds in which each contender trains in turn, several runs; a first run of each, not timed, shows its losses."""
    ready = []
    for one in entered:
        some = batches[: max(4, round(one.share * len(batches)))]
        try:
            trainer = one.make()
            prepared = trainer.prepare(some)
            one.losses = trainer.steps(prepared, RATE)
        except (
            Exception
        ) as error:  # an ImportError, or whatever torch.compile finds missing on this machine
            one.missing = (
                f"not available: {type(error).__name__}: {str(error).splitlines()[0][:100]}"
            )
            continue
        one.difference = max(abs(a - b) for a, b in zip(one.losses[:COMPARED], entered[0].losses))
        if one.difference > 1e-5:
            one.missing = f"not the same training: a loss differs by {one.difference:.1e}"
            continue
        ready.append((one, trainer, prepared, len(some)))
    for _ in range(rounds):
        for one, trainer, prepared, steps in ready:
            for _ in range(runs):
                began = clock()
                trainer.steps(prepared, RATE)
                one.seconds.append((clock() - began) / steps)


def row(one: Contender, scale: float, flops: float, peaks: dict[str, float]) -> dict[str, Any]:
    """Figures of a contender: seconds a step times `scale`, and what they mean."""
    if one.missing:
        return {"engine": one.name, "missing": one.missing}
    median, low, high = (scale * f(one.seconds) for f in (statistics.median, min, max))
    found: dict[str, Any] = {
        "engine": one.name,
        "median": median,
        "low": low,
        "high": high,
        "runs": len(one.seconds),
    }
    isa = one.name.removeprefix("fast ")
    if isa in peaks:
        found |= {
            "peak_share": flops / peaks[isa] / median,
            "best_peak_share": flops / peaks[isa] / low,
        }
    return found | {"loss_difference": one.difference}


def peaks(rounds: int = 3) -> dict[str, float]:
    """Operations a microsecond of one core, for each instruction set."""
    return {
        isa: max(_native.fast_peak(isa) for _ in range(rounds)) / 1e6 for isa in _native.about()["isas"]
    }


def start(config: Config) -> tuple[Session, array[float], int]:
    session = Session.start(config, corpus.builtin(), "fast")
    return session, session.engine.state().parameters, session.tokenizer.vocab_size


def names(n_embd: int, batch_size: int, steps: int, rounds: int, compiled: bool) -> dict[str, Any]:
    """Microseconds a document of names."""
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
    rows = [row(one, 1e6 / batch_size, flops, peak) for one in entered]
    return {
        "what": f"n_embd {n_embd}, batch {batch_size}",
        "unit": "us a document",
        "kflop": flops / 1e3,
        "rows": rows,
    }


def two_threads(rounds: int) -> dict[str, Any]:
    """Wall microseconds a document with one thread and two: worth reading when the machine is idle."""
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
    rows = [row(one, 1e6 / 64, 0.0, {}) for one in entered]
    return {"what": "n_embd 64, batch 64", "unit": "wall us a document", "rows": rows}


def nanogpt(threads: int, rounds: int) -> dict[str, Any]:
    """nanoGPT's CPU setting for characters: 4 layers, n_embd 128, block 64, batch 12, 65 characters drawn at random."""
    rng = random.Random(1)
    batches = [[[rng.randrange(65) for _ in range(65)] for _ in range(12)] for _ in range(8)]
    parameters = array("d", [rng.gauss(0, 0.08) for _ in range(NANOGPT.parameter_count(65))])
    fast = Contender(
        f"fast, threads {threads}", lambda: FastTrainer(NANOGPT, 65, parameters, threads, "")
    )
    entered = [fast, *torch_contenders(NANOGPT, 65, parameters, 1.0, threads, False)]
    race(entered, batches, rounds, 3, time.process_time if threads == 1 else time.perf_counter)
    unit = "CPU ms a step" if threads == 1 else "wall ms a step"
    rows = [row(one, 1e3, 0.0, {}) for one in entered]
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
    found: list[dict[str, Any]] = []
    for n_embd, batch_size, steps, compiled in NAMES:
        found.append(
            names(n_embd, batch_size, steps, args.rounds, compiled and not args.no_compile)
        )
        print(json.dumps(found[-1]), file=sys.stderr)
    found.append(two_threads(args.rounds))
    found += [nanogpt(threads, args.rounds) for threads in (1, 2)]
    gigaflops = {isa: value / 1e3 for isa, value in peaks().items()}
    torch = sys.modules.get("torch")
    print(
        json.dumps(
            {"peak_gflops": gigaflops, "torch": torch and torch.__version__, "races": found},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
