"""The files that a training run writes beside its model: --trace, --log and --plot."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Sequence

from . import files
from .engines import Engine
from .training import Step

_SVG_MARK = "<!-- microgpt loss curve -->"
_WIDTH, _HEIGHT, _MARGIN = 720, 360, 48


class RunLog:
    """Writes each step to the trace and the log, and at the end the plot."""

    def __init__(
        self, trace: str | None, log: str | None, plot: str | None, force: bool, done: int = 0
    ) -> None:
        """Paths, or None for no such file. done: steps already made; their lines are kept.

        Raises OutputError for a file that microgpt did not write, unless `force`.
        """
        for path in filter(None, (trace, log)):
            files.require_replaceable(path, _is_jsonl_of_ours, force)
        if plot:
            files.require_replaceable(plot, lambda start: _SVG_MARK.encode() in start, force)
        self._trace, self._log = (
            files.Log(path, _kept(path, done)) if path else None for path in (trace, log)
        )
        self._plot = plot
        self._losses: list[float] = []
        self._began = time.perf_counter()

    @property
    def every(self) -> int:
        """Largest number of steps in a block; 0: any. A trace needs the weights after each step."""
        return 1 if self._trace else 0

    def update(self, block: Sequence[Step], engine: Engine) -> None:
        """Write these steps. The engine is as it was after the last of them."""
        if self._trace:
            for step in block:
                self._trace.write(json.dumps(trace_line(step, engine)) + "\n")
        if self._log:
            seconds = round(time.perf_counter() - self._began, 6)
            for step in block:
                record = {"step": step.step, "loss": step.loss, "learning_rate": step.learning_rate}
                self._log.write(json.dumps(record | {"seconds": seconds}) + "\n")
        if self._plot:
            self._losses += [step.loss for step in block]

    def close(self) -> None:
        """Finish all files, and write the plot."""
        for log in (self._trace, self._log):
            if log:
                log.close()
        if self._plot and self._losses:
            files.save(self._plot, loss_curve(self._losses).encode())


def trace_line(step: Step, engine: Engine) -> dict[str, object]:
    """One step at full precision. The hash is over all parameters as little-endian float64."""
    digest = hashlib.sha256(engine.state().parameters.tobytes()).hexdigest()
    return {
        "step": step.step,
        "loss": step.loss,
        "loss_hex": step.loss.hex(),
        "params_sha256": digest,
    }


def _kept(path: str, done: int) -> int:
    """Length in bytes of the lines of the first `done` steps, whole and in order, in a file."""
    kept = 0
    if done and os.path.isfile(path):
        for line in files.read(path).splitlines(keepends=True):
            step = re.match(rb'{"step": (\d{1,12}),.*}\n$', line)
            if not step or int(step[1]) > done:
                break
            kept += len(line)
    return kept


def _is_jsonl_of_ours(start: bytes) -> bool:
    return not start or start.startswith(b'{"step": ')


def loss_curve(losses: Sequence[float]) -> str:
    """An SVG of the loss: the mean of each of at most 400 equal parts of the run."""
    parts = min(400, len(losses))
    bounds = [i * len(losses) // parts for i in range(parts + 1)]
    means = [sum(losses[a:b]) / (b - a) for a, b in zip(bounds, bounds[1:])]
    top, bottom = max(means), min(means)
    span = (top - bottom) or 1.0

    def x(i: int) -> float:
        return _MARGIN + (_WIDTH - 2 * _MARGIN) * (i / max(1, parts - 1))

    def y(loss: float) -> float:
        return _MARGIN + (_HEIGHT - 2 * _MARGIN) * (top - loss) / span

    points = " ".join(f"{x(i):.1f},{y(mean):.1f}" for i, mean in enumerate(means))
    labels = "".join(
        f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y(v):.1f}" y2="{y(v):.1f}" '
        f'stroke="#ddd"/>'
        f'<text x="{_MARGIN - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.2f}</text>'
        for v in (top, (top + bottom) / 2, bottom)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="12">{_SVG_MARK}<title>Training loss</title>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>{labels}'
        f'<text x="{_MARGIN}" y="{_MARGIN - 16}">loss, nats per token</text>'
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 16}" text-anchor="end">'
        f"{len(losses):,} steps</text>"
        f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>'
        f"</svg>\n"
    )
