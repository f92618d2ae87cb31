"""The order of the files: imports go one way, each heavy package has a home, one file prints."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import microgpt
from microgpt import commands

ROOT = Path(microgpt.__file__).parent
# From the bottom up: a file imports only from lines above its own.
ORDER = """
    errors reference
    config files
    reference_recipe
    randomness tokenizer
    engines.contract
    engines.base engines.registry
    engines
    engines.compiled
    engines.scalar engines.exact engines.fast pytorch
    corpus made_by
    checkpoint ngrams recipes
    gpt resuming
    training sampling scoring explaining
    model run_log
    journey
    transcript
    benchmarking
    serving page
    page.assembly serving.schemas serving.guard serving.jobs
    exporting serving.app
    serving.server
    terminal
    face progress
    verify
    verify.cage verify.probe verify.rewrite verify.sandbox verify.engine_program
    verify.floats verify.cases verify.recording
    verify.compare verify.programs
    verify.verdict verify.gradients
    verify.verifier verify.exported
    journey.form journey.steps journey.syntax
    journey.analyze
    journey.ledger
    journey.editions
    journey.gist journey.remind
    commands
    commands._arguments commands._models
    commands._settings commands._parser
    VERBS
    cli
    __main__
"""
RANK = {name: rank for rank, line in enumerate(ORDER.split("\n")) for name in line.split()}
FILES = {
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
    if path != ROOT / "__init__.py" and "editions" not in path.parts
}
# Each file in commands/ is a verb, unless its name begins with "_". A new verb needs no line here.
RANK |= dict.fromkeys((f"commands.{verb}" for verb in commands.names()), RANK.pop("VERBS"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside a function; ours relative to the package."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            for alias in node.names:
                whole = (
                    ".".join([*base, *(node.module or "").split("."), alias.name])
                    .replace("..", ".")
                    .strip(".")
                )
                yield "microgpt:" + (whole if whole in FILES else whole.rpartition(".")[0])


def test_every_file_has_its_place_in_the_order() -> None:
    assert set(FILES) == set(RANK)


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_from_files_below_it(name: str) -> None:
    ours = {
        module.removeprefix("microgpt:")
        for module in imports(FILES[name])
        if module.startswith("microgpt:")
    }
    above = {module for module in ours - {"", name} if RANK[module] >= RANK[name]}
    assert not above, f"{name} imports {above}"


def test_heavy_packages_are_imported_in_one_file_each() -> None:
    homes = {
        "torch": "pytorch",
        "numpy": None,
        "rich": "progress",
        "shtab": "commands.completion",
        "fastapi": "serving.app",
        "libcst": "journey.syntax",
        "schedule": "journey.remind",
    }
    for name, path in FILES.items():
        for module in imports(path):
            top = module.split(".")[0]
            assert homes.get(top, name) == name, f"{name} imports {top}"


def test_engines_draw_no_random_numbers_and_read_no_files() -> None:
    for name, path in FILES.items():
        if name.startswith("engines"):
            assert not {"random", "microgpt:randomness", "microgpt:files", "os", "pathlib"} & set(
                imports(path)
            ), name


def test_only_the_command_prints() -> None:
    for name, path in FILES.items():
        calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        prints = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
        assert not prints or name in (
            "cli",
            "face",
            "reference",
            "reference_recipe",
            "verify.engine_program",
        ), name


def test_files_and_functions_stay_short() -> None:
    for name, path in FILES.items():
        text = path.read_text()
        assert text.count("\n") <= 400, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.name != "__init__":
                assert node.end_lineno - node.lineno < 50, f"{name}.{node.name}"  # type: ignore[operator]


def test_every_file_begins_with_what_it_is_for() -> None:
    for name, path in FILES.items():
        assert ast.get_docstring(ast.parse(path.read_text())), name


def test_help_and_import_load_nothing_heavy() -> None:
    program = """
import sys
from microgpt.cli import main
from microgpt import MicroGPT
try: main(["train", "--help"])
except SystemExit: pass
loaded = {name.split(".")[0] for name in sys.modules}
print(*sorted(loaded & {"numpy", "torch", "rich", "shtab", "safetensors"}))
"""
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.splitlines()[-1] == ""


def test_public_names_are_these_and_each_can_be_had() -> None:
    errors = [
        "Busy",
        "Checkpoint",
        "Config",
        "Data",
        "Diverged",
        "Input",
        "Microgpt",
        "MissingPart",
        "NotFitted",
    ]
    errors += ["Output", "PermissionDenied", "Storage"]
    names = {f"{name}Error" for name in errors} | {
        "Config",
        "Evaluation",
        "Explanation",
        "MicroGPT",
        "Step",
        "recipe",
    }
    assert set(microgpt.__all__) == names
    assert microgpt.__all__ == sorted(microgpt.__all__)
    for name in names:
        assert getattr(microgpt, name).__name__ == name
    with pytest.raises(AttributeError):
        microgpt.nothing  # noqa: B018


def test_tools_beside_this_python_are_found_without_an_activated_environment() -> None:
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = "import conftest, os; print(os.environ['PATH'])"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_the_version_is_stated_once() -> None:
    project = tomllib.loads((ROOT.parent.parent / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", microgpt.__version__)
    changelog = (ROOT.parent.parent / "CHANGELOG.md").read_text()
    assert f"## [{microgpt.__version__}]" in changelog
