"""The command as a whole: its pages, its errors, its streams."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from command_support import FLAGS, Run, model, run  # noqa: F401

from microgpt import MicroGPT, __version__, checkpoint, commands
from microgpt.cli import main
from microgpt.commands import train
from microgpt.commands._parser import verb_parser
from microgpt.commands._settings import flag
from microgpt.config import FIELDS
from microgpt.errors import ConfigError


def page(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """A --help page."""
    with pytest.raises(SystemExit) as end:
        main([*args, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_the_overview_lists_every_verb_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    text = page(capsys)
    for verb in commands.names():
        assert re.search(rf"^  {verb} +{re.escape(commands.summary(verb))}$", text, re.M)
    assert {"train", "sample", "verify", "journey"} <= set(commands.names())


@pytest.mark.parametrize("verb", commands.names())
def test_a_verb_is_one_file_with_examples_and_a_test(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = page(capsys, verb)
    assert commands.summary(verb).endswith(".") and commands.summary(verb) in text
    assert text.index(f"examples:\n  microgpt {verb}") < text.index("common options:")
    module = import_module(f"microgpt.commands.{verb}")
    assert commands.summary(verb) == (module.__doc__ or "").splitlines()[0]
    assert list(Path(__file__).parents[1].rglob(f"test_{verb}.py"))


@pytest.mark.parametrize("words", [["--help"], ["sample", "--help"], ["--version"], ["trian"]])
def test_only_the_module_of_the_verb_that_is_named_is_imported(words: list[str]) -> None:
    program = (
        "import sys\nfrom microgpt.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print(*sorted(m for m in sys.modules if m.startswith('microgpt.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    modules = done.stdout.splitlines()[-1]
    verbs = [name.rpartition(".")[2] for name in modules.split() if "._" not in name]
    assert verbs == words[:1] * (words[0] == "sample")


# Modules that take milliseconds to import, which a command would spend before it does anything.
NO_START_NEEDS = {"dataclasses", "inspect", "pathlib", "csv", "traceback", "textwrap", "tempfile"}
NO_START_NEEDS |= {"rich", "numpy", "urllib.parse", "importlib.metadata", "html"}
HELP_NEEDS_NO = {"argparse", "re", "typing", "enum", "signal", "json", "hashlib", "random"}


@pytest.mark.parametrize(
    ("words", "slow"),
    [
        (["--help"], NO_START_NEEDS | HELP_NEEDS_NO),
        (["--version"], NO_START_NEEDS | HELP_NEEDS_NO),
        (["sample", "model.safetensors"], NO_START_NEEDS | {"signal", "microgpt.model"}),
        (["train", "names.txt", "-q", *FLAGS], NO_START_NEEDS | {"microgpt.model"}),
    ],
)
def test_a_command_imports_nothing_slow_that_it_does_not_need(
    words: list[str], slow: set[str], tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("ann\nbob\n")
    MicroGPT(n_embd=4, n_head=1, num_steps=2).fit(["ann", "bob"]).save(
        tmp_path / "model.safetensors"
    )
    program = (
        "import sys\nbefore = set(sys.modules)\nfrom microgpt.cli import main\n"
        f"try: print(main({words!r}))\nexcept SystemExit as end: print(end.code)\n"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    code, modules = done.stdout.splitlines()[-2:]
    assert code == "0", done.stderr
    assert not slow & set(modules.split())


def test_options_of_train_come_from_config(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(page(capsys, "train").split())
    for item in FIELDS.values():
        assert flag(item) in text and item.says in text
    args = verb_parser("train", train).parse_args([])
    assert all(getattr(args, item.name) is None for item in FIELDS.values())


def test_older_names_of_options_are_accepted_but_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for verb in ("train", "eval"):
        text = page(capsys, verb)
        assert "--held-out SHARE" in text and "--val" not in text and "--holdout" not in text
        for name in ("--held-out", "--val", "--holdout"):
            parser = verb_parser(verb, import_module(f"microgpt.commands.{verb}"))
            assert parser.parse_args(["list.txt", name, "0.25"]).held_out == 0.25
            for other in {"--held-out", "--val", "--holdout"} - {name}:
                with pytest.raises(ConfigError, match="not allowed with"):
                    parser.parse_args(["list.txt", name, "0.25", other, "0.3"])


def test_a_command_that_does_not_exist_is_an_error_that_says_which_do(run: Run) -> None:
    code, _, err = run("trian")
    assert code == 2 and "there is no command 'trian'" in err and "fix: microgpt train\n" in err
    assert f"fix: one of {', '.join(commands.names())}" in run("_arguments")[2]


def test_without_a_command_the_overview_is_an_error_message(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    overview = page(capsys)
    assert run() == run("--") == (2, "", overview)


@pytest.mark.parametrize("words", [[], ["train"], ["journey", "gist"]])
def test_help_as_a_command_prints_the_page(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = page(capsys, *words)
    with pytest.raises(SystemExit) as end:
        main(["help", *words])
    assert (end.value.code, capsys.readouterr().out) == (0, expected)
    assert main(["help", "trian"]) == 2
    assert "there is no command 'trian'" in capsys.readouterr().err


def test_version_and_usage_errors(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["-V"])
    assert capsys.readouterr().out == f"microgpt {__version__}\n"
    for wrong in (
        ["nothing"],
        ["train", "--no-such"],
        ["sample", "-n"],
        ["train", "--n-embd", "x"],
    ):
        code, out, err = run(*wrong)
        assert (
            (code, out) == (2, "")
            and err.startswith("microgpt: error: ")
            and "Traceback" not in err
        )


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("train --stesp 5", "--steps"),
        ("train --n-heda=2", "--n-head"),
        ("train --vall 0.1", "microgpt train --help"),
        ("journey gist short --publihs", "--publish"),
        ("train list.txt --n-head 3", "n_head 4 or n_embd 15"),
        ("train list.txt -o 'my models/m'", "create it: mkdir -p '{folder}/my models'"),
        ("verify exat", "exact"),
        ("completion sh", "microgpt completion --help"),
    ],
)
def test_an_error_names_the_word_that_was_probably_meant(run: Run, words: str, fix: str) -> None:
    code, out, err = run(*shlex.split(words))
    assert code in (2, 66, 73) and out == ""
    assert f"  fix: {fix.format(folder=Path.cwd().resolve())}\n" in err


def test_an_argument_has_the_same_name_in_help_and_in_errors(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "completion [OPTION ...] SHELL\n" in page(capsys, "completion")
    assert "argument SHELL: " in run("completion", "sh")[2]


def test_options_may_stand_between_the_arguments(run: Run, model: str) -> None:
    Path("-x.txt").write_text("ab")
    for first, then in (
        (["score", model, "list.txt", "--bits"], ["score", model, "--bits", "list.txt"]),
        (["explain", model, "ab", "--json"], ["explain", model, "--json", "ab"]),
        (["eval", model, "list.txt", "--json"], ["eval", model, "--json", "list.txt"]),
        (["train", *FLAGS, "--", "list.txt", "-x.txt"], ["train", "list.txt", *FLAGS, "./-x.txt"]),
    ):
        assert run(*then)[:2] == run(*first)[:2]
    code, _, err = run("sample", "--novel", model, "-n", "3")
    assert code == 2 and f"microgpt sample {model} --novel" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_remarks_that_cannot_be_written_cost_nothing_but_themselves(run: Run) -> None:
    expected = {
        f"train list.txt {' '.join(FLAGS)}": 0,
        "score none.safetensors": 66,
        "train list.txt --steps x": 2,
    }
    for words, code in expected.items():
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "microgpt", *words.split()],
                stderr=full,
                stdout=subprocess.PIPE,
            )
        assert done.returncode == code
    assert checkpoint.load("list.safetensors").state.step == 12
