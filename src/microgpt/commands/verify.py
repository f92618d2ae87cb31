"""Check that a program, an engine or a model file computes the same as the reference."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from .. import corpus, files
from ..config import check_range
from ..errors import ConfigError
from ..face import Face
from ..journey import form
from ..verify import exported, gradients, programs
from ..verify.cases import cases_for
from ..verify.programs import Program
from ..verify.sandbox import Limits
from ..verify.verdict import Verdict, render
from ..verify.verifier import Verifier
from . import NO
from ._arguments import force_option

EXAMPLES = """\
  microgpt verify shorter.py                   compare every loss, weight and line of output
  microgpt verify shorter.py --steps 20        a quick look: 20 steps instead of 1,000
  microgpt verify shorter.py --original mine.py --data words.txt --seeds 42,7
  microgpt verify exact --steps 50             an engine
  microgpt verify --cmd 'node port.js' --level samples
  microgpt verify names.safetensors            train again: are the weights the same?
  microgpt verify names.html --original names.safetensors
  microgpt verify shorter.py --form --gradients
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt verify`."""
    _program_options(parser)
    _case_options(parser)
    _comparison_options(parser)
    add = parser.add_argument
    add(
        "--seconds",
        type=float,
        default=3600.0,
        metavar="S",
        help="Stop a run after S seconds of wall time. [default: %(default)g]",
    )
    add(
        "--memory",
        type=float,
        default=4.0,
        metavar="GB",
        help="Stop a run that needs more memory. [default: %(default)g]",
    )
    add("--report", metavar="FILE", help="Also write the verdict as JSON to FILE.")
    force_option(parser)
    add("--json", action="store_true", help="Print the verdict as JSON.")


def _program_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "what",
        nargs="?",
        metavar="WHAT",
        help="A Python program, the name of an engine, a model file or an exported file.",
    )
    add(
        "--cmd",
        metavar="COMMAND",
        help="Run this command instead; {data}, {steps} and {seed} are filled in.",
    )
    add(
        "--original",
        metavar="FILE",
        help="Compare with this program; for an exported file, with this model. "
        "[default: the reference]",
    )
    add(
        "--python",
        action="append",
        metavar="PATH",
        help="Run both programs under this Python; may be repeated. [default: this Python]",
    )


def _case_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--data",
        metavar="FILE",
        action="append",
        help="Use this file as input.txt; may be repeated. [default: built-in first names]",
    )
    add("--steps", type=int, metavar="N", help="Set num_steps to N in both programs.")
    add(
        "--steps-name",
        default="",
        metavar="NAME",
        help="The program's own name for num_steps.",
    )
    add(
        "--seeds",
        default="",
        metavar="A,B",
        help="Run each data file with each of these seeds. [default: the program's seed]",
    )
    add(
        "--fresh",
        type=int,
        default=0,
        metavar="N",
        help="Also run on N data files drawn at random from the first. [default: %(default)s]",
    )
    add(
        "--fresh-seed",
        type=int,
        metavar="N",
        help="Draw the same random data files again. [default: random]",
    )


def _comparison_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--level",
        choices=("bits", "ulp", "printed", "samples"),
        help="What must be equal: every bit; numbers within --ulps; the output; the samples. "
        "[default: bits, with --cmd: printed]",
    )
    add(
        "--ulps",
        type=int,
        default=4,
        metavar="N",
        help="With --level ulp: allow N units in the last place. [default: %(default)s]",
    )
    add("--gradients", action="store_true", help="Check the gradients by finite differences.")
    add("--form", action="store_true", help="Also check that comments and spacing are kept.")


def run(args: Namespace, face: Face) -> int:
    """Print the verdict. Exit code 0: the same in every case that was run. 1: not, or not shown."""
    if bool(args.what) == bool(args.cmd):
        raise ConfigError(
            "verify needs one program: either WHAT or --cmd",
            where="argument WHAT",
            fix="microgpt verify FILE.py",
        )
    if args.report:
        files.require_replaceable(args.report, _is_report, args.force)
    if args.what and exported.is_model(args.what):
        return _verify_model(args, face)
    return _verify_program(args, face)


def _limits(args: Namespace) -> Limits:
    """The limits of each run, after a look at the range of every number."""
    for name in ("steps", "fresh", "ulps"):
        if getattr(args, name) is not None:
            check_range(name, getattr(args, name), True, 1 if name == "steps" else 0, 10**9)
    check_range("seconds", args.seconds, False, 0, 1e6, open_low=True)
    check_range("memory", args.memory, False, 0, 1e6, open_low=True)
    return Limits(seconds=args.seconds, memory=int(args.memory * 2**30))


def _verify_program(args: Namespace, face: Face) -> int:
    limits, data = _limits(args), _data(args.data)
    pythons = args.python or [sys.executable]
    pairs = [(python, *_programs(args, python, limits)) for python in pythons]
    if args.steps is None and not (args.original or args.gradients):
        face.say(
            "running all 1,000 steps of the reference takes minutes; --steps 20 is a quick look"
        )
    reports: list[dict[str, Any]] = []
    right = True
    for python, variant, original in pairs:
        if args.gradients:
            checked = gradients.check(variant, data[0][1])
            _tell(args, face, checked.to_dict(), gradients.render(checked), reports)
            right &= checked.right
            continue
        cases = cases_for(data, _seeds(args.seeds), args.steps, args.fresh, args.fresh_seed)
        level = args.level or ("printed" if args.cmd else "bits")
        verifier = Verifier(original, level, args.ulps if level == "ulp" else 0)
        verdict = verifier.verify(variant, cases)
        report = {"python": python, **verdict.to_dict()}
        _tell(args, face, report, _with_python(verdict, args.python, python), reports)
        right &= verdict.exit_code == 0
    if args.form:
        variant, original = _programs(args, sys.executable, limits)
        kept = form.check(original.source, variant.source)
        _tell(args, face, kept.to_dict(), form.render(kept), reports)
        right &= not kept.broken
    _write_report(args, reports)
    return 0 if right else NO


def _verify_model(args: Namespace, face: Face) -> int:
    """A model file: there is no program to run with other steps, seeds or Pythons."""
    for name in ("steps", "steps_name", "seeds", "fresh", "python", "gradients", "form"):
        if getattr(args, name):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{flag} is for programs, not for model files", where=f"option {flag}"
            )
    if args.level not in (None, "bits"):
        raise ConfigError(
            "a model file is compared at level bits",
            where="option --level",
            fix="leave --level out",
        )
    verdict = exported.verify(args.what, args.original, args.data)
    reports: list[dict[str, Any]] = []
    _tell(args, face, verdict.to_dict(), render(verdict), reports)
    _write_report(args, reports)
    return verdict.exit_code


def _is_report(start: bytes) -> bool:
    return start.startswith(
        tuple(b'[\n {\n  "%s": ' % first for first in (b"python", b"original", b"program"))
    )


def _write_report(args: Namespace, reports: list[dict[str, Any]]) -> None:
    if args.report:
        files.save(args.report, (json.dumps(reports, indent=1) + "\n").encode())


def _programs(args: Namespace, python: str, limits: Limits) -> tuple[Program, Program]:
    """The variant and the original."""
    if args.cmd:
        variant = programs.command_program(args.cmd, limits)
    else:
        variant = programs.program(args.what, python, args.steps_name, limits)
    if args.original:
        return variant, programs.python_program(args.original, python, limits=limits)
    return variant, programs.reference_program(python, limits)


def _data(paths: list[str] | None) -> list[tuple[str, bytes]]:
    if paths:
        return [(path, files.read(path)) for path in paths]
    return [(corpus.BUILTIN, "\n".join(corpus.builtin().documents).encode() + b"\n")]


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError as error:
        raise ConfigError(
            f"seeds are whole numbers, not {text!r}", where="option --seeds", fix="--seeds 42,7"
        ) from error


def _with_python(verdict: Verdict, pythons: list[str] | None, python: str) -> str:
    return (f"{python}: " if pythons else "") + render(verdict)


def _tell(
    args: Namespace, face: Face, report: dict[str, Any], text: str, reports: list[dict[str, Any]]
) -> None:
    """Print a report as text or JSON, and keep it for --report."""
    reports.append(report)
    face.data(json.dumps(report) if args.json else text.rstrip("\n"))
