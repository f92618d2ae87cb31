"""The editions that come with the package: listed with their sizes and level, found by name, read.

An edition is the reference written in another form: shorter, in one language feature, in another
language. The ladder's files are steps on the way to it.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, quote
from . import ledger

FOLDER = Path(__file__).parents[1] / "editions"


def level_of(entry: ledger.Entry) -> str:
    """The level at which an edition was verified against the reference; "" where it was not."""
    if entry.measured.get("pythons") or entry.measured.get("node"):
        return str(entry.measured["level"])
    return ""


def listing(folder: Path = FOLDER) -> str:
    """All editions as a table: name, lines, bytes, and the level at which each is the reference."""
    rows = [f"{'edition':24}{'lines':>6}{'bytes':>8}  level"]
    for entry in ledger.entries(folder):
        if entry.name == "reference.py":
            level = "it is the reference"
        elif entry.name in ledger.TEACHING:
            level = "(a step on the way)"
        else:
            level = level_of(entry) or "not certified"
        rows.append(f"{entry.name:24}{entry.size.lines:6,}{entry.size.bytes:8,}  {level}")
    return "\n".join(rows) + "\n"


def path_of(name: str, folder: Path = FOLDER) -> Path:
    """The file of an edition. Its suffix and its folder may be left out.

    Raises InputError for a name that no edition has, or that several have.

    >>> path_of("golf").name, path_of("6_gpt").name
    ('golf.py', '6_gpt.py')
    """
    names = [entry.name for entry in ledger.entries(folder)]
    matching = [
        n
        for n in names
        if name in (n, Path(n).name, Path(n).stem, str(Path(n).parent / Path(n).stem))
    ]
    if len(matching) != 1:
        raise InputError(
            f"there is no edition {quote(name)}",
            where=str(folder),
            fix=f"one of {', '.join(names)}",
        )
    return ledger.path_of(folder, matching[0])


def source_of(name: str, folder: Path = FOLDER) -> str:
    """The text of an edition."""
    return path_of(name, folder).read_text(encoding="utf-8")
