"""Text for a terminal: colors, tables, bars, sparklines, and the drawing of `explain`."""

from __future__ import annotations

import os

from .errors import visible

TYPE_CHECKING = False  # that of typing would import typing, which takes milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO

    from .explaining import Explanation

_SPARKS = "▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"


class Style:
    """Colors on a terminal, none elsewhere, unless --color, NO_COLOR or FORCE_COLOR decide."""

    def __init__(self, mode: str, stream: TextIO) -> None:
        if mode == "auto":
            forced = bool(os.environ.get("FORCE_COLOR"))
            wanted = forced or (stream.isatty() and os.environ.get("TERM") != "dumb")
            self.on = wanted and not os.environ.get("NO_COLOR")
        else:
            self.on = mode == "always"

    def dim(self, text: str) -> str:
        """Dim text, for what is less important."""
        return f"\x1b[2m{text}\x1b[0m" if self.on else text

    def bold(self, text: str) -> str:
        """Bold text, for headings."""
        return f"\x1b[1m{text}\x1b[0m" if self.on else text


def sparkline(numbers: Sequence[float], width: int) -> str:
    """A curve in one line of at most `width` characters, each the mean of an equal part."""
    if not numbers:
        return ""
    parts = min(width, len(numbers))
    bounds = [i * len(numbers) // parts for i in range(parts + 1)]
    means = [sum(numbers[a:b]) / (b - a) for a, b in zip(bounds, bounds[1:])]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(_SPARKS[int((mean - low) / span * (len(_SPARKS) - 1) + 0.5)] for mean in means)


def table(rows: Iterable[Sequence[str]], head: Sequence[str]) -> str:
    """Rows under a head. The first column is aligned to the left, the others to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        )
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def bar(share: float, width: int) -> str:
    """A bar whose full width stands for 1."""
    return ("█" * round(share * width)).ljust(width)


def explanation(reading: Explanation, style: Style, head: int | None = None) -> str:
    """What the model expected at each position, and where each head (or only `head`) looked."""
    tokens = [visible(token) for token in reading.tokens]
    lines = [style.bold("expected next, after each token"), ""]
    for t, probabilities in enumerate(reading.probabilities):
        target = reading.tokens[t + 1]
        best = sorted(range(len(probabilities)), key=lambda token: -probabilities[token])[:5]
        guesses = (f"{visible(reading.alphabet[i])} {probabilities[i]:.2f}" for i in best)
        is_known = target in reading.alphabet
        p = probabilities[reading.alphabet.index(target)] if is_known else 0.0
        lines.append(
            f"  {tokens[t]} → {tokens[t + 1]}  p {p:.4f}  loss {reading.losses[t]:6.3f}  "
            f"{bar(p, 20)}  {style.dim(' '.join(guesses))}"
        )
    lines += ["", f"loss {reading.loss:.4f} nats per token", ""]
    for layer, heads in enumerate(reading.attention):
        for h, rows in enumerate(heads):
            if head is None or h == head:
                title = style.bold(f"attention, layer {layer}, head {h}")
                lines += [title, *_attention(rows, tokens, style), ""]
    for name, matrix in reading.gradients.items():
        norm = sum(x * x for row in matrix for x in row) ** 0.5
        largest = max((abs(x) for row in matrix for x in row), default=0.0)
        lines.append(f"gradient of {name:<16} norm {norm:9.3e}  largest {largest:9.3e}")
    return "\n".join(lines).rstrip()


def _attention(rows: Sequence[Sequence[float]], tokens: Sequence[str], style: Style) -> list[str]:
    """A triangle: one row for each position, one column for each position it looked at."""
    lines = [style.dim("      " + " ".join(token[0] + " " for token in tokens[: len(rows)]))]
    for t, row in enumerate(rows):
        cells = " ".join(_SHADES[min(int(w * len(_SHADES)), len(_SHADES) - 1)] * 2 for w in row)
        lines.append(f"  {tokens[t]:>2}  {cells}")
    return lines
