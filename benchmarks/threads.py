"""From which work on do two threads pay? One thread and two in turns, wall time: for an idle machine.

    python benchmarks/threads.py [--seconds 1]

The work of a step, in the measure of `Engine::threads_for` (fast_engine.cpp), where two threads begin to be faster is
what kWorthHelpers there should be. Writes no file.
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
        batches *= max(
            1, round(2e8 / (8 * work))
        )  # some milliseconds, so that starting the thread weighs little
        trainers = [FastTrainer(config, vocab_size, parameters, threads, "") for threads in (1, 2)]
        found: list[list[float]] = [[], []]
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for trainer, times in zip(trainers, found):
                times.append(wall_seconds(trainer, batches))
        one, two = map(statistics.median, found)
        print(
            f"n_embd {n_embd}, batch {batch_size}: work {work:.2e}, {1e6 * one:.0f} us a step with one thread, "
            f"{1e6 * two:.0f} with two, {one / two:.2f} times (best {min(found[0]) / min(found[1]):.2f})"
        )


if __name__ == "__main__":
    main()
