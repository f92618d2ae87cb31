"""Measure this machine, and write the tables of README.md and docs/speed.md.

python benchmarks/update.py            measure and rewrite the tables
python benchmarks/update.py --tables   rewrite the tables from the last measurement
--peer NAME=COMMAND                    also time this command, as `microgpt bench` does (repeatable)

A measurement is written to results.json, and its medians are added to history.jsonl.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import history
import quality
from fast_tables import bars, fast_figures, number

HERE = Path(__file__).parent
RESULTS, README, SPEED = (
    HERE / "results.json",
    HERE.parent / "README.md",
    HERE.parent / "docs" / "speed.md",
)
BEGIN, END = "<!-- figures: written by make bench -->\n", "<!-- end of figures -->\n"
RACE_MARKS = ("<!-- races: written by make bench -->\n", "<!-- end of races -->\n")
QUALITY_MARKS = ("<!-- quality: written by make plots -->\n", "<!-- end of quality -->\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    args = parser.parse_args()
    if not args.tables:
        peers = [f"--peer={peer}" for peer in args.peer]
        results = output("-m", "microgpt", "bench", "--json", "--seconds", "5", *peers)
        results["fast"] = output(str(HERE / "fast.py"))
        results["browser"] = output(str(HERE / "browser.py")) if shutil.which("chromium") else None
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        history.append()
    for path, text in texts(json.loads(RESULTS.read_text())).items():
        path.write_text(text)


def texts(results: dict[str, Any]) -> dict[Path, str]:
    """The files that hold tables, with their new text."""
    readme = between_marks(README.read_text(), figures(results))
    texts_by_path = {
        README: between_marks(
            readme, quality.table(json.loads(quality.RESULTS.read_text())), *QUALITY_MARKS
        )
    }
    speed = between_marks(SPEED.read_text(), races(results), *RACE_MARKS)
    if results.get("fast"):
        speed = between_marks(speed, bars(results["machine"], results["fast"]))
    texts_by_path[SPEED] = speed
    return texts_by_path


def output(*command: str) -> dict[str, Any]:
    """The JSON that a Python command prints."""
    done = subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def between_marks(text: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """The text with the part between the marks replaced."""
    before, rest = text.split(begin)
    return before + begin + table + end + rest.split(end)[1]


def figures(results: dict[str, Any]) -> str:
    """A Markdown table of the medians, preceded by the machine and the date."""
    m = results["machine"]
    lines = [
        f"{m['processor']}, {m['cores']} cores, {m['system']}, CPython {m['python']}; {m['date']}.",
        "",
    ]
    lines += ["| what | engine | median | range | times scalar |", "|---|---|---|---|---|"]
    for measurement in results["measurements"]:
        unit = measurement["unit"]
        span = f"{number(measurement['low'])}–{number(measurement['high'])} {unit}"
        ratio = (
            f"{measurement['ratio']:,.0f}"
            if measurement["ratio"] and measurement["engine"] != "scalar"
            else ""
        )
        lines.append(
            f"| {measurement['what']} | {measurement['engine']} "
            f"| {number(measurement['median'])} {unit} "
            f"| {span} | {ratio} |"
        )
    return "\n".join([*lines, ""])


def races(results: dict[str, Any]) -> str:
    """Markdown tables of the fast engine beside others, and of page and server."""
    return "\n".join(
        [*fast_figures(results.get("fast")), *browser_figures(results.get("browser")), ""]
    )


def browser_figures(figures: dict[str, Any] | None) -> list[str]:
    """The figures of page and server as a second table; no lines if there was no Chromium."""
    if figures is None:
        return []
    seconds, requests = figures["seconds_for_1000_steps_in_chromium"], figures["sample_requests"]
    rows = {
        "page without its lists": f"{figures['page_bytes']:,} bytes",
        "1,000 reference steps in Chromium": (
            f"median {seconds['median']:.2f} s, best {seconds['best']:.2f} s"
        ),
        "calls of the engine, 20 samples each": (
            f"{requests['engine_calls_per_second']:,.0f} per second"
        ),
    }
    for clients in (1, 8):
        r = requests[f"clients_{clients}"]
        text = f"{r['requests_per_second']:,.0f} per second, p99 {1000 * r['p99_seconds']:.1f} ms"
        rows[f"the same over HTTP, clients: {clients}"] = text
    return [
        "",
        "| page and server | wall time |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in rows.items()),
    ]


if __name__ == "__main__":
    main()
