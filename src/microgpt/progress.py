"""The progress of training, on stderr: a live bar on a terminal, else a line each tenth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from .terminal import sparkline

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_WINDOW = 100  # steps in the mean that is shown: the loss of one document says little


class Lines:
    """Says one line after each tenth of the run."""

    def __init__(self, first: int, num_steps: int, say: Callable[[str], None]) -> None:
        self._done, self._num_steps, self._say = first, num_steps, say
        self._losses: list[float] = []
        self._began = time.perf_counter()

    def update(self, losses: Sequence[float]) -> None:
        """Show these losses, one a step, after the earlier ones."""
        before = self._done * 10 // self._num_steps
        self._done += len(losses)
        self._losses = [*self._losses, *losses][-_WINDOW:]
        if self._done * 10 // self._num_steps > before:
            mean = sum(self._losses) / len(self._losses)
            elapsed = time.perf_counter() - self._began
            self._say(
                f"step {self._done:,} / {self._num_steps:,}  mean loss {mean:.4f}  {elapsed:.1f} s"
            )

    def close(self) -> None:
        """Do nothing: no line is left open."""


class Bar:
    """A bar with the mean loss of the last steps and the loss curve, drawn by rich."""

    def __init__(self, first: int, num_steps: int, stream: TextIO, color: bool) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(file=stream, no_color=not color)
        self._losses: list[float] = []
        self._rich: Progress = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("mean loss {task.fields[loss]}"),
            TextColumn("{task.fields[curve]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._rich.add_task(
            "", total=num_steps, completed=first, loss="", curve=""
        )
        self._rich.start()

    def update(self, losses: Sequence[float]) -> None:
        """Show these losses, one a step, after the earlier ones."""
        self._losses += losses
        recent = self._losses[-_WINDOW:]
        self._rich.update(
            self._task,
            advance=len(losses),
            loss=f"{sum(recent) / len(recent):.4f}",
            curve=sparkline(self._losses, 24),
        )

    def close(self) -> None:
        """Remove the bar."""
        self._rich.stop()


def progress(
    first: int, num_steps: int, stream: TextIO, color: bool, quiet: bool, say: Callable[[str], None]
) -> Lines | Bar:
    """A bar if the stream is a terminal and rich is installed, else lines."""
    if stream.isatty() and not quiet:
        try:
            return Bar(first, num_steps, stream, color)
        except ImportError:
            pass
    return Lines(first, num_steps, say)
