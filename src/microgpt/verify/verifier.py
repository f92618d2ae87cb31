"""Is a program the same as another? Runs both on several cases and compares what they compute.

This keeps promise R30: the answer is "the same on N cases", never "proved". Each side runs twice
in different surroundings. A program whose two runs differ is called nondeterministic, not
different. Every run is contained (sandbox.py), and neither side can see what the other computed.
The numbers are read inside the program's own process: a program written to deceive the probe can
do so.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..errors import ConfigError, DataError
from .cases import Case, Settings
from .compare import LEVELS, compare, samples_of, tracked_variables
from .programs import Interest, Program
from .recording import MOMENT_NAMES, PARAMETER_NAMES, Recording
from .sandbox import EVERY_GUARD
from .verdict import CaseResult, Verdict


class Verifier:
    """Compares variants with one original. The original runs once for each case."""

    def __init__(self, original: Program, level: str = "bits", ulps: int = 0) -> None:
        """Level: one of LEVELS. ulps: how far apart two numbers may be at level `ulp`."""
        if level not in LEVELS:
            raise ConfigError(
                f"there is no level {level!r}",
                where="option --level",
                fix=f"one of {', '.join(LEVELS)}",
            )
        self.original, self.level, self.ulps = original, level, ulps
        self._reads_numbers = level in ("bits", "ulp")
        self._original_runs: dict[Settings, Recording] = {}

    def verify(self, variant: Program, cases: Sequence[Case]) -> Verdict:
        """Run the cases one after the other until one is not the same.

        Raises ConfigError for a level that a command cannot be compared at, and DataError where the
        original fails or does not repeat itself. What the variant does is in the verdict.
        """
        if self._reads_numbers and not (variant.source and self.original.source):
            raise ConfigError(
                f"level {self.level} needs two Python programs: a command shows only its output",
                where="option --level",
                fix="--level printed or --level samples",
            )
        verdict = Verdict(self.original.name, variant.name, self.level, self.ulps, [])
        for case in cases if variant.source else ():
            variant.prepared(case.settings)  # refuse before the original runs
        for case in cases:
            original_run = self._original_run(case)
            runs = _run_twice(variant, case.settings, self._interest(original_run))
            verdict.cases.append(self._result(case, original_run, runs))
            guards = runs[0].outcome.guards
            verdict.missing_guards = tuple(g for g in EVERY_GUARD if g not in guards)
            if verdict.answer != "same":
                break
        return verdict

    def _interest(self, original_run: Recording) -> Interest | None:
        """Which of the variant's variables are read; None where only its output is compared."""
        if not self._reads_numbers:
            return None
        tracked = tracked_variables(original_run)
        lengths: tuple[int, ...] = ()
        if tracked:  # a variant's parameters are known by their number, whatever their name
            key, _ = tracked["parameters"]
            lengths = (len(original_run.states[key][-1].raw) // 8,)
        return Interest((*PARAMETER_NAMES, *MOMENT_NAMES), lengths, not tracked)

    def _result(
        self, case: Case, original_run: Recording, runs: tuple[Recording, Recording]
    ) -> CaseResult:
        seconds = (original_run.outcome.seconds, runs[0].outcome.seconds)
        result = CaseResult(str(case), "same", seconds=seconds)
        failed = next((run.outcome for run in runs if run.outcome.failure), None)
        if failed:
            result.answer, result.explanation = "failed", f"the variant {failed.failure}"
            result.stderr = failed.stderr.decode(errors="replace")
            if failed.survivors:
                result.explanation += f"; {failed.survivors} of its processes could not be ended"
            return result
        compared = compare(original_run, runs[0], self.level, self.ulps)
        result.notes, result.numbers = compared.notes, compared.numbers
        result.difference = compared.difference
        if self._fingerprint(runs[0]) != self._fingerprint(runs[1]):
            result.answer = "nondeterministic"
            result.explanation = "two runs of the variant differ from each other"
            result.difference = compare(*runs, self.level).difference or result.difference
        elif self._reads_numbers and not runs[0].complete:
            result.answer, result.explanation = "failed", "the variant's record broke off"
        elif compared.difference:
            result.answer = "different"
        elif self.level == "samples" and not samples_of(original_run.outcome.stdout):
            result.answer = "failed"
            result.explanation = "the original prints no line that begins with 'sample '"
        return result

    def _original_run(self, case: Case) -> Recording:
        if case.settings not in self._original_runs:
            names = (*PARAMETER_NAMES, *MOMENT_NAMES)
            interest = Interest(names, (), True) if self._reads_numbers else None
            runs = _run_twice(self.original, case.settings, interest)
            where = f"{self.original.name}, {case}"
            for run in runs:
                if run.outcome.failure:
                    raise DataError(f"the original {run.outcome.failure}", where=where)
            if self._fingerprint(runs[0]) != self._fingerprint(runs[1]):
                raise DataError(
                    "the original does not repeat itself: two of its runs differ",
                    where=where,
                    fix="fix its seed, and let nothing depend on hash order or time",
                )
            self._original_runs[case.settings] = runs[0]
        return self._original_runs[case.settings]

    def _fingerprint(self, run: Recording) -> object:
        """What must be equal in two runs of one program."""
        if self.level == "samples":
            return samples_of(run.outcome.stdout)
        return run.outcome.stdout if self.level == "printed" else run.fingerprint()


def _run_twice(
    program: Program, settings: Settings, interest: Interest | None
) -> tuple[Recording, Recording]:
    """Two runs at a time, each in its own surroundings."""
    if program.source:
        program.prepared(settings)  # refuse before anything runs
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda i: program.run(settings, i, interest), (0, 1))
    return first, second
