"""`microgpt export` as a command; what it writes is tested in tests/page."""

from __future__ import annotations

from pathlib import Path

from command_support import Run, model, run  # noqa: F401


def test_files_are_named_after_the_model_and_their_sizes_are_said(run: Run, model: str) -> None:
    code, out, err = run("export", model, "--to", "js", "--no-check")
    assert (code, out) == (0, "")
    for name in ("list.js", "list.d.ts"):
        assert f"saved {name} ({Path(name).stat().st_size:,} bytes)" in err


def test_a_page_without_its_list_says_so(run: Run, model: str) -> None:
    Path("list.txt").unlink()
    code, _, err = run("export", model, "--to", "html", "-o", "page.html")
    assert code == 0 and Path("page.html").exists()
    assert "the page marks nothing as known" in err and "read back: largest difference" in err


def test_a_format_is_required_and_must_be_one_of_two(run: Run, model: str) -> None:
    assert run("export", model)[0] == run("export", model, "--to", "onnx")[0] == 2
