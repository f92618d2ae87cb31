"""Each edition is what it claims to be, the ladder's rungs agree, the ledger is up to date."""

from __future__ import annotations

import importlib.resources
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EDITIONS, HERE, SHARED, has_engine, skip_or_fail
from zoo.base import DATA, changed, small_reference

from microgpt import corpus
from microgpt.cli import main
from microgpt.journey import form, ledger, steps
from microgpt.verify import gradients
from microgpt.verify.cases import Settings, cases_for
from microgpt.verify.programs import (
    Program,
    command_program,
    engine_program,
    python_program,
    reference_program,
)
from microgpt.verify.rewrite import with_settings
from microgpt.verify.sandbox import Limits
from microgpt.verify.verdict import render
from microgpt.verify.verifier import Verifier

LADDER = EDITIONS / "ladder"
REFERENCE = reference_program().source


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(reference_program())


ONE_SAMPLE = ("range(20)", "range(1)")  # sampling takes most of the time of a short run


@pytest.fixture(scope="module")
def brief_verifier() -> Verifier:
    return Verifier(Program("the reference with one sample", changed(REFERENCE, ONE_SAMPLE)))


@pytest.mark.parametrize("name", ledger.CERTIFIED)
def test_one_step_and_one_sample_of_an_edition_are_the_references(
    brief_verifier: Verifier, name: str
) -> None:
    source = changed((EDITIONS / name).read_text(encoding="utf-8"), ONE_SAMPLE)
    cases = cases_for([("three names", b"al\nbo\nal\n")], steps=1)
    verdict = brief_verifier.verify(Program(name, source), cases)
    assert verdict.answer == "same", render(verdict)
    assert verdict.cases[0].numbers > 7000


@pytest.mark.proof
@pytest.mark.parametrize("name", ledger.CERTIFIED)
def test_an_edition_is_the_reference_bit_for_bit(verifier: Verifier, name: str) -> None:
    verdict = verifier.verify(
        python_program(str(EDITIONS / name)), cases_for([("twelve names", DATA)], steps=3)
    )
    assert verdict.answer == "same", render(verdict)
    assert verdict.cases[0].numbers > 10_000


@pytest.mark.soak
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("data", ["cities.txt", "makemore-names.txt", "us-names-2018.txt"])
def test_all_editions_are_the_reference_over_whole_runs(data: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared is not here")
    whole = Verifier(reference_program())
    cases = cases_for([(data, (SHARED / "data" / data).read_bytes())])
    for name in ledger.CERTIFIED:
        verdict = whole.verify(python_program(str(EDITIONS / name)), cases)
        assert verdict.answer == "same", render(verdict)


@pytest.mark.proof
def test_vectors_written_out_gradients_are_derivatives() -> None:
    found = gradients.check(python_program(str(EDITIONS / "vector.py")), DATA)
    assert found.right, gradients.render(found)


# ---- short.py ------------------------------------------------------------------------------------


def test_short_has_a_fifth_fewer_lines_and_keeps_the_form() -> None:
    kept = form.check(REFERENCE, (EDITIONS / "short.py").read_text(encoding="utf-8"))
    assert kept.broken == []
    assert kept.variant.lines <= 0.8 * kept.original.lines


def test_short_is_what_its_recorded_steps_give() -> None:
    ideas = steps.replay(EDITIONS / "short.toml", REFERENCE)
    assert steps.result(ideas) == (EDITIONS / "short.py").read_text(encoding="utf-8")


IDEAS = steps.replay(EDITIONS / "short.toml", small_reference())


@pytest.fixture(scope="module")
def small_verifier() -> Verifier:
    return Verifier(Program("the small reference", small_reference()))


# Every eighth one; `make proof` runs the others.
@pytest.mark.parametrize(
    "idea",
    [
        pytest.param(idea, id=idea.title, marks=() if i % 8 == 0 else pytest.mark.proof)
        for i, idea in enumerate(IDEAS)
    ],
)
def test_every_recorded_idea_gets_the_verdict_it_is_recorded_with(
    small_verifier: Verifier, idea: steps.Idea
) -> None:
    cases = cases_for([("twelve names", DATA)], steps=idea.steps)
    verdict = small_verifier.verify(
        Program(idea.title, idea.after, limits=Limits(seconds=60)), cases
    )
    assert (verdict.answer if verdict.answer != "failed" else "different") == idea.verdict, render(
        verdict
    )
    fewer = idea.lines[1] < idea.lines[0]
    assert idea.kept == (fewer and verdict.answer == "same")


def test_the_articles_first_attempt_is_caught_at_the_gradients_of_the_first_step(
    small_verifier: Verifier,
) -> None:
    verdict = small_verifier.verify(
        Program("attempt", IDEAS[0].after), cases_for([("twelve names", DATA)], steps=2)
    )
    difference = verdict.cases[0].difference
    assert difference and (difference.what, difference.step) == ("gradients", 1)


# ---- golf.py -------------------------------------------------------------------------------------


def test_golf_is_below_the_public_record_and_uses_the_standard_library_alone() -> None:
    source = (EDITIONS / "golf.py").read_bytes()
    assert len(source) < 1873
    assert set(re.findall(rb"(?:from|import) (\w+)", source)) == {b"math", b"random"}
    assert b"exec" not in source and source.isascii()  # no compressed program inside


# ---- microgpt.js ---------------------------------------------------------------------------------


def node_program(arguments: str) -> Program:
    node = shutil.which("node")
    if node is None:
        skip_or_fail("node", "node is not installed")
    return command_program(f"{node} {EDITIONS / 'microgpt.js'} {arguments}")


def test_the_javascript_edition_prints_what_the_exact_engine_prints() -> None:
    if not has_engine("exact"):
        skip_or_fail("native", "the exact engine is not installed")
    verifier = Verifier(engine_program("exact"), "printed")
    cases = cases_for([("twelve names", DATA)], steps=5)
    verdict = verifier.verify(node_program("{data} {steps}"), cases)
    assert verdict.answer == "same", render(verdict)


@pytest.mark.proof
def test_the_javascript_edition_prints_what_the_reference_prints() -> None:
    cases = cases_for([("twelve names", DATA)], steps=20)
    verdict = Verifier(reference_program(), "printed").verify(node_program("{data} {steps}"), cases)
    assert verdict.answer == "same", render(verdict)
    other = Program("another seed", with_settings(REFERENCE, None, 43))
    assert (
        Verifier(other, "printed").verify(node_program("{data} {steps}"), cases).answer
        == "different"
    )


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_javascript_edition_prints_the_whole_reference_run() -> None:
    text = "\n".join(corpus.builtin().documents).encode() + b"\n"
    verdict = Verifier(reference_program(), "printed").verify(
        node_program("{data}"), cases_for([("names", text)])
    )
    assert verdict.answer == "same", render(verdict)


# ---- The ladder ----------------------------------------------------------------------------------


def losses(rung: str, steps: int | None = None, data: bytes = DATA) -> list[float]:
    """The losses a rung prints, at the precision at which it computes them."""
    from microgpt.verify.programs import Interest

    recording = python_program(str(LADDER / rung)).run(Settings(data, steps=steps), 0, Interest(()))
    assert recording.outcome.failure == ""
    return [number for _, number in recording.numbers]


def test_the_second_rung_goes_down_to_what_the_first_one_counts() -> None:
    (counted,) = losses("1_counts.py")
    walked = losses("2_gradient.py", 3000)
    rounds = len(DATA.split())
    assert (
        min(sum(walked[i : i + rounds]) / rounds for i in range(0, 2900, rounds)) < counted + 0.35
    )
    assert sum(walked[:rounds]) > sum(walked[-rounds:])


def test_the_third_rung_takes_the_second_ones_steps_to_the_last_digits() -> None:
    by_hand, by_itself = losses("2_gradient.py", 40), losses("3_autograd.py", 40)
    assert by_itself == pytest.approx(by_hand, abs=1e-12)  # measured: at most 2e-15
    assert len(by_itself) == 40


@pytest.mark.proof
def test_the_fourth_rungs_gradients_are_derivatives() -> None:
    assert gradients.check(python_program(str(LADDER / "4_perceptron.py")), DATA).right


@pytest.mark.proof
def test_the_fourth_rung_starts_where_the_third_one_does_and_learns_as_well() -> None:
    third, fourth = losses("3_autograd.py", 60), losses("4_perceptron.py", 60)
    assert fourth[0] == pytest.approx(third[0], abs=0.2)  # both begin at about log(vocabulary)
    assert sum(fourth[-12:]) < sum(fourth[:12])


@pytest.mark.proof
def test_the_fifth_rung_is_the_whole_model_and_only_steps_otherwise() -> None:
    fifth, sixth = losses("5_attention.py", 3), losses("6_gpt.py", 3)
    assert fifth[0] == sixth[0]
    assert fifth[1] != sixth[1]


# ---- The ledger ----------------------------------------------------------------------------------


def test_the_ledger_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--editions", str(EDITIONS), "--docs", str(HERE.parent / "docs"), "--check"]
    assert main(["journey", "ledger", *flags]) == 0, capsys.readouterr().out


def test_an_edition_changed_since_its_certificate_makes_the_ledger_stale(tmp_path: Path) -> None:
    copy = tmp_path / "editions"
    shutil.copytree(EDITIONS, copy)
    assert ledger.stale(copy, tmp_path / "docs") == []
    golf = copy / "golf.py"
    golf.write_text(golf.read_text() + "\n#")
    found = ledger.stale(copy, tmp_path / "docs")
    assert any("golf.py changed since it was certified" in line for line in found)
    assert any("LEDGER.md is not what would be written" in line for line in found)


@pytest.fixture
def small_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger measures against the small reference."""
    original = Program("the small reference", small_reference())
    monkeypatch.setattr(ledger, "reference_program", lambda python=sys.executable: original)


@pytest.mark.usefixtures("small_ledger")
def test_the_ledger_certifies_what_is_the_same_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "short.py").write_text(small_reference())
    (tmp_path / "golf.py").write_text(changed(small_reference(), ("p.grad**2", "abs(p.grad)")))
    version = ".".join(map(str, sys.version_info[:2]))
    found = ledger.measure(
        tmp_path,
        cases_for([("two names", b"al\nbo\n")], steps=1),
        {version: sys.executable},
        only=["short.py", "golf.py"],
    )
    assert found["short.py"]["pythons"] == [version]
    assert found["golf.py"]["pythons"] == []
    assert (
        isinstance(found["short.py"]["seconds_a_step"], float) and found["short.py"]["memory"] > 1e6
    )


@pytest.mark.usefixtures("small_ledger")
def test_without_node_the_ledger_says_that_the_script_is_not_certified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "microgpt.js").write_text("console.log(1);\n")
    cases = cases_for([("two names", b"al\nbo\n")], steps=1)
    if shutil.which("node"):
        found = ledger.measure(tmp_path, cases, {}, only=["microgpt.js"])
        assert found["microgpt.js"]["why"] == "it was different"
    monkeypatch.setattr(ledger.shutil, "which", lambda name: None)
    ledger.write(
        tmp_path, tmp_path / "docs", ledger.measure(tmp_path, cases, {}, only=["microgpt.js"])
    )
    assert "not certified: there was no node" in (tmp_path / "LEDGER.md").read_text()
    assert "microgpt.js is not certified: there was no node" in ledger.stale(
        tmp_path, tmp_path / "docs"
    )


def test_measuring_one_edition_keeps_what_is_recorded_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "ladder").mkdir()
    for name in ("short.py", "ladder/1_counts.py"):
        (tmp_path / name).write_text("print(1)\n")
    (tmp_path / "ledger.json").write_text('{"short.py": {"sha256": "kept"}}')
    found = ledger.measure(
        tmp_path, cases_for([("two names", b"al\nbo\n")]), {}, only=["ladder/1_counts.py"]
    )
    assert (
        found["short.py"] == {"sha256": "kept"} and len(found["ladder/1_counts.py"]["sha256"]) == 64
    )


def test_editions_run_as_plain_scripts(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_bytes(DATA)
    golf = changed((EDITIONS / "golf.py").read_text(), ("S:=1000", "S:=2"), ONE_SAMPLE)
    output = subprocess.run(
        [sys.executable, "-c", golf], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert output.count("sample") == 1 and "step    2 /    2 | loss" in output


# ---- In the package ------------------------------------------------------------------------------


def test_every_edition_comes_with_the_package() -> None:
    folder = importlib.resources.files("microgpt") / "editions"
    names = {*ledger.CERTIFIED, *ledger.TEACHING, *ledger.PRINTED, "LEDGER.md", "ledger.json"}
    assert [name for name in names if not (folder / name).is_file()] == []


def test_the_command_lists_the_editions_and_prints_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journey", "editions"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    size = form.size_of((EDITIONS / "golf.py").read_text())
    listed = {row[0]: row[1:] for row in rows}
    assert listed["golf.py"][:2] == [str(size.lines), f"{size.bytes:,}"]
    assert {*ledger.CERTIFIED, *ledger.PRINTED, *ledger.TEACHING} <= set(listed)
    assert main(["journey", "editions", "golf"]) == 0
    golf = (EDITIONS / "golf.py").read_text()
    assert capsys.readouterr().out.rstrip("\n") == golf.rstrip("\n")
    assert main(["journey", "editions", "no-such"]) == 66
    assert "one of reference.py" in capsys.readouterr().err
