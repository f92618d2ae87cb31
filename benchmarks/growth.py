"""Measure how time and memory of the fast engine grow with each size, and compare with arithmetic.

    python benchmarks/growth.py               measure, write growth.json and docs/growth.svg
    python benchmarks/growth.py --plot        draw from the figures kept

Every setting runs in a process of its own, on one thread. Seconds are CPU time per step, the least
of several runs. Bytes are the process's peak minus what Python and its modules take.
Needs Linux and matplotlib.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

from microgpt import _native, benchmarking, corpus
from microgpt.config import Config
from microgpt.engines import State
from microgpt.engines.fast import FastEngine
from microgpt.training import Session

HERE = Path(__file__).parent
RESULTS, PLOT = HERE / "growth.json", HERE.parent / "docs" / "growth.svg"
# Each size varies by a factor of 16 or more while the others stay as in BASE. Documents fill the
# block; their characters are random.
BASE = {"n_embd": 64, "n_layer": 2, "block_size": 16, "vocab_size": 64, "batch_size": 16}
SWEEPS = {
    "n_embd": (16, 32, 64, 128, 256, 512),
    "n_layer": (1, 2, 4, 8, 16, 32),
    "block_size": (16, 32, 64, 128, 256, 512, 1024),
    "vocab_size": (32, 128, 512, 2048, 8192),
    "batch_size": (1, 4, 16, 64, 256, 1024),
    "documents": (15_625, 62_500, 250_000, 1_000_000),
}


def peak_bytes() -> int:
    """The peak memory of this process since it was started."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


# ---- One setting, in its own process ----


def sized_point(sizes: dict[str, int]) -> dict[str, float]:
    """Measure a model of these sizes on a batch of random documents that fill the block."""
    vocab_size = sizes["vocab_size"]
    config = Config(**{name: value for name, value in sizes.items() if name != "vocab_size"})
    before, rng = peak_bytes(), random.Random(1)
    weights = array(
        "d", [rng.gauss(0, 0.08) for _ in range(min(4096, config.parameter_count(vocab_size)))]
    )
    count = config.parameter_count(vocab_size)
    weights = (weights * (count // len(weights) + 1))[:count]
    batch = [
        [rng.randrange(vocab_size) for _ in range(config.block_size + 1)]
        for _ in range(config.batch_size)
    ]
    engine = FastEngine(config, vocab_size, State.initial(weights), threads=1)
    seconds = step_seconds(engine, batch)
    return {
        "seconds": seconds,
        "bytes": peak_bytes() - before,
        "arithmetic_seconds": operations(config, vocab_size)
        / _native.fast_peak(_native.about()["isas"][0]),
        "arithmetic_bytes": engine_bytes(config, vocab_size),
    }


def documents_point(count: int) -> dict[str, float]:
    """Measure reading and training on a file of that many documents, as `microgpt train` does."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.txt"
        with path.open("w") as out:
            for i in range(count):
                out.write(f"{''.join(rng.choices('abcdefghijklmnopqrstuvwxyz', k=8))}{i:07d}\n")
        before, text = peak_bytes(), path.stat().st_size
        source = corpus.read([str(path)])
    config = Config(**{name: value for name, value in BASE.items() if name != "vocab_size"})
    session = Session.start(config, source, "fast")
    vocab_size = session.tokenizer.vocab_size
    batch = [session.tokenizer.encode(text) for text in session.batch(0)]
    seconds = step_seconds(session.engine, batch)
    strings = sum(map(sys.getsizeof, session.documents)) + sys.getsizeof(session.documents)
    return {
        "seconds": seconds,
        "bytes": peak_bytes() - before,
        "arithmetic_seconds": operations(config, vocab_size)
        / _native.fast_peak(_native.about()["isas"][0]),
        "arithmetic_bytes": strings
        + 2 * text
        + engine_bytes(config, vocab_size),  # the file's bytes and its text
    }


def step_seconds(engine: Any, batch: list[list[int]]) -> float:
    """CPU seconds of one step, the least of at least 5 runs of at least one step and 5 ms."""
    steps, times = 1, []
    while len(times) < 5 or (len(times) < 100 and sum(times) * steps < 0.5):
        began = time.process_time()
        run = engine.steps([batch] * steps, [0.001] * steps, lambda: False)
        seconds = time.process_time() - began
        assert run.end == "done"
        if seconds < 0.005:
            steps *= 2
        else:
            times.append(seconds / steps)
    return min(times)


def operations(config: Config, vocab_size: int) -> float:
    """Operations of one step: matrices, causal attention, and 40 per parameter for Adam."""
    n, rows = config.block_size, config.batch_size * config.block_size
    matrices = 12 * config.n_layer * config.n_embd**2 + vocab_size * config.n_embd
    attention = 6 * config.n_layer * config.n_embd * (n + 1)
    return float(rows * (6 * matrices + attention) + 40 * config.parameter_count(vocab_size))


def engine_bytes(config: Config, vocab_size: int) -> float:
    """Bytes of the engine's arrays.

    In float32: weights (matrices in two layouts), gradients, two moments, and activations.
    In float64: the state that Python hands over. Activations come in portions of 8 MB.
    """
    n, count = config.n_embd, config.parameter_count(vocab_size)
    matrices = 12 * config.n_layer * n * n + vocab_size * n
    attention = config.n_layer * config.n_head * (config.block_size / 2 + 4)
    row = 10 * (config.n_layer + 1) * n + 4 * n + vocab_size
    rows = min(config.batch_size * config.block_size, max(256, (2 << 20) // row))
    return 4.0 * (4 * count + matrices + rows * (row + attention)) + 24 * count


# ---- All settings ----


def measure() -> dict[str, Any]:
    """Every point of every sweep."""
    figures: dict[str, Any] = {
        "machine": benchmarking.machine(),
        "isa": _native.about()["isas"][0],
        "sweeps": {},
    }
    for name, values in SWEEPS.items():
        points = []
        for value in values:
            sizes = {"documents": value} if name == "documents" else BASE | {name: value}
            command = [sys.executable, __file__, "--point", json.dumps(sizes)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            points.append({"size": value} | json.loads(done.stdout))
            print(name, json.dumps(points[-1]), file=sys.stderr)
        figures["sweeps"][name] = points
    return figures


def plot(figures: dict[str, Any]) -> None:
    """Two rows of small plots: seconds and bytes against each size, measured and by arithmetic."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 8}
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(
        2, len(SWEEPS), figsize=(14, 5.2), sharey="row", layout="constrained"
    )
    for column, (name, points) in enumerate(figures["sweeps"].items()):
        sizes = [point["size"] for point in points]
        for axis, what, scale in zip(axes[:, column], ("seconds", "bytes"), (1e3, 1e-6)):
            axis.loglog(
                sizes,
                [scale * p[f"arithmetic_{what}"] for p in points],
                "--",
                color="0.5",
                label="arithmetic",
            )
            axis.loglog(
                sizes, [scale * p[what] for p in points], "o-", color="C0", ms=3, label="measured"
            )
            axis.set_xticks([sizes[0], sizes[len(sizes) // 2], sizes[-1]])
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.xaxis.set_minor_locator(ticker.NullLocator())
            axis.grid(True, which="major", alpha=0.3)
        axes[1, column].set_xlabel(name.replace("vocab_size", "vocabulary"))
    axes[0, 0].set_ylabel("CPU ms a step")
    axes[1, 0].set_ylabel("MB beyond Python's own")
    axes[0, 0].legend(frameon=False)
    figure.suptitle(
        f"Fast engine, {figures['isa']}, one thread; {figures['machine']['processor']}, "
        f"{figures['machine']['date']}. "
        "Arithmetic: the operations at the core's peak; the arrays' sizes."
    )
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plot", action="store_true", help="draw from the figures kept")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        sizes = json.loads(args.point)
        print(
            json.dumps(
                documents_point(sizes["documents"]) if "documents" in sizes else sized_point(sizes)
            )
        )
        return
    if not args.plot:
        RESULTS.write_text(json.dumps(measure(), indent=1) + "\n")
    plot(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()
