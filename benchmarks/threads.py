"""Measure from which amount of work on two threads are faster than one. Needs an idle machine.

    python benchmarks/threads.py [--seconds 1]

Prints wall times with one and two threads, and the work of a step as `Engine::threads_for` counts.
kWorthHelpers in the fast engine should be the work at which two threads begin to be faster.
Writes no file.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from fast import RATE, FastTrainer, start

from microgpt.config import Config

SHAPES = (
    (16, 4),
    (16, 16),
    (16, 32),
    (16, 64),
    (16, 256),
    (32, 16),
    (32, 64),
    (64, 4),
    (64, 16),
    (64, 64),
    (128, 16),
)


def wall_seconds(trainer: FastTrainer, batches: Any) -> float:
    began = time.perf_counter()
    trainer.steps(batches, RATE)
    return (time.perf_counter() - began) / len(batches)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="for each shape")
    seconds = parser.parse_args().seconds
    for n_embd, batch_size in SHAPES:
        config = Config(n_embd=n_embd, batch_size=batch_size)
        session, parameters, vocab_size = start(config)
        work = batch_size * min(config.block_size, 8) * 3 * len(parameters)
        batches = [
            [session.tokenizer.encode(text) for text in session.batch(step)] for step in range(8)
        ]
        # Long enough that starting the thread does not matter.
        batches *= max(1, round(2e8 / (8 * work)))
        trainers = [FastTrainer(config, vocab_size, parameters, threads, "") for threads in (1, 2)]
        times: list[list[float]] = [[], []]
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for trainer, seen in zip(trainers, times):
                seen.append(wall_seconds(trainer, batches))
        alone, together = map(statistics.median, times)
        print(
            f"n_embd {n_embd}, batch {batch_size}: work {work:.2e}, "
            f"{1e6 * alone:.0f} us per step with one thread, {1e6 * together:.0f} with two, "
            f"{alone / together:.2f} times faster (best {min(times[0]) / min(times[1]):.2f})"
        )


if __name__ == "__main__":
    main()
