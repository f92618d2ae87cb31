"""Measure this machine into results.json, and write the README's table from that file.

python benchmarks/update.py            measure, write results.json, rewrite the table
python benchmarks/update.py --tables   rewrite the table from the figures kept
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, README = HERE / "results.json", HERE.parent / "README.md"
BEGIN, END = "<!-- figures: written by make bench -->\n", "<!-- end of figures -->\n"


def main() -> None:
    if "--tables" not in sys.argv:
        command = [sys.executable, "-m", "microgpt", "bench", "--json", "--seconds", "5"]
        RESULTS.write_text(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    README.write_text(with_figures(README.read_text(), json.loads(RESULTS.read_text())))


def with_figures(text: str, results: dict[str, Any]) -> str:
    """The text with the part between the marks written anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + figures(results) + END + rest.split(END)[1]


def figures(results: dict[str, Any]) -> str:
    """A Markdown table of the medians, machine and date above it."""
    m = results["machine"]
    lines = [f"{m['processor']}, {m['cores']} cores, {m['system']}, CPython {m['python']}; {m['date']}.", ""]
    lines += ["| what | engine | median | range | times scalar |", "|---|---|---|---|---|"]
    for one in results["measurements"]:
        unit = one["unit"]
        span = f"{number(one['low'])}–{number(one['high'])} {unit}"
        ratio = f"{one['ratio']:,.0f}" if one["ratio"] and one["engine"] != "scalar" else ""
        lines.append(f"| {one['what']} | {one['engine']} | {number(one['median'])} {unit} | {span} | {ratio} |")
    return "\n".join([*lines, ""])


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
