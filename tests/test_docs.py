"""The documents agree with the code: tables with the figures measured, links, exit codes."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
from conftest import has_engine, skip_or_fail

from microgpt import engines

ROOT = Path(__file__).parent.parent


def test_the_tables_of_the_documentation_are_those_of_the_results_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    update = importlib.import_module("update")
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    for path, text in update.texts(results).items():
        assert path.read_text() == text


def test_links_between_documents_lead_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_exit_codes_of_the_documentation_are_those_of_the_errors() -> None:
    from microgpt import errors

    classes = [
        c
        for c in vars(errors).values()
        if isinstance(c, type) and issubclass(c, errors.MicrogptError)
    ]
    codes = {str(c.exit_code) for c in classes}
    text = (ROOT / "docs" / "reliability.md").read_text()
    table = text[text.index("| code |") : text.index("A message says")]
    documented = set(
        re.findall(r"\d+", " ".join(line.split("|")[1] for line in table.splitlines()[2:] if line))
    )
    assert codes | {"0", "1", "129", "130", "141", "143"} == documented


def test_the_compiled_engines_are_installed_where_they_are_required() -> None:
    if not has_engine("exact"):
        skip_or_fail("native", "the compiled module was not built")
    assert "compiled for" in engines.available()["exact"]
