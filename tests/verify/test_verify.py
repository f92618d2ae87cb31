"""`verify`: reading, rewriting, comparing, gradients, form, and the command around them."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st
from zoo.base import DATA, changed, small_reference
from zoo.wrong import STACK_WALK, WRONG

from microgpt import engines
from microgpt.cli import main
from microgpt.errors import ConfigError, DataError, InputError, quote
from microgpt.journey import form
from microgpt.verify import gradients
from microgpt.verify.cases import Settings, cases_for
from microgpt.verify.compare import LEVELS
from microgpt.verify.floats import ulps_apart
from microgpt.verify.programs import (
    Program,
    command_program,
    engine_program,
    program,
    reference_program,
)
from microgpt.verify.recording import parse
from microgpt.verify.rewrite import replaced, steps_place, with_settings
from microgpt.verify.sandbox import Limits, Outcome, error_line
from microgpt.verify.verdict import Verdict, render
from microgpt.verify.verifier import Verifier

SEED_SCRIPT = SHARED / "seed" / "microgpt.py"
ONE_CASE = cases_for([("twelve names", DATA)], steps=2)


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    """Against the reference at its full size, which takes seconds: its runs are remembered."""
    return Verifier(reference_program())


def small() -> Program:
    return Program("the small reference", small_reference())


# ---- Rewriting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "line", "value"),
    [
        ("num_steps = 1000\nx = 1000\n", 1, 1000),
        ("a, num_steps = 1, 500\n", 1, 500),
        ("num_steps: int = 7\n", 1, 7),
        ("x = 1\ndef main(path, seed=42, num_steps=1000):\n    pass\n", 2, 1000),
        ("def main(*, num_steps=9): pass\n", 1, 9),
        ("S = 1000\nfor s in range(S): print(s / S)\n", 1, 1000),
    ],
)
def test_the_number_of_steps_is_found_where_it_is_said_once(
    source: str, line: int, value: int
) -> None:
    place = steps_place(source)
    assert (place.line, place.value) == (line, value)
    assert eval(compile(replaced(source, place, 3).replace("pass", "0"), "x", "exec")) is None
    assert steps_place(replaced(source, place, 3)).value == 3


@pytest.mark.parametrize(
    "source",
    [
        "num_steps = 1000\nnum_steps = 10\n",
        "num_steps = 10 * 100\n",
        "for s in range(1000): print(s)\n",
        "S = 1000\nT = 1000\nfor s in range(S): print(T)\n",
        "text = 'num_steps = 1000'\n",
        "def f(num_steps=1): pass\ndef g(num_steps=1): pass\n",
    ],
)
def test_a_number_of_steps_that_is_not_said_once_is_refused(source: str) -> None:
    with pytest.raises(DataError, match="cannot change the program's number of steps"):
        steps_place(source)


@pytest.mark.parametrize(
    "source",
    [
        "import random\nrandom.seed(42)\n",
        "seed(42)\n",
        "def main(seed=42): pass\n",
        "r = Random(42)\n",
    ],
)
def test_the_seed_is_found(source: str) -> None:
    assert with_settings(source, None, 7) == source.replace("42", "7")


def test_rewriting_changes_one_number_and_keeps_every_other_byte() -> None:
    source = '# größer \u2028 1000\nnum_steps = 1000 # äh, 1000\r\nprint("é 1000")\n'
    assert replaced(source, steps_place(source), 5) == source.replace(
        "num_steps = 1000", "num_steps = 5"
    )


# ---- Numbers -------------------------------------------------------------------------------------


@given(st.floats(), st.integers(0, 2**40))
def test_units_in_the_last_place_count_the_floats_between(start: float, count: int) -> None:
    if math.isnan(start) or abs(start) > 1e300:
        return
    (bits,) = struct.unpack("<q", struct.pack("<d", abs(start)))
    (end,) = struct.unpack("<d", struct.pack("<q", bits + count))
    assert ulps_apart(abs(start), end) == count == ulps_apart(end, abs(start))
    assert ulps_apart(abs(start), math.nextafter(abs(start), math.inf)) == 1


def test_zeros_of_both_signs_and_nans_are_not_the_same_bits() -> None:
    assert ulps_apart(0.0, -0.0) == 1
    assert ulps_apart(math.nan, math.nan) == 0
    assert ulps_apart(math.nan, 1.0) > 2**63


@given(st.binary(max_size=300))
def test_any_bytes_in_the_record_are_read_without_an_error(record: bytes) -> None:
    outcome = Outcome(b"", b"", record, 0, "exit", 0.0, 0.0, 0, 0, ())
    assert not parse(outcome).complete


# ---- Programs and engines ------------------------------------------------------------------------


ENGINES = ["scalar", "exact"]


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_at_a_small_shape_is_the_reference_bit_for_bit(name: str) -> None:
    try:
        whole = engine_program(name)
    except engines.MissingPartError as error:
        pytest.skip(f"engine {name}: {error.what}")
    source = changed(
        whole.source,
        ("num_steps=1000, seed=42, block_size=16", "num_steps=6, seed=42, block_size=8"),
        ("block_size=block_size)", "block_size=block_size, n_embd=4, n_head=2)"),
        ("range(20)", "range(6)"),
    )
    verdict = Verifier(small()).verify(replace(whole, source=source), ONE_CASE)
    assert verdict.answer == "same", render(verdict)
    assert verdict.cases[0].numbers > 1000


def test_a_pipe_is_no_program_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(InputError, match="a pipe or a device"):
        program(str(tmp_path / "pipe.py"))


def test_an_engine_of_another_package_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "engine_names", lambda: [*engines.BUILT_IN, "other"])
    monkeypatch.setattr(engines, "engine_class", lambda name: None)
    assert program("other").name == "engine other"


@pytest.mark.proof
@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_claims_to_be_exact_is_the_reference_bit_for_bit(
    verifier: Verifier, name: str
) -> None:
    try:
        engines.engine_class(name)
    except engines.MissingPartError as error:
        pytest.skip(f"engine {name}: {error.what}")
    verdict = verifier.verify(engine_program(name), ONE_CASE)
    assert verdict.answer == "same", render(verdict)
    assert verdict.cases[0].numbers > 4000


@pytest.mark.proof
def test_the_original_script_is_the_reference_bit_for_bit(verifier: Verifier) -> None:
    if not SEED_SCRIPT.exists():
        pytest.skip("the original script is not here")
    verdict = verifier.verify(program(str(SEED_SCRIPT)), ONE_CASE)
    assert verdict.answer == "same", render(verdict)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("data", ["cities.txt", "makemore-names.txt", "us-names-2018.txt"])
def test_the_original_script_is_the_reference_over_a_whole_run(data: str) -> None:
    if not SEED_SCRIPT.exists():
        pytest.skip("the original script is not here")
    cases = cases_for([(data, (SHARED / "data" / data).read_bytes())])
    verdict = Verifier(reference_program()).verify(program(str(SEED_SCRIPT)), cases)
    assert verdict.answer == "same", render(verdict)


def test_a_program_that_knows_nothing_of_models_is_compared_by_output_and_final_state() -> None:
    original = Program("squares", "xs = [i * i / 3 for i in range(9)]\nprint(f'{sum(xs):.1f}')\n")
    same = Program(
        "other squares",
        "xs = []\nfor i in range(9):\n    xs.append(i * i / 3)\nprint('%.1f' % sum(xs))\n",
    )
    wrong = Program("wrong", "xs = [i * (i / 3) for i in range(9)]\nprint(f'{sum(xs):.1f}')\n")
    cases = cases_for([("nothing", b"")])
    assert Verifier(original).verify(same, cases).answer == "same"
    verdict = Verifier(original).verify(wrong, cases)
    assert verdict.answer == "different"
    assert verdict.cases[0].difference and verdict.cases[0].difference.ulps in (1, 2)


def test_a_command_is_compared_by_what_it_prints(tmp_path: Path) -> None:
    (tmp_path / "port.py").write_text(small_reference())
    command = command_program(f"{sys.executable} {tmp_path / 'port.py'} {{data}}")
    cases = cases_for([("twelve names", DATA)])
    with pytest.raises(ConfigError, match="two Python programs"):
        Verifier(small()).verify(command, cases)
    files_visible = Verifier(small(), "printed").verify(command, cases)
    assert files_visible.answer == "same", render(files_visible)
    with pytest.raises(InputError, match="there is no command"):
        command_program("no-such-command-anywhere x")


def test_an_original_that_does_not_repeat_itself_is_an_error() -> None:
    random_original = Program("dice", "import random\nprint(random.random())\n")
    with pytest.raises(DataError, match="does not repeat itself"):
        Verifier(random_original).verify(small(), cases_for([("nothing", b"a\n")]))


# ---- Gradients -----------------------------------------------------------------------------------


def test_the_references_gradients_are_derivatives() -> None:
    checked = gradients.check(small(), DATA, count=24)
    assert checked.right, gradients.render(checked)
    assert checked.worst.error < 1e-9  # measured: at most 6e-11


@pytest.mark.parametrize(
    "name",
    [
        "backward by a stack walk",
        pytest.param("partials of mul swapped", marks=pytest.mark.proof),
        pytest.param("power rule forgets the exponent", marks=pytest.mark.proof),
    ],
)
def test_wrong_gradients_are_found_without_another_program(name: str) -> None:
    animal = next(a for a in WRONG if a.name == name)
    wrong = Program(name, changed(small_reference(), *animal.changes))
    assert not gradients.check(wrong, DATA, count=40).right


def test_a_program_without_readable_gradients_is_refused() -> None:
    with pytest.raises(DataError, match="gradients cannot be read"):
        gradients.check(Program("none", "num_steps = 1\nprint('hello')\n"), DATA)


# ---- Form ----------------------------------------------------------------------------------------

TITLE = "# one, the longest of all of them\n"
FORMED = f"{TITLE}\nimport math\n\n# two\ndef f(x):\n    y = x + 1  # three\n    return y\n"


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        (f"{TITLE}\nimport math\n\n# two\ndef f(x):\n    return x + 1  # three\n", ""),
        (
            f"{TITLE}\nimport math\n\n# two\ndef f(x):\n    return x + 1\n",
            "was '# three' and is nothing",
        ),
        (
            f"# two\n\nimport math\n\n{TITLE}def f(x):\n    return x + 1  # three\n",
            "comment 1 of 3",
        ),
        (
            f"{TITLE}import math\n\n\n# two\ndef f(x):\n    return x + 1  # three\n",
            "1 blank lines before '# two' became 2",
        ),
        (
            f"{TITLE}\nimport math\n\n# two\ndef f(x):\n  return x + 1  # three\n",
            "indented by '  '",
        ),
        (
            f"{TITLE}\nimport math\n\n# two\ndef f(x):\n    y = x; return y  # three\n",
            "chained",
        ),
        (
            f"{TITLE}\nimport math\n\n# two\ndef f(x): return x + 1 + 0 + 0 + 0  # three\n",
            "longer",
        ),
        (FORMED, "not fewer"),
    ],
)
def test_form_names_the_rule_that_is_broken(variant: str, says: str) -> None:
    found = form.check(FORMED, variant)
    assert (found.broken == []) == (says == "")
    assert says in form.render(found)


def test_sizes_count_what_they_say() -> None:
    size = form.size_of('"""Doc\nstring."""\n\nx = (1 +\n     2)  # sum\ny = "é"\n')
    assert (size.lines, size.code_lines, size.bytes) == (6, 3, 52)
    assert size.tokens == 11  # x = ( 1 + 2 ) y = "é", and the docstring


# ---- Errors --------------------------------------------------------------------------------------

NODE = """/tmp/port.js:1
throw new TypeError("no names")
^

TypeError: no names
    at Object.<anonymous> (/tmp/port.js:1:7)

Node.js v20.1.0
"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "x.py", line 1, in <module>
  | ExceptionGroup: two things (2 sub-exceptions)
  +-+---------------- 1 ----------------
"""
CHAINED = """Traceback (most recent call last):
  File "x.py", line 1, in <module>
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "x.py", line 3, in <module>
    raise pkg.BadError("the list is empty")
pkg.BadError: the list is empty
  where: x.txt
fix: a list of names
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("\n \n", ""),
        (CHAINED, "pkg.BadError: the list is empty"),
        (NODE, "TypeError: no names"),
        (GROUP, "ExceptionGroup: two things (2 sub-exceptions)"),
        ("  File 'x.py', line 1\n    x x\nSyntaxError: invalid\n", "SyntaxError: invalid"),
        ("x.py:1: UserWarning: old\n", "x.py:1: UserWarning: old"),
        ("x.py:1: UserWarning: old\nport: no input\ntry --help\n", "port: no input"),
    ],
)
def test_the_line_of_an_error_that_is_shown_names_the_exception(text: str, line: str) -> None:
    assert error_line(text) == line


def test_a_failed_variant_shows_its_exception_and_keeps_all_of_stderr() -> None:
    source = "raise ValueError('first line\\nsecond line\\nthird line')\n"
    verdict = Verifier(small()).verify(Program("fails", source), cases_for([("names", DATA)]))
    assert "the variant exited 1: ValueError: first line\n" in render(verdict)
    assert "--report FILE keeps all" in render(verdict)
    stderr = verdict.to_dict()["cases"][0]["stderr"]
    assert stderr.startswith("Traceback") and stderr.endswith("third line\n")


# ---- The command ---------------------------------------------------------------------------------


def test_the_command_says_same_and_different_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.py").write_text(small_reference())
    (tmp_path / "two.py").write_text(changed(small_reference(), *STACK_WALK))
    (tmp_path / "data.txt").write_bytes(DATA)
    flags = [
        "--original",
        str(tmp_path / "one.py"),
        "--data",
        str(tmp_path / "data.txt"),
        "--steps",
        "3",
    ]
    assert main(["verify", str(tmp_path / "one.py"), *flags, "--seeds", "42,7"]) == 0
    assert "the same on 2 cases" in capsys.readouterr().out
    report = tmp_path / "report.json"
    assert (
        main(["verify", str(tmp_path / "two.py"), *flags, "--json", "--report", str(report)]) == 1
    )
    told = json.loads(capsys.readouterr().out)
    assert told["answer"] == "different"
    assert told["cases"][0]["difference"]["what"] == "gradients"
    assert json.loads(report.read_text())[0] == told
    written = ["verify", str(tmp_path / "one.py"), *flags, "--report"]
    assert (
        main([*written, str(report)]) == 0 and json.loads(report.read_text())[0]["answer"] == "same"
    )
    assert (
        main([*written, str(tmp_path / "data.txt")]) == 73
        and (tmp_path / "data.txt").read_bytes() == DATA
    )
    assert main([*written, str(tmp_path / "none" / "report.json")]) == 73
    for wrong in (["--steps", "0"], ["--ulps", "-1", "--level", "ulp"], ["--fresh", "-1"]):
        assert main(["verify", str(tmp_path / "one.py"), *wrong]) == 2
    assert main(["verify", str(tmp_path / "two.py"), *flags, "--gradients"]) == 1
    assert main(["verify", str(tmp_path / "none.py"), *flags]) == 66
    assert main(["verify"]) == 2


NO_PROGRAMS = {
    "names.txt": "emma\nolivia\nanne-marie\n",
    "cities.txt": "San Jose\nLos Angeles\n",
    "model.d.ts": "export declare function sample(n: number): string[];\n",
    "broken.py": "def x(:\n    pass\n",
    "deep.py": "-" * 200_000 + "1",
    "empty.py": "# nothing\n",
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", NO_PROGRAMS)
def test_what_is_no_program_is_refused_before_anything_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    level: str,
) -> None:
    monkeypatch.setattr(Program, "run", lambda *_: pytest.fail("a program was run"))
    path = tmp_path / name
    path.write_text(NO_PROGRAMS[name])
    for words in ([str(path)], ["scalar", "--original", str(path)]):
        assert main(["verify", *words, "--level", level]) == 65
        told = capsys.readouterr()
        assert (
            "this is not a Python program" in told.err and f"where: {quote(str(path))}" in told.err
        )
        assert told.out == "" and "minutes" not in told.err


def test_what_cannot_be_run_as_wanted_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Program, "run", lambda *_: pytest.fail("a program was run"))
    path = tmp_path / "stepless.py"
    path.write_text("print('no number of steps here')\n")
    assert main(["verify", str(path), "--steps", "3"]) == 65
    for flag in ("--seconds", "--memory"):
        for value in ("nan", "0", "-1", "inf"):
            assert main(["verify", str(path), f"{flag}={value}"]) == 2


def test_a_run_over_all_steps_of_the_reference_is_announced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        Verifier,
        "verify",
        lambda self, variant, _: Verdict("reference.py", variant.name, "bits", 0, []),
    )
    path = tmp_path / "one.py"
    path.write_text(small_reference())
    for words, count in (
        ([], 1),
        (["--python", sys.executable, "--python", sys.executable], 1),
        (["--steps", "3"], 0),
        (["--original", str(path)], 0),
        (["-q"], 0),
    ):
        assert main(["verify", str(path), *words]) == 0
        told = capsys.readouterr()
        assert told.err.count("minutes") == count, words
        assert "minutes" not in told.out


def test_verify_imports_nothing_heavy() -> None:
    program = (
        "import sys, microgpt.commands.verify\n"
        "print(sorted({'libcst', 'numpy', 'schedule'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_a_limit_of_time_is_reported_as_such() -> None:
    slow = Program("slow", "import time\ntime.sleep(9)\n", limits=Limits(seconds=0.5))
    recording = slow.run(Settings(b""), 0, None)
    assert recording.outcome.failure == "was ended: over its limit of time"
