"""`microgpt journey` as a command; its stages are tested in tests/journey."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_support import Run, run  # noqa: F401

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
