"""Is a program the same as another? Runs both on several cases and compares what they compute (promise R30).

It says "the same on N cases", never "proved". Each side runs twice in varied surroundings, so that a program that
does not repeat itself is called that, and not different. What it runs is contained (sandbox.py) and cannot see what
the other side computed; a program written to deceive the probe inside its own process is not what this is for.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import ConfigError, DataError
from .compare import LEVELS, Difference, compare, roles, samples_of
from .programs import Interest, Program, Settings
from .recording import MOMENT_NAMES, PARAMETER_NAMES, Recording
from .sandbox import EVERY_GUARD

Answer = Literal["same", "different", "nondeterministic", "failed", "not comparable"]


@dataclass(frozen=True)
class Case:
    """A data set (its name and bytes), seed and number of steps; None: as the program says."""

    name: str
    settings: Settings

    def __str__(self) -> str:
        parts = [self.name]
        if self.settings.seed is not None:
            parts.append(f"seed {self.settings.seed}")
        parts.append("all steps" if self.settings.steps is None else f"{self.settings.steps} steps")
        return ", ".join(parts)


@dataclass
class CaseResult:
    """What one case showed. numbers: how many float64 were compared; seconds: of each side's first run."""

    case: str
    answer: Answer
    difference: Difference | None = None
    explanation: str = ""
    notes: list[str] = field(default_factory=list)
    numbers: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **self.__dict__,
            "difference": self.difference.to_dict() if self.difference else None,
        }


@dataclass
class Verdict:
    """The answer over all cases: that of the first case that is not "same"."""

    original: str
    variant: str
    level: str
    ulps: int
    cases: list[CaseResult]
    missing_guards: tuple[str, ...] = ()
    compares: str = ""  # in words, where it is not what the level says of programs

    @property
    def answer(self) -> Answer:
        """One word for all cases."""
        return next((case.answer for case in self.cases if case.answer != "same"), "same")

    @property
    def exit_code(self) -> int:
        """0 the same, 1 not or not shown to be."""
        return 0 if self.answer == "same" else 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        cases = [case.to_dict() for case in self.cases]
        return {**self.__dict__, "answer": self.answer, "cases": cases}


def cases_for(
    data: Sequence[tuple[str, bytes]],
    seeds: Sequence[int] = (),
    steps: int | None = None,
    fresh: int = 0,
    fresh_seed: int | None = None,
) -> list[Case]:
    """Every data set with every seed, and `fresh` data sets drawn at random from the lines of the first.

    A fresh case is one that nobody can have prepared for; its name says how to draw it again.
    """
    if fresh:
        first = fresh_seed if fresh_seed is not None else secrets.randbelow(1_000_000)
        data = [*data, *(_fresh(*data[0], first + i) for i in range(fresh))]
    wanted: Sequence[int | None] = list(seeds) or [None]
    return [Case(name, Settings(content, seed, steps)) for name, content in data for seed in wanted]


def _fresh(name: str, content: bytes, seed: int) -> tuple[str, bytes]:
    lines = content.splitlines()
    rng = random.Random(seed)
    drawn = rng.sample(lines, min(len(lines), 200))
    return f"200 lines of {name} drawn with --fresh-seed {seed}", b"\n".join(drawn) + b"\n"


class Verifier:
    """Compares variants with one original; remembers the original's runs from one variant to the next."""

    def __init__(
        self, original: Program, level: str = "bits", ulps: int = 0, state: tuple[str, ...] = ()
    ) -> None:
        if level not in LEVELS:
            raise ConfigError(
                f"there is no level {level!r}",
                where="option --level",
                fix=f"one of {', '.join(LEVELS)}",
            )
        self.original, self.level, self.ulps = original, level, ulps
        self._names = state or PARAMETER_NAMES
        self._known: dict[Settings, Recording] = {}

    def verify(self, variant: Program, cases: Sequence[Case]) -> Verdict:
        """Runs the cases one after the other until one is not the same."""
        if self.level in ("bits", "ulp") and not (variant.source and self.original.source):
            raise ConfigError(
                f"level {self.level} needs two Python programs: a command shows only what it prints",
                where="option --level",
                fix="--level printed or --level samples",
            )
        verdict = Verdict(self.original.name, variant.name, self.level, self.ulps, [])
        for case in cases if variant.source else ():
            variant.prepared(case.settings)  # refuse before the original runs
        for case in cases:
            result, guards = self._case(variant, case)
            verdict.cases.append(result)
            verdict.missing_guards = tuple(g for g in EVERY_GUARD if g not in guards)
            if result.answer != "same":
                break
        return verdict

    def _case(self, variant: Program, case: Case) -> tuple[CaseResult, tuple[str, ...]]:
        watch = self.level in ("bits", "ulp")
        first = self._original(case, watch)
        interest = (
            Interest(
                (*self._names, *MOMENT_NAMES),
                _lengths(first, self._names),
                not roles(first, self._names),
            )
            if watch
            else None
        )
        one, two = _twice(variant, case.settings, interest)
        result = CaseResult(str(case), "same", seconds=(first.outcome.seconds, one.outcome.seconds))
        failed = next((run for run in (one, two) if run.outcome.failure), None)
        if failed:
            result.answer, result.explanation = "failed", f"the variant {failed.outcome.failure}"
            if failed.outcome.survivors:
                result.explanation += (
                    f"; {failed.outcome.survivors} of its processes could not be ended"
                )
            return result, one.outcome.guards
        compared = compare(first, one, self.level, self.ulps)
        result.notes, result.numbers, result.difference = (
            compared.notes,
            compared.numbers,
            compared.difference,
        )
        if _fingerprint(one, self.level) != _fingerprint(two, self.level):
            result.answer, result.explanation = (
                "nondeterministic",
                "two runs of the variant differ from each other",
            )
            result.difference = compare(one, two, self.level).difference or result.difference
        elif watch and not one.complete:
            result.answer, result.explanation = "failed", "the variant's record broke off"
        elif compared.difference:
            result.answer = "different"
        elif self.level == "samples" and not samples_of(first.outcome.stdout):
            result.answer, result.explanation = (
                "failed",
                "the original prints no line that begins with 'sample '",
            )
        return result, one.outcome.guards

    def _original(self, case: Case, watch: bool) -> Recording:
        if case.settings not in self._known:
            interest = Interest((*self._names, *MOMENT_NAMES), (), True) if watch else None
            one, two = _twice(self.original, case.settings, interest)
            for recording in (one, two):
                if recording.outcome.failure:
                    raise DataError(
                        f"the original {recording.outcome.failure}",
                        where=f"{self.original.name}, {case}",
                    )
            if _fingerprint(one, self.level) != _fingerprint(two, self.level):
                raise DataError(
                    "the original does not repeat itself: two of its runs differ",
                    where=f"{self.original.name}, {case}",
                    fix="fix its seed, and let nothing depend on hash order or time",
                )
            self._known[case.settings] = one
        return self._known[case.settings]


def _twice(
    program: Program, settings: Settings, interest: Interest | None
) -> tuple[Recording, Recording]:
    """Two runs at a time, each in its own surroundings."""
    if program.source:
        program.prepared(settings)  # refuse before anything runs
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda variation: program.run(settings, variation, interest), (0, 1))
    return one, two


def _fingerprint(recording: Recording, level: str) -> object:
    if level == "samples":
        return samples_of(recording.outcome.stdout)
    return recording.outcome.stdout if level == "printed" else recording.fingerprint()


def _lengths(original: Recording, names: tuple[str, ...]) -> tuple[int, ...]:
    """How many parameters the original has: what a variant's state is recognised by, whatever its name."""
    found = roles(original, names)
    return (len(original.states[found["parameters"][0]][-1].raw) // 8,) if found else ()


# ---- Text ----------------------------------------------------------------------------------------

_LEVEL_SAYS = {
    "bits": "every bit of losses, parameters and output",
    "ulp": "every number within {ulps} units in the last place",
    "printed": "standard output, byte by byte",
    "samples": "the samples",
}


def render(verdict: Verdict) -> str:
    """A verdict for people."""
    says = verdict.compares or _LEVEL_SAYS[verdict.level].format(ulps=verdict.ulps)
    lines = [f"{verdict.variant} against {verdict.original}, level {verdict.level} ({says})"]
    for case in verdict.cases:
        compared = f", {case.numbers:,} numbers compared" if case.numbers else ""
        lines.append(f"  {case.answer:9}  {case.case}{compared}")
        lines += [f"             {note}" for note in case.notes]
        lines += [f"    {case.explanation}"] if case.explanation else []
        lines += (
            [f"    {line}" for line in str(case.difference).splitlines()] if case.difference else []
        )
    if verdict.missing_guards:
        lines.append(f"  this system grants no guard for: {', '.join(verdict.missing_guards)}")
    count = len(verdict.cases)
    if verdict.answer == "same":
        lines.append(f"the same on {count} case{'s' * (count != 1)}")
    else:
        lines.append(
            {"different": "not the same", "failed": "not shown to be the same"}.get(
                verdict.answer, verdict.answer
            )
        )
    return "\n".join(lines) + "\n"
