"""Text for people: colours, tables, bars, sparklines, the picture that `explain` draws. Prints nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TextIO

from .errors import visible
from .explaining import Explanation

_SPARKS = "▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"


class Style:
    """Colour on a terminal, nothing elsewhere: --color, then NO_COLOR, then FORCE_COLOR decide."""

    def __init__(self, mode: str, stream: TextIO) -> None:
        if mode == "auto":
            forced = bool(os.environ.get("FORCE_COLOR"))
            wanted = forced or (stream.isatty() and os.environ.get("TERM") != "dumb")
            self.on = wanted and not os.environ.get("NO_COLOR")
        else:
            self.on = mode == "always"

    def dim(self, text: str) -> str:
        """Less important."""
        return f"\x1b[2m{text}\x1b[0m" if self.on else text

    def bold(self, text: str) -> str:
        """More important."""
        return f"\x1b[1m{text}\x1b[0m" if self.on else text

    def red(self, text: str) -> str:
        """Wrong."""
        return f"\x1b[31m{text}\x1b[0m" if self.on else text


def sparkline(numbers: Sequence[float], width: int) -> str:
    """A curve in one line: means of `width` equal parts, lowest to highest."""
    if not numbers:
        return ""
    parts = min(width, len(numbers))
    bounds = [i * len(numbers) // parts for i in range(parts + 1)]
    means = [sum(numbers[a:b]) / (b - a) for a, b in zip(bounds, bounds[1:])]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(_SPARKS[int((mean - low) / span * (len(_SPARKS) - 1) + 0.5)] for mean in means)


def table(rows: Iterable[Sequence[str]], head: Sequence[str]) -> str:
    """Columns as wide as their widest cell; the first to the left, numbers to the right."""
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
    """A bar for a share of 1."""
    return ("█" * round(share * width)).ljust(width)


def explanation(found: Explanation, style: Style, head: int | None = None) -> str:
    """What the model expected at each position, and where each head looked."""
    labels = [visible(token) for token in found.tokens]
    lines = [style.bold("expected next, after each token"), ""]
    for t, row in enumerate(found.probabilities):
        actual = found.tokens[t + 1]
        best = sorted(range(len(row)), key=lambda token: -row[token])[:5]
        guesses = " ".join(f"{visible(found.alphabet[token])} {row[token]:.2f}" for token in best)
        p = row[found.alphabet.index(actual)] if actual in found.alphabet else 0.0
        loss = found.losses[t]
        lines.append(
            f"  {labels[t]} → {labels[t + 1]}  p {p:.4f}  loss {loss:6.3f}  {bar(p, 20)}  {style.dim(guesses)}"
        )
    lines += ["", f"loss {found.loss:.4f} nats a token", ""]
    for layer, heads in enumerate(found.attention):
        for h, rows in enumerate(heads):
            if head is None or h == head:
                lines += [
                    style.bold(f"attention, layer {layer}, head {h}"),
                    *_attention(rows, labels, style),
                    "",
                ]
    for name, matrix in found.gradients.items():
        norm = sum(x * x for row in matrix for x in row) ** 0.5
        largest = max((abs(x) for row in matrix for x in row), default=0.0)
        lines.append(f"gradient of {name:<16} norm {norm:9.3e}  largest {largest:9.3e}")
    return "\n".join(lines).rstrip()


def _attention(rows: Sequence[Sequence[float]], labels: Sequence[str], style: Style) -> list[str]:
    """A triangle: each row a position, each column one it looked at, darker for more weight."""
    lines = [style.dim("      " + " ".join(label[0] + " " for label in labels[: len(rows)]))]
    for t, row in enumerate(rows):
        cells = " ".join(_SHADES[min(int(w * len(_SHADES)), len(_SHADES) - 1)] * 2 for w in row)
        lines.append(f"  {labels[t]:>2}  {cells}")
    return lines
