"""`microgpt journey` as a command; its stages are tested in tests/journey."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_support import Run, run  # noqa: F401

from microgpt import reference
from microgpt.cli import main


@pytest.mark.parametrize("stage", ["analyze", "editions", "ledger", "gist", "remind"])
def test_each_stage_has_its_page(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["journey", stage, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: microgpt journey {stage} [OPTION ...]")


def test_a_stage_is_required_and_must_be_one_of_five(run: Run) -> None:
    assert run("journey")[0] == run("journey", "nothing")[0] == 2


def test_a_program_that_is_not_text_is_an_error(run: Run) -> None:
    Path("program.py").write_bytes(b"x = 1\n\xff")
    code, _, err = run("journey", "analyze", "program.py")
    assert code == 65 and "the program is not UTF-8 text" in err and "byte 6" in err


def test_every_edition_that_is_listed_can_be_printed(run: Run) -> None:
    listed = [line.split()[0] for line in run("journey", "editions")[1].splitlines()[1:]]
    assert "reference.py" in listed
    for name in listed:
        assert run("journey", "editions", name)[0] == 0
    source = Path(str(reference.__file__)).read_text(encoding="utf-8")
    assert run("journey", "editions", "reference")[1] == source.rstrip("\n") + "\n"


def test_gist_says_what_it_does_before_it_begins(run: Run) -> None:
    Path("tiny.py").write_text("print(1)\n")
    assert run("journey", "gist", "tiny.py", "--steps", "1")[2].startswith(
        "verifying tiny.py against the reference; this can take minutes\n"
    )


def test_a_syntax_error_is_one_line_without_escapes(run: Run) -> None:
    pytest.importorskip("libcst")
    Path("words.py").write_text("x = 1\nhello world\n")
    code, _, err = run("journey", "analyze", "words.py")
    assert code == 65 and "\\n" not in err
    assert "not a Python program: invalid syntax\n  where: words.py, line 2\n" in err
