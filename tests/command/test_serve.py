"""`microgpt serve` as a command; what it serves is tested in tests/serving."""

from __future__ import annotations

import sys

import pytest
from command_support import Run, run  # noqa: F401


def test_without_the_serve_extra_the_error_says_how_to_install_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "microgpt.serving.app", None)
    monkeypatch.delattr("microgpt.serving.app", raising=False)
    code, out, err = run("serve", "--no-open")
    assert (code, out) == (69, "")
    assert "fix: pip install 'microgpt-exact[serve]'" in err


def test_a_model_that_is_missing_is_an_error_before_anything_listens(run: Run) -> None:
    pytest.importorskip("fastapi")
    assert run("serve", "none.safetensors", "--no-open")[0] == 66


def test_listening_beyond_this_machine_needs_a_decision(run: Run) -> None:
    pytest.importorskip("fastapi")
    code, _, err = run("serve", "--host", "0.0.0.0", "--port", "0", "--no-open")
    assert code == 2 and "--allow-remote" in err
