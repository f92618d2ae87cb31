"""The history of the measurements, one line a run in history.jsonl, and what became slower.

python benchmarks/history.py append    add the run in results.json
python benchmarks/history.py compare   compare the last two runs of the last run's machine

`compare` exits 1 if a figure became worse by more than 10 %, and names each such figure.
It exits 0 if there is only one run of that machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, HISTORY = HERE / "results.json", HERE / "history.jsonl"
LIMIT = 0.10  # how much worse a figure may become between two runs
MACHINE = ("processor", "cores", "system", "python")  # runs that differ here are not compared


def entry(results: dict[str, Any], commit: str) -> dict[str, Any]:
    """One line of the history: date, commit, machine, and the median of every measurement."""
    figures = {
        " · ".join(filter(None, [m["what"], m["engine"], m["unit"]])): m["median"]
        for m in results["measurements"]
    }
    machine = {name: results["machine"][name] for name in MACHINE}
    return {
        "date": results["machine"]["date"],
        "commit": commit,
        "machine": machine,
        "figures": figures,
    }


def regressions(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """The figures that became worse by more than LIMIT, each as a sentence.

    Figures in "1/s" are rates: less is worse. All others are times or sizes: more is worse.
    A figure that only one of the runs has is not compared.
    """
    slower = []
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        change = old / new - 1 if name.endswith("1/s") else new / old - 1
        if change > LIMIT:
            slower.append(f"{name}: {old:.6g} before, {new:.6g} now, {change:.0%} worse")
    return sorted(slower)


def append(results: Path = RESULTS, history: Path = HISTORY) -> None:
    """Add the last run to the history."""
    describe = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True, check=False)
    line = entry(json.loads(results.read_text()), done.stdout.strip() or "unknown")
    with history.open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def compare(history: Path = HISTORY) -> int:
    """Compare the last two runs of one machine; 1 if a figure became worse, else 0."""
    lines = (
        [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
    )
    runs = [line for line in lines if line["machine"] == lines[-1]["machine"]]
    if len(runs) < 2:
        print("there is no earlier run of this machine to compare with")
        return 0
    before, after = runs[-2:]
    slower = regressions(before["figures"], after["figures"])
    print(f"{after['commit']} ({after['date']}) against {before['commit']} ({before['date']})")
    for sentence in slower:
        print(sentence)
    if not slower:
        print(f"no figure is worse by more than {LIMIT:.0%}")
    return 1 if slower else 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["append", "compare"])
    if parser.parse_args(arguments).action == "compare":
        return compare()
    append()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
