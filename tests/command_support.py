"""What the tests of the command line share: a folder with a list and a model, and a runner.

Holds no test. A test file imports the fixtures that it uses by name.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY_DOCUMENTS

from microgpt.cli import main

FLAGS = ["--n-embd", "4", "--n-head", "2", "--block-size", "5", "--steps", "12"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a folder with list.txt. Returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    Path("list.txt").write_text("\n".join(TINY_DOCUMENTS))

    def call(*args: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(args)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def model(run: Run) -> str:
    """A trained model in that folder."""
    assert run("train", "list.txt", *FLAGS, "-q")[0] == 0
    return "list.safetensors"
