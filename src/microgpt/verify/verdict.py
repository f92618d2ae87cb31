"""What a verification found: a result for each case, the answer over all of them, and its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import counted, visible
from .compare import Difference

Answer = Literal["same", "different", "nondeterministic", "failed", "not comparable"]
_EXPLAINED = {
    "bits": "every bit of losses, parameters and output",
    "ulp": "every number within {ulps} units in the last place",
    "printed": "standard output, byte by byte",
    "samples": "the samples",
}
_CONCLUSION = {
    "different": "not the same",
    "failed": "not shown to be the same",
    "nondeterministic": "nondeterministic",
    "not comparable": "not comparable bit for bit",
}


@dataclass
class CaseResult:
    """What one case showed."""

    case: str
    answer: Answer
    difference: Difference | None = None
    explanation: str = ""
    notes: list[str] = field(default_factory=list)  # what could not be compared
    numbers: int = 0  # how many float64 were compared
    seconds: tuple[float, float] = (0.0, 0.0)  # of the original's and the variant's first run
    stderr: str = ""  # where the variant failed: all that it wrote to standard error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        difference = self.difference.to_dict() if self.difference else None
        return {**self.__dict__, "difference": difference}


@dataclass
class Verdict:
    """The answer over all cases: that of the first case that is not "same"."""

    original: str
    variant: str
    level: str
    ulps: int
    cases: list[CaseResult]
    missing_guards: tuple[str, ...] = ()  # of the cage: what this system does not grant
    compares: str = ""  # in words, where it is not what the level says of programs

    @property
    def answer(self) -> Answer:
        """One word for all cases."""
        return next((case.answer for case in self.cases if case.answer != "same"), "same")

    @property
    def exit_code(self) -> int:
        """0: the same. 1: not the same, or not shown to be."""
        return 0 if self.answer == "same" else 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        cases = [case.to_dict() for case in self.cases]
        return {**self.__dict__, "answer": self.answer, "cases": cases}


def render(verdict: Verdict) -> str:
    """A verdict for people."""
    compares = verdict.compares or _EXPLAINED[verdict.level].format(ulps=verdict.ulps)
    lines = [f"{verdict.variant} against {verdict.original}, level {verdict.level} ({compares})"]
    for case in verdict.cases:
        compared = f", {counted(case.numbers, 'number')} compared" if case.numbers else ""
        lines.append(f"  {case.answer:9}  {case.case}{compared}")
        lines += [f"             {note}" for note in case.notes]
        lines += [f"    {case.explanation}"] if case.explanation else []
        difference = str(case.difference).splitlines() if case.difference else []
        lines += [f"    {line}" for line in difference]
        if case.stderr.count("\n") > 1:
            lines.append("    --report FILE keeps all that it wrote to standard error")
    if verdict.missing_guards:
        lines.append(f"  this system grants no guard for: {', '.join(verdict.missing_guards)}")
    if verdict.answer == "same":
        count = len(verdict.cases)
        lines.append(f"the same on {count} case{'s' * (count != 1)}")
    else:
        lines.append(_CONCLUSION[verdict.answer])
    # The names and the text come from files and programs, which may try to write to the terminal.
    return "".join(f"{visible(line)}\n" for text in lines for line in text.split("\n"))
