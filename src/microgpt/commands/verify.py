"""`microgpt verify`: is a program the same as another?"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from .. import corpus, files
from ..config import check_range
from ..errors import ConfigError
from ..journey import form
from ..verify import exported, gradients, programs
from ..verify.cases import cases_for
from ..verify.programs import Program
from ..verify.sandbox import Limits
from ..verify.verdict import Verdict, render
from ..verify.verifier import Verifier
from . import Face


def verify(args: Namespace, face: Face) -> int:
    """Exit code 0: the same on every case looked at. 1: not, or not shown to be."""
    if bool(args.what) == bool(args.cmd):
        raise ConfigError(
            "one program is needed: WHAT or --cmd",
            where="argument WHAT",
            fix="microgpt verify FILE.py",
        )
    if args.report:
        files.require_replaceable(args.report, _is_report, args.force)
    if args.what and exported.is_model(args.what):
        return _verify_model(args, face)
    for name in ("steps", "fresh", "ulps"):
        if getattr(args, name) is not None:
            check_range(name, getattr(args, name), True, 1 if name == "steps" else 0, 10**9)
    check_range("seconds", args.seconds, False, 0, 1e6, open_low=True)
    check_range("memory", args.memory, False, 0, 1e6, open_low=True)
    limits = Limits(seconds=args.seconds, memory=int(args.memory * 2**30))
    data = _data(args.data)
    reports: list[dict[str, Any]] = []
    right = True
    pairs = [
        (python, *_programs(args, python, limits)) for python in args.python or [sys.executable]
    ]
    if args.steps is None and not (args.original or args.gradients):
        face.say(
            "the reference runs all its 1,000 steps, which takes minutes; --steps 20 is a quick look"
        )
    for python, variant, original in pairs:
        if args.gradients:
            checked = gradients.check(variant, data[0][1])
            _tell(args, face, checked.to_dict(), gradients.render(checked), reports)
            right &= checked.right
            continue
        cases = cases_for(data, _seeds(args.seeds), args.steps, args.fresh, args.fresh_seed)
        level = args.level or ("printed" if args.cmd else "bits")
        verdict = Verifier(original, level, args.ulps if level == "ulp" else 0).verify(
            variant, cases
        )
        _tell(
            args,
            face,
            {"python": python, **verdict.to_dict()},
            _with_python(verdict, args.python, python),
            reports,
        )
        right &= verdict.exit_code == 0
    if args.form:
        variant, original = _programs(args, sys.executable, limits)
        kept = form.check(original.source, variant.source)
        _tell(args, face, kept.to_dict(), form.render(kept), reports)
        right &= not kept.broken
    _write_report(args, reports)
    return 0 if right else 1


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
    args: Namespace, face: Face, found: dict[str, Any], text: str, reports: list[dict[str, Any]]
) -> None:
    reports.append(found)
    face.data(json.dumps(found) if args.json else text.rstrip("\n"))
