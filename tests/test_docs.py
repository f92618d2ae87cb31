"""The documentation is true: tables are generated, links lead somewhere, examples do as shown."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import has_engine, skip_or_fail

import microgpt
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


GENERATED = {ROOT / "docs" / "api" / name for name in ("command.md", "http-reference.md")}


def test_links_between_documents_lead_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            place = path.parent / target
            assert place.exists() or place in GENERATED, f"{path.name}: {target}"


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


README = (ROOT / "README.md").read_text()
NAMES = Path(microgpt.__file__).parent / "data" / "names.txt"


def test_the_readmes_session_prints_what_it_shows(tmp_path: Path) -> None:
    if not has_engine("exact"):
        skip_or_fail("native", "the session was recorded with the exact engine")
    command = f'microgpt() {{ "{sys.executable}" -m microgpt "$@"; }}; '
    session = re.search(r"```console\n(.*?)```", README, re.DOTALL)
    assert session
    for part in re.split(r"^\$ ", session[1], flags=re.MULTILINE)[1:]:
        line, shown = part.split("\n", 1)
        ran = subprocess.run(
            ["bash", "-c", f"{command}{line} 2>&1"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        rest = ran.stdout
        for known in filter(None, shown.split("...\n")):  # any lines in between
            assert known in rest, f"$ {line}\n{ran.stdout}"
            rest = rest.partition(known)[2]
        assert not rest or shown.endswith("...\n"), f"$ {line}\n{ran.stdout}"


def test_the_readmes_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("".join(NAMES.open().readlines()[:1500]))
    scope: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(example, scope)
    assert (tmp_path / "names.safetensors").exists()


VERBS = {
    *("train", "sample", "score", "eval", "info", "explain", "bench", "export", "serve"),
    *("verify", "journey", "journey analyze", "journey ledger", "completion"),
}


def _hooks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("hooks")


def test_the_page_of_the_command_line_has_every_verb_and_flag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = _hooks(monkeypatch).command_page()
    for verb in VERBS:
        assert f"\n## microgpt {verb}\n" in page
    for name in ("--steps", "--preset", "--novel", "--level", "--allow-remote"):
        assert name in page


def test_the_page_of_the_http_interface_has_every_route_and_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("fastapi")
    page = _hooks(monkeypatch).http_page()
    for route in ("GET /healthz", "POST /v1/sample", "POST /v1/train"):
        assert f"\n## {route}\n" in page
    for name in ("temperature", "scores[].log_probability", "attention", "learning_rate"):
        assert f"| `{name}` |" in page


def test_every_decision_is_in_the_index_and_answers_four_questions() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "index.md").read_text()
    for path in folder.glob("*.md"):
        if path.name != "index.md":
            assert f"]({path.name})" in index
            parts = re.findall(r"^\*\*(.*?)\.\*\*", path.read_text(), flags=re.MULTILINE)
            assert parts == ["Question", "Decision", "Why", "What would change it"], path.name


def _promises() -> dict[str, str]:
    """Number of each promise, such as "R1", and the text under its heading."""
    text = (ROOT / "docs" / "promises.md").read_text().split("\n## Planned")[0]
    parts = re.split(r"^### (R\d+): .*$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def test_every_promise_that_is_cited_is_documented_and_names_tests_that_exist() -> None:
    promises = _promises()
    last = max(int(number[1:]) for number in promises)
    assert set(promises) == {f"R{i}" for i in range(1, last + 1) if i != 17}
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("test_*.py")]:
        for number in re.findall(r"\bR[1-9]\d?\b", path.read_text()):
            assert number in promises, f"{path.name} cites {number}"
    for number, text in promises.items():
        held = re.findall(r"^Held by `([^`]+)`: (.*)$", text, flags=re.MULTILINE)
        assert held or "\nPlanned. " in text, number
        for file, names in held:
            source = (ROOT / file).read_text()
            for name in re.findall(r"`(\w+)`", names):
                assert f"def {name}(" in source, f"{number}: {file} has no {name}"


def test_the_compiled_engines_are_installed_where_they_are_required() -> None:
    if not has_engine("exact"):
        skip_or_fail("native", "the compiled module was not built")
    assert "compiled for" in engines.available()["exact"]
