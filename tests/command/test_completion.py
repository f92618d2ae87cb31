"""`microgpt completion`: scripts for shells."""

from __future__ import annotations

import subprocess

import pytest
from command_support import Run, run  # noqa: F401


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_verbs(run: Run, shell: str) -> None:
    pytest.importorskip("shtab")
    code, out, _ = run("completion", shell)
    assert (code == 0 and "explain" in out and "--block-size" in out) or "block-size" in out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=out.encode(), check=True)
