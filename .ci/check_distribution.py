"""Check what the source distribution and the wheel in a folder contain.

Usage: python .ci/check_distribution.py dist
Exits 1 and names every file that is missing or does not belong there.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

# Patterns of paths; in the source distribution below its one folder.
IN_BOTH = [r"microgpt/reference\.py", r"microgpt/py\.typed", r"microgpt/data/names\.txt"]
IN_BOTH += [r"microgpt/page/page\.html", r"microgpt/editions/short\.py", r"LICENSE"]
IN_WHEEL = [*IN_BOTH, r"microgpt/_native\.[\w-]+\.so", r"METADATA", r"entry_points\.txt"]
IN_SOURCE = [*IN_BOTH, r"pyproject\.toml", r"CMakeLists\.txt", r"README\.md"]
IN_SOURCE += [r"src/native/.+\.cpp", r"src/native/.+\.hpp", r"tests/conftest\.py"]
NOT_IN_WHEEL = [r"(^|/)tests/", r"\.[ch]pp$", r"node_modules", r"__pycache__", r"\.github"]
NOT_IN_SOURCE = [r"\.so$", r"node_modules", r"__pycache__", r"\.venv", r"\.safetensors$"]


def faults(names: list[str], wanted: list[str], refused: list[str]) -> list[str]:
    """What is missing from these paths, and which of them do not belong there."""
    missing = [
        f"missing: {pattern}"
        for pattern in wanted
        if not any(re.search(f"(^|/){pattern}$", name) for name in names)
    ]
    return missing + [
        f"does not belong: {name}" for name in names if any(re.search(p, name) for p in refused)
    ]


def main(folder: Path) -> int:
    sources, wheels = list(folder.glob("*.tar.gz")), list(folder.glob("*.whl"))
    if len(sources) != 1 or len(wheels) != 1:
        print(f"{folder} must hold one .tar.gz and one .whl", file=sys.stderr)
        return 1
    with tarfile.open(sources[0]) as archive:
        found = faults(archive.getnames(), IN_SOURCE, NOT_IN_SOURCE)
    with zipfile.ZipFile(wheels[0]) as archive:
        found += faults(archive.namelist(), IN_WHEEL, NOT_IN_WHEEL)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
