"""What the editions weigh and what they are certified for: LEDGER.md and the tables in the docs.

All of it is generated. Sizes are counted from the files each time. Times, memory and verdicts are
measured by `microgpt journey ledger` and kept in ledger.json, beside the SHA-256 of the edition
that they belong to. `stale` says what no longer fits.
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
from ..verify.cases import Case, Settings
from ..verify.compare import LEVELS
from ..verify.programs import Program, command_program, python_program, reference_program
from ..verify.verifier import Verifier
from . import steps
from .form import Size, script_size_of, size_of

# These claim to be the reference, bit for bit.
CERTIFIED = ("short.py", "vector.py", "golf.py", "ladder/6_gpt.py")
_RUNGS = ("1_counts", "2_gradient", "3_autograd", "4_perceptron", "5_attention")
TEACHING = tuple(f"ladder/{name}.py" for name in _RUNGS)
PRINTED = ("microgpt.js",)  # claim to print what the reference prints; run by node
FEW, MANY = 5, 25  # steps of the two runs whose difference gives the seconds a step
_MARK = re.compile(r"(<!-- ledger:(\w+) -->\n).*?(<!-- /ledger -->)", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One edition."""

    name: str
    size: Size  # counted now
    sha256: str
    measured: Mapping[str, Any]  # of this very text; {} where nothing was


def path_of(folder: Path, name: str) -> Path:
    """The file of an edition, or of the reference, which is in another folder."""
    assert reference.__file__
    return Path(reference.__file__) if name == "reference.py" else folder / name


def _source(folder: Path, name: str) -> str:
    return path_of(folder, name).read_text(encoding="utf-8")


def entries(folder: Path) -> list[Entry]:
    """The reference and all editions that exist, with what ledger.json knows of them."""
    known = recorded(folder)
    listed = []
    for name in ("reference.py", *CERTIFIED, *PRINTED, *TEACHING):
        if name == "reference.py" or (folder / name).exists():
            source = _source(folder, name)
            digest = hashlib.sha256(source.encode()).hexdigest()
            measured = known.get(name, {})
            measured = measured if measured.get("sha256") == digest else {}
            size = script_size_of(source) if name in PRINTED else size_of(source)
            listed.append(Entry(name, size, digest, measured))
    return listed


def recorded(folder: Path) -> dict[str, Any]:
    """What ledger.json holds, {} where there is none."""
    path = folder / "ledger.json"
    content: dict[str, Any] = json.loads(files.read(path)) if path.exists() else {}
    return content


# ---- Measuring -----------------------------------------------------------------------------------


def measure(
    folder: Path,
    cases: Sequence[Case],
    pythons: Mapping[str, str],
    level: str = LEVELS[0],
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Verify every edition on every Python, and time it: the new content of ledger.json.

    pythons: version -> interpreter; a row names those on which the verdict was "same".
    only: names of the editions to measure; the others keep what is recorded of them.
    """
    content = recorded(folder)
    verifiers = {
        version: Verifier(reference_program(python), level) for version, python in pythons.items()
    }
    for entry in entries(folder):
        if only and entry.name not in only:
            continue
        measured: dict[str, Any] = {"sha256": entry.sha256, "date": date.today().isoformat()}
        measured["machine"] = _machine()
        path = str(folder / entry.name)
        if entry.name in CERTIFIED:
            measured |= {"level": level, "cases": [str(case) for case in cases]}
            measured["pythons"] = [
                version
                for version, python in pythons.items()
                if verifiers[version].verify(python_program(path, python), cases).answer == "same"
            ]
        if entry.name in PRINTED:
            measured |= _printed(path, cases)
        elif entry.name not in TEACHING:
            program = Program(entry.name, _source(folder, entry.name))
            measured |= _timed(program, cases[0].settings.data)
        content[entry.name] = measured
    return content


def _printed(path: str, cases: Sequence[Case]) -> dict[str, Any]:
    """The verdict on a script: node's version where its output was the same, else why not."""
    measured: dict[str, Any] = {"level": "printed", "cases": [str(case) for case in cases]}
    node = shutil.which("node")
    if node is None:
        return measured | {"node": "", "why": "there was no node"}
    command = f"{shlex.quote(node)} {shlex.quote(path)} {{data}}"
    program = command_program(f"{command} {{steps}}")
    verified = program if cases[0].settings.steps else command_program(command)
    verdict = Verifier(reference_program(), "printed").verify(verified, cases)
    if verdict.answer != "same":
        return measured | {"node": "", "why": f"it was {verdict.answer}"}
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    measured["node"] = version.strip().lstrip("v")
    return measured | _timed(program, cases[0].settings.data)


def _timed(program: Program, data: bytes) -> dict[str, float]:
    """Processor seconds a step and peak memory, of the plain program."""
    few, many = (program.run(Settings(data, steps=count), 0, None).outcome for count in (FEW, MANY))
    return {"seconds_a_step": (many.cpu - few.cpu) / (MANY - FEW), "memory": many.memory}


def _machine() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{platform.machine()} {platform.system()}, CPython {version}"


# ---- Writing -------------------------------------------------------------------------------------


def editions_table(listed: Sequence[Entry]) -> str:
    """All editions as a Markdown table."""
    rows = [
        "| edition | lines | code lines | tokens | bytes | ms a step | MB "
        "| the same as the reference |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for entry in listed:
        size, measured = entry.size, entry.measured
        time = f"{1000 * measured['seconds_a_step']:.1f}" if "seconds_a_step" in measured else ""
        memory = f"{measured['memory'] / 1e6:.0f}" if "memory" in measured else ""
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
    measured = entry.measured
    cases = "; ".join(measured.get("cases", ()))
    if entry.name in PRINTED and measured.get("node"):
        return f"{measured['level']}, in node {measured['node']}; {cases}"
    if measured.get("pythons"):
        return f"{measured['level']}, on Python {', '.join(measured['pythons'])}; {cases}"
    return f"not certified: {measured['why']}" if "why" in measured else "not certified"


def tables(folder: Path) -> dict[str, str]:
    """Every generated table by its name."""
    by_name = {"editions": editions_table(entries(folder))}
    ideas = _ideas(folder)
    if ideas:
        before, after = ideas[0].lines[0], steps.result(ideas).count("\n")
        share = 100 * (before - after) / before
        by_name["steps"] = steps.table(ideas)
        by_name["short"] = f"{before} lines became {after}: {share:.1f} % fewer."
    return by_name


def _ideas(folder: Path) -> list[steps.Idea]:
    """The recorded ideas of short.py, applied to the reference; [] where there is no record."""
    recorded_ideas = folder / "short.toml"
    if not recorded_ideas.exists():
        return []
    return steps.replay(recorded_ideas, _source(folder, "reference.py"))


def ledger_text(folder: Path) -> str:
    """LEDGER.md as it should be."""
    by_name = tables(folder)
    measured = [entry.measured for entry in entries(folder) if entry.measured]
    dates = ", ".join(sorted({about["date"] for about in measured}))
    machines = "; ".join(sorted({about["machine"] for about in measured}))
    when = f"Measured {dates} on {machines}." if measured else "Nothing measured yet."
    return f"""# Editions

Generated by `microgpt journey ledger`; do not edit. Sizes: lines as an editor counts them; \
code lines carry more than a
comment or docstring; tokens without comments. {when}
"The same" is what `microgpt verify` found on the cases named, not a proof.

{by_name["editions"]}

## How short.py was made

{by_name.get("steps", "")}
"""


def stale(folder: Path, docs: Path) -> list[str]:
    """What no longer fits: editions changed since their certificate, texts that are out of date."""
    listed = entries(folder)
    problems = [
        f"{entry.name} changed since it was certified"
        for entry in listed
        if not entry.measured and entry.name not in TEACHING
    ]
    problems += [
        f"{entry.name} is certified on no Python"
        for entry in listed
        if entry.measured.get("pythons") == []
    ]
    problems += [
        f"{entry.name} is not certified: {entry.measured['why']}"
        for entry in listed
        if "why" in entry.measured
    ]
    ideas = _ideas(folder)
    if ideas and steps.result(ideas) != _source(folder, "short.py"):
        problems.append("short.py is not what short.toml gives")
    return problems + [
        f"{path} is not what would be written"
        for path, text in written(folder, docs)
        if _old(path) != text
    ]


def written(folder: Path, docs: Path) -> list[tuple[Path, str]]:
    """Every generated text and its file: LEDGER.md, and pages with <!-- ledger:NAME --> marks."""
    texts = [(folder / "LEDGER.md", ledger_text(folder))]
    by_name = tables(folder)
    for page in sorted(docs.rglob("*.md")) if docs.is_dir() else ():
        text = page.read_text(encoding="utf-8")
        if _MARK.search(text):
            text = _MARK.sub(lambda m: f"{m[1]}{by_name.get(m[2], 'unknown table')}\n{m[3]}", text)
            texts.append((page, text))
    return texts


def write(folder: Path, docs: Path, measured: Mapping[str, Any] | None = None) -> list[Path]:
    """Write ledger.json, short.py, LEDGER.md and the marked tables, each only where it changed.

    Returns the paths that were written. measured: the new content of ledger.json, None to keep it.
    """
    done = []
    if measured is not None:
        files.write(folder / "ledger.json", (json.dumps(measured, indent=1) + "\n").encode())
        done.append(folder / "ledger.json")
    ideas = _ideas(folder)
    if ideas and _old(folder / "short.py") != steps.result(ideas):
        files.write(folder / "short.py", steps.result(ideas).encode())
        done.append(folder / "short.py")
    for path, text in written(folder, docs):
        if _old(path) != text:
            files.write(path, text.encode())
            done.append(path)
    return done


def _old(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
