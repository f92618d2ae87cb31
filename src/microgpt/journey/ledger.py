"""What the editions weigh and what they are certified for: LEDGER.md and the tables in the docs, all generated.

Sizes are counted from the files each time. Times, memory and verdicts are measured by `microgpt journey ledger`, kept
in ledger.json beside the SHA-256 of the edition they belong to; a check fails when anything no longer fits.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from .. import files, reference
from ..verify.compare import LEVELS
from ..verify.cases import Case, Settings
from ..verify.programs import Program, command_program, python_program, reference_program
from ..verify.verifier import Verifier
from . import steps
from .form import Size, script_size_of, size_of

CERTIFIED = (
    "short.py",
    "vector.py",
    "golf.py",
    "ladder/6_gpt.py",
)  # claim to be the reference, bit for bit
TEACHING = tuple(
    f"ladder/{name}.py"
    for name in ("1_counts", "2_gradient", "3_autograd", "4_perceptron", "5_attention")
)
PRINTED = ("microgpt.js",)  # claim to print what the reference prints; run by node
FEW, MANY = 5, 25  # steps of the two runs whose difference gives seconds a step
_MARK = re.compile(r"(<!-- ledger:(\w+) -->\n).*?(<!-- /ledger -->)", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One edition: its size counted now, and what was measured of this very text, {} where nothing was."""

    name: str
    size: Size
    sha256: str
    measured: Mapping[str, Any]


def _source(folder: Path, name: str) -> str:
    assert reference.__file__
    path = Path(reference.__file__) if name == "reference.py" else folder / name
    return path.read_text(encoding="utf-8")


def entries(folder: Path) -> list[Entry]:
    """The reference and all editions that exist, with what ledger.json knows of them."""
    known = recorded(folder)
    found = []
    for name in ("reference.py", *CERTIFIED, *PRINTED, *TEACHING):
        if name == "reference.py" or (folder / name).exists():
            source = _source(folder, name)
            digest = hashlib.sha256(source.encode()).hexdigest()
            about = known.get(name, {})
            size = script_size_of(source) if name in PRINTED else size_of(source)
            found.append(Entry(name, size, digest, about if about.get("sha256") == digest else {}))
    return found


def recorded(folder: Path) -> dict[str, Any]:
    """What ledger.json holds, {} where there is none."""
    path = folder / "ledger.json"
    found: dict[str, Any] = json.loads(files.read(path)) if path.exists() else {}
    return found


# ---- Measuring -----------------------------------------------------------------------------------


def measure(
    folder: Path,
    cases: Sequence[Case],
    pythons: Mapping[str, str],
    level: str = LEVELS[0],
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Verify every edition on every Python, and time it: the new content of ledger.json.

    pythons: version -> interpreter; the edition's own row names those on which the verdict was "same".
    only: names of the editions to measure; the others keep what is recorded of them.
    """
    found = recorded(folder)
    verifiers = {
        version: Verifier(reference_program(python), level) for version, python in pythons.items()
    }
    for entry in entries(folder):
        if only and entry.name not in only:
            continue
        about: dict[str, Any] = {
            "sha256": entry.sha256,
            "date": date.today().isoformat(),
            "machine": _machine(),
        }
        path = str(folder / entry.name)
        if entry.name in CERTIFIED:
            about |= {"level": level, "cases": [str(case) for case in cases]}
            about["pythons"] = [
                version
                for version, python in pythons.items()
                if verifiers[version].verify(python_program(path, python), cases).answer == "same"
            ]
        if entry.name in PRINTED:
            about |= _printed(path, cases)
        elif entry.name not in TEACHING:
            about |= _timed(
                Program(entry.name, _source(folder, entry.name)), cases[0].settings.data
            )
        found[entry.name] = about
    return found


def _printed(path: str, cases: Sequence[Case]) -> dict[str, Any]:
    """What node makes of a script. node: its version where the verdict was "same", else "" and why."""
    about: dict[str, Any] = {"level": "printed", "cases": [str(case) for case in cases], "node": ""}
    node = shutil.which("node")
    if node is None:
        return about | {"why": "there was no node"}
    whole = f"{shlex.quote(node)} {shlex.quote(path)} {{data}}"
    program = command_program(f"{whole} {{steps}}")
    asked = program if cases[0].settings.steps else command_program(whole)
    verdict = Verifier(reference_program(), "printed").verify(asked, cases)
    if verdict.answer != "same":
        return about | {"why": f"it was {verdict.answer}"}
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return about | {"node": version.strip().lstrip("v")} | _timed(program, cases[0].settings.data)


def _timed(program: Program, data: bytes) -> dict[str, float]:
    """Processor seconds a step and peak memory, of the plain program."""
    few, many = (program.run(Settings(data, steps=count), 0, None).outcome for count in (FEW, MANY))
    return {"seconds_a_step": (many.cpu - few.cpu) / (MANY - FEW), "memory": many.memory}


def _machine() -> str:
    return f"{platform.machine()} {platform.system()}, CPython {'.'.join(map(str, sys.version_info[:3]))}"


# ---- Writing -------------------------------------------------------------------------------------


def editions_table(found: Sequence[Entry]) -> str:
    """All editions as a Markdown table."""
    rows = [
        "| edition | lines | code lines | tokens | bytes | ms a step | MB | the same as the reference |"
    ]
    rows.append("|---|--:|--:|--:|--:|--:|--:|---|")
    for entry in found:
        size, about = entry.size, entry.measured
        time = f"{1000 * about['seconds_a_step']:.1f}" if "seconds_a_step" in about else ""
        memory = f"{about['memory'] / 1e6:.0f}" if "memory" in about else ""
        tokens = f"{size.tokens:,}" if size.tokens else ""
        numbers = (
            f"{size.lines} | {size.code_lines} | {tokens} | {size.bytes:,} | {time} | {memory}"
        )
        rows.append(f"| {entry.name} | {numbers} | {claim(entry)} |")
    return "\n".join(rows)


def claim(entry: Entry) -> str:
    """What an edition may say of itself."""
    if entry.name == "reference.py":
        return "it is the reference"
    if entry.name in TEACHING:
        return "another program, on the way there"
    about = entry.measured
    if entry.name in PRINTED and about.get("node"):
        return f"{about['level']}, in node {about['node']}; {'; '.join(about['cases'])}"
    if not about.get("pythons"):
        return f"not certified: {about['why']}" if "why" in about else "not certified"
    return f"{about['level']}, on Python {', '.join(about['pythons'])}; {'; '.join(about['cases'])}"


def tables(folder: Path) -> dict[str, str]:
    """Every generated table by its name."""
    found = entries(folder)
    made = {"editions": editions_table(found)}
    if (folder / "short.toml").exists():
        ideas = steps.replay(folder / "short.toml", _source(folder, "reference.py"))
        made["steps"] = steps.table(ideas)
        before, after = ideas[0].lines[0], steps.result(ideas).count("\n")
        made["short"] = (
            f"{before} lines became {after}: {100 * (before - after) / before:.1f} % fewer."
        )
    return made


def ledger_text(folder: Path) -> str:
    """LEDGER.md as it should be."""
    made = tables(folder)
    dates = sorted({entry.measured["date"] for entry in entries(folder) if entry.measured})
    machines = sorted({entry.measured["machine"] for entry in entries(folder) if entry.measured})
    said = (
        f"Measured {', '.join(dates)} on {'; '.join(machines)}."
        if dates
        else "Nothing measured yet."
    )
    return f"""# Editions

Generated by `microgpt journey ledger`; do not edit. Sizes: lines as an editor counts them; code lines carry more than a
comment or docstring; tokens without comments. {said}
"The same" is what `microgpt verify` found on the cases named, not a proof.

{made["editions"]}

## How short.py was made

{made.get("steps", "")}
"""


def stale(folder: Path, docs: Path) -> list[str]:
    """What no longer fits: editions changed since they were measured, texts that would be written otherwise."""
    found = [
        f"{e.name} changed since it was certified"
        for e in entries(folder)
        if not e.measured and e.name not in TEACHING
    ]
    found += [
        f"{e.name} is certified on no Python"
        for e in entries(folder)
        if e.measured.get("pythons") == []
    ]
    found += [
        f"{e.name} is not certified: {e.measured['why']}"
        for e in entries(folder)
        if "why" in e.measured
    ]
    assert reference.__file__
    if (folder / "short.toml").exists():
        ideas = steps.replay(folder / "short.toml", _source(folder, "reference.py"))
        if steps.result(ideas) != _source(folder, "short.py"):
            found.append("short.py is not what short.toml gives")
    return found + [
        f"{path} is not what would be written"
        for path, text in written(folder, docs)
        if _old(path) != text
    ]


def written(folder: Path, docs: Path) -> list[tuple[Path, str]]:
    """Every generated text and where it belongs: LEDGER.md, and pages with <!-- ledger:NAME --> marks."""
    found = [(folder / "LEDGER.md", ledger_text(folder))]
    made = tables(folder)
    for page in sorted(docs.rglob("*.md")) if docs.is_dir() else ():
        text = page.read_text(encoding="utf-8")
        new = _MARK.sub(lambda m: f"{m[1]}{made.get(m[2], 'unknown table')}\n{m[3]}", text)
        if _MARK.search(text):
            found.append((page, new))
    return found


def write(folder: Path, docs: Path, measured: Mapping[str, Any] | None = None) -> list[Path]:
    """Write ledger.json, LEDGER.md and the marked tables, each only where it changed; the paths written."""
    done = []
    if measured is not None:
        files.write(folder / "ledger.json", (json.dumps(measured, indent=1) + "\n").encode())
        done.append(folder / "ledger.json")
    if (folder / "short.toml").exists():
        ideas = steps.replay(folder / "short.toml", _source(folder, "reference.py"))
        if _old(folder / "short.py") != steps.result(ideas):
            files.write(folder / "short.py", steps.result(ideas).encode())
            done.append(folder / "short.py")
    for path, text in written(folder, docs):
        if _old(path) != text:
            files.write(path, text.encode())
            done.append(path)
    return done


def _old(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
