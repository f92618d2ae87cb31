"""Builds the extension module with CMake, in a folder of its own. Tests nothing itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def can_build() -> bool:
    """Whether cmake, a C++ compiler and nanobind are here."""
    return bool(
        shutil.which("cmake") and shutil.which("c++") and importlib.util.find_spec("nanobind")
    )


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def build(folder: Path, *options: str, python: str = sys.executable) -> Path:
    """The extension module for that Python, built with this Python's nanobind.

    Without the fast engine unless the options ask for it.
    """
    nanobind = importlib.util.find_spec("nanobind")
    assert nanobind and nanobind.origin
    path = str(Path(nanobind.origin).parents[1])
    given = [f"-DPython_EXECUTABLE={python}", "-DMICROGPT_FAST=OFF", *options]
    configured = run("cmake", "-S", ROOT, "-B", folder, *given, PYTHONPATH=path)
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", folder, "--target", "_native", "--parallel", "2")
    assert built.returncode == 0, built.stdout + built.stderr
    (module,) = folder.glob("_native*.so")
    return module
