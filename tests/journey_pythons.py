"""Which other Pythons this machine has, on the path and in pyenv's folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path


@cache
def available() -> dict[str, str]:
    """Version such as "3.12" -> interpreter that runs."""
    candidates = [
        sys.executable,
        *(str(p) for p in sorted(Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python"))),
    ]
    candidates += [path for minor in range(11, 16) if (path := shutil.which(f"python3.{minor}"))]
    pythons: dict[str, str] = {}
    for python in candidates:
        ask = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        answer = subprocess.run(ask, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            pythons.setdefault(answer.stdout.strip(), python)
    return pythons
