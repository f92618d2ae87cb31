"""Benchmarks of this machine, in one run: all engines on the same steps, and whole commands.

Engines are measured in CPU time of the process. A figure is the median of several runs, with its
range. Ratios compare only what was measured in the same run.
"""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from . import __version__, corpus, engines
from .config import Config, check_range
from .model import MicroGPT
from .randomness import Draws
from .training import Session

# label -> configuration, and the number of steps that the scalar engine makes in reasonable time
SHAPES = {
    "n_embd 16": (Config(), 40),
    "4 layers, n_embd 64, block 64": (Config(n_layer=4, n_embd=64, block_size=64), 1),
}


@dataclass(frozen=True)
class Measurement:
    """One figure: median, lowest and highest of `runs` runs.

    ratio: the scalar engine's median divided by this one.
    """

    what: str
    engine: str
    unit: str
    median: float
    low: float
    high: float
    runs: int
    ratio: float | None = None


def machine() -> dict[str, str]:
    """The machine, the versions and the date."""
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        "microgpt": __version__,
    }


def _processor() -> str:
    """The processor's name, with its family and model, because generations share names."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown"
    lines = (line.partition(":") for line in text.splitlines())
    entries = {name.strip(): value.strip() for name, _, value in lines}
    numbers = ", ".join(
        f"{key.removeprefix('cpu ')} {entries[key]}"
        for key in ("cpu family", "model")
        if key in entries
    )
    return entries.get("model name", "unknown") + (f" ({numbers})" if numbers else "")


def measure(seconds: float, peers: dict[str, str]) -> Iterator[Measurement]:
    """Yield every measurement when it is made.

    seconds: about how long each engine runs for one figure.
    peers: name -> command of other programs, in which {data} is replaced by the path of the names.
    Raises ConfigError unless seconds is above 0 and at most a day.
    """
    check_range("seconds", seconds, False, 0, 86_400, open_low=True)
    # Commands first: the peak memory of a child includes what its parent held when it started.
    yield from _commands(peers)
    installed = [
        name for name, about in engines.available().items() if not about.startswith("not installed")
    ]
    for label, (config, affordable) in SHAPES.items():
        scalar: Measurement | None = None
        for name in sorted(installed, key=lambda name: name != "scalar"):
            measurement = _training(label, config, name, affordable, seconds)
            scalar = scalar or measurement
            yield replace(measurement, ratio=scalar.median / measurement.median)
    for name in installed:
        if name != "scalar":
            yield from use(name, seconds)


def _training(
    label: str, config: Config, engine: str, affordable: int, seconds: float
) -> Measurement:
    """Microseconds per step on a run's first `affordable` steps, the same for all engines."""
    source = corpus.builtin()
    session = Session.start(config, source, engine)
    tokens = [
        [session.tokenizer.encode(text) for text in session.batch(step)]
        for step in range(affordable)
    ]
    state, rates = session.engine.state(), [config.learning_rate] * affordable
    make = engines.engine_class(engine)

    def run() -> float:
        fresh = make(config, session.tokenizer.vocab_size, state)
        return _cpu(lambda: fresh.steps(tokens, rates, _never)) / affordable * 1e6

    return _repeat(f"training step, {label}", engine, "us", run, seconds)


def use(engine: str, seconds: float) -> Iterator[Measurement]:
    """Names per second that a trained model of the default size generates and scores."""
    model = MicroGPT(engine=engine).fit(corpus.builtin().documents)
    names = corpus.builtin().documents[:10_000]
    coins = Draws(1).coins(10_000 * model.config_.block_size)
    gpt = model.gpt_
    tokens = [gpt.tokenizer.encode(name) for name in names]

    def generate() -> float:
        return 10_000 / _cpu(
            lambda: gpt.engine.generate(10_000, coins, [gpt.tokenizer.bos], 0.5, 0, 1.0, _never)
        )

    def score() -> float:
        return 10_000 / _cpu(lambda: gpt.engine.log_probabilities(tokens, _never))

    yield _repeat("names generated", engine, "1/s", generate, seconds)
    yield _repeat("names scored", engine, "1/s", score, seconds)


def _commands(peers: dict[str, str]) -> Iterator[Measurement]:
    """Wall time, CPU time and peak memory of whole processes, including their start."""
    ours = [sys.executable, "-m", "microgpt"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "names.txt"
        path.write_text("\n".join(corpus.builtin().documents))
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "microgpt --help": [*ours, "--help"],
            "microgpt train FILE -q": [
                *ours,
                "train",
                str(path),
                "-q",
                "-o",
                str(Path(folder) / "m.safetensors"),
            ],
        }
        commands |= {
            name: shlex.split(command.replace("{data}", str(path)))
            for name, command in peers.items()
        }
        for name, command in commands.items():
            walls, cpus, peaks = zip(*(_process(command, folder) for _ in range(5)))
            yield _summary(name, "", "s wall", list(walls))
            yield _summary(name, "", "s CPU", list(cpus))
            if "train" in name:  # a child's peak is at least its parent's size
                yield _summary(name, "", "MB peak", list(peaks))


def _process(command: list[str], folder: str) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak megabytes) of one run."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _repeat(
    what: str, engine: str, unit: str, run: Callable[[], float], seconds: float
) -> Measurement:
    """Run for about `seconds`: a warm-up and at least three runs, or two if one is slow."""
    began = time.perf_counter()
    numbers = [run()]
    slow = time.perf_counter() - began > seconds / 2
    if not slow:
        numbers = []
    while len(numbers) < (2 if slow else 3) or (
        time.perf_counter() - began < seconds and len(numbers) < 1000
    ):
        numbers.append(run())
    return _summary(what, engine, unit, numbers)


def _summary(what: str, engine: str, unit: str, numbers: list[float]) -> Measurement:
    return Measurement(
        what, engine, unit, statistics.median(numbers), min(numbers), max(numbers), len(numbers)
    )


def report(measurements: list[Measurement]) -> dict[str, Any]:
    """Machine, engines and figures, in the form of the files in benchmarks/."""
    return {
        "machine": machine(),
        "engines": engines.available(),
        "measurements": [asdict(measurement) for measurement in measurements],
    }


def _never() -> bool:
    return False
