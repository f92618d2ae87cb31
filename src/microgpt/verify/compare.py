"""Two recordings side by side: the first number, or the first byte, in which they differ.

The levels, from strongest to weakest: at `bits` every number must be equal in every bit. At `ulp`
it may be some units in the last place apart. At `printed` stdout must be equal byte by byte, and
at `samples` only the generated documents. No level says anything beyond the runs compared.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

from .floats import first_apart, number_at, show, ulps_apart
from .recording import MOMENT_NAMES, PARAMETER_NAMES, Recording, State, place_in

LEVELS = ("bits", "ulp", "printed", "samples")  # strongest first
# Within one step, in the order in which a step computes them.
_WITHIN_STEP = ("reading", "losses", "gradients", "m", "v", "parameters")


@dataclass(frozen=True)
class Difference:
    """The first place where two runs differ.

    what: losses, gradients, m, v, parameters, stdout, stderr or samples; "reading" where the
    variant's numbers cannot be read; the variable's name where only final values are compared.
    step: counts from 1, as printed; 0 is before the first; None where no step is known. row and
    column: of the tensor, from 0. For stdout, stderr and samples, row is the line, from 0.
    """

    what: str
    where: str
    original: str
    variant: str
    step: int | None = None
    tensor: str = ""
    row: int = 0
    column: int = 0
    ulps: int | None = None
    agree: str = ""  # a sentence: what agreed until then

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [self.agree] if self.agree else []
        lines += [f"first difference: {self.where}"]
        lines += [f"  original  {self.original}", f"  variant   {self.variant}"]
        if self.ulps is not None:
            lines.append(f"  apart by  {self.ulps:,} units in the last place")
        return "\n".join(lines)


@dataclass
class Comparison:
    """How two runs compare at one level."""

    difference: Difference | None  # None: the runs are the same at that level
    notes: list[str]  # what could not be compared
    numbers: int  # how many float64 were compared


def compare(original: Recording, variant: Recording, level: str, ulps: int = 0) -> Comparison:
    """The first difference of two finished runs, in the order in which a step computes its numbers.

    ulps: how far apart two numbers may be at level `ulp`; the other levels ignore it.
    """
    if level in ("printed", "samples"):
        return Comparison(_output_difference(original, variant, level), [], 0)
    ulps = ulps if level == "ulp" else 0
    formatted = _compare_formatted(original, variant, ulps)
    states = _compare_states(original, variant, ulps)
    notes, count = formatted.notes + states.notes, formatted.count + states.count
    differences = sorted(formatted.differences + states.differences, key=_moment)
    if differences:
        return Comparison(_with_agreement(differences[0]), notes, count)
    if level == "ulp":
        return Comparison(None, notes, count)
    difference = _output_difference(original, variant, "printed")
    if not difference and original.outcome.stderr != variant.outcome.stderr:
        difference = _text_difference("stderr", original.outcome.stderr, variant.outcome.stderr)
    return Comparison(difference, notes, count)


@dataclass
class _Findings:
    """What one part of the comparison found."""

    differences: list[Difference]
    notes: list[str]
    count: int  # of float64 compared


def _moment(difference: Difference) -> tuple[float, int]:
    """When a difference happens: its step (unknown ones last), and its place within the step."""
    known = difference.what in _WITHIN_STEP
    place = _WITHIN_STEP.index(difference.what) if known else len(_WITHIN_STEP)
    return (float("inf") if difference.step is None else difference.step), place


def _with_agreement(first: Difference) -> Difference:
    """The difference with a sentence that says how far the two runs agree."""
    if first.step is None or first.what in ("reading", "losses"):
        last = (first.step or 0) - 1
        agree = f"the losses up to step {last} agree" if last > 0 else ""
    elif first.step == 0:
        agree = "the runs differ before the first step"
    else:
        agree = f"the losses up to step {first.step} agree, "
        agree += f"the {first.what} of step {first.step} do not"
    return replace(first, agree=agree)


# ---- Formatted numbers: the losses ---------------------------------------------------------------


def _compare_formatted(original: Recording, variant: Recording, ulps: int) -> _Findings:
    """The floats that the programs format, in order. A program formats each loss to print it."""
    expected, actual = original.numbers, variant.numbers
    for i, ((line, a), (_, b)) in enumerate(zip(expected, actual, strict=False)):
        apart = ulps_apart(a, b)
        if apart > ulps:
            step = original.step_at(line)
            what = "losses" if step is not None else "formatted numbers"
            where = f"formatted number {i}, line {line + 1}"
            where = f"the loss of step {step}" if step is not None else where
            return _Findings([Difference(what, where, show(a), show(b), step, ulps=apart)], [], i)
    if len(expected) != len(actual):
        where = f"the original formats {len(expected)} floats, the variant {len(actual)}"
        fix = "format the loss with an f-string, %, .format, format or round"
        counts = (f"{len(expected)} floats", f"{len(actual)} floats: {fix}")
        return _Findings([Difference("reading", where, *counts)], [], len(expected))
    return _Findings([], [] if expected else ["no formatted floats to compare"], len(expected))


# ---- States of variables -------------------------------------------------------------------------


def tracked_variables(
    original: Recording, names: tuple[str, ...] = PARAMETER_NAMES
) -> dict[str, tuple[str, bool]]:
    """What is compared: role -> (the original's variable, whether it is read at backward passes).

    The roles are gradients, m, v (Adam's moments) and parameters; the first three only where the
    original has them. Empty where the original has no parameters of a known name.
    """
    key = original.key_of(names)
    if not key:
        return {}
    tracked: dict[str, tuple[str, bool]] = {}
    size = len(original.states[key][-1].raw)
    gradients = key.replace(".data", ".grad")
    if gradients != key and original.sequence(gradients, backward=True):
        tracked["gradients"] = (gradients, True)
    for name in MOMENT_NAMES:
        if any(len(state.raw) == size for state in original.states.get(name, [])):
            tracked[name] = (name, False)
    return {**tracked, "parameters": (key, False)}


def _of_size(states: list[State], size: int) -> list[State]:
    """The states of that many bytes, without a first state of zeros.

    Zeros are a buffer not yet used. Whether it is seen depends on where the program prints.
    """
    chosen = [state for state in states if len(state.raw) == size]
    return chosen[1:] if chosen and not any(chosen[0].raw) else chosen


def _compare_states(original: Recording, variant: Recording, ulps: int) -> _Findings:
    tracked = tracked_variables(original)
    if not tracked:
        return _compare_final_states(original, variant, ulps)
    size = len(original.states[tracked["parameters"][0]][-1].raw)
    findings = _Findings([], [], 0)
    for role, (key, backward) in tracked.items():
        expected = _of_size(original.sequence(key, backward=backward), size)
        candidates = {
            name: states
            for name in variant.states
            if (states := _of_size(variant.sequence(name, backward=backward), size))
            and not (backward and name.endswith(".data"))
        }
        difference = _closest(_Role(role, key, expected, size // 8, original, ulps), candidates)
        if difference and (role == "parameters" or difference.what != "reading"):
            findings.differences.append(difference)
        elif difference:
            findings.notes.append(f"the variant's {role} cannot be read: not compared")
        else:
            findings.count += len(expected) * size // 8
    return findings


@dataclass(frozen=True)
class _Role:
    """One variable of the original that some variable of the variant must follow."""

    name: str  # gradients, m, v or parameters
    key: str  # the original's variable
    expected: list[State]
    count: int  # of numbers in each state
    original: Recording
    ulps: int


def _closest(role: _Role, candidates: dict[str, list[State]]) -> Difference | None:
    """None where a candidate went through the expected states; else how the likeliest differs.

    Likeliest is the variable of the same name, else the one that agrees for longest.
    """
    judged = {name: _sequence_difference(role, states) for name, states in candidates.items()}
    if None in judged.values():
        return None
    field = role.key.rpartition(".")[2] if "." in role.key else ""
    group = PARAMETER_NAMES if role.name in ("parameters", "gradients") else (role.name,)
    same_name = [
        name
        for name in judged
        if name.partition(".")[0] in group and (name.rpartition(".")[2] == field or "." not in name)
    ]
    if same_name:
        return judged[role.key] if role.key in same_name else judged[same_name[0]]
    where = f"the {role.name} of the variant"
    if role.name != "parameters":
        return Difference("reading", where, f"variable {role.key}", "no variable of its name")
    if not judged:
        why = "no collection of as many numbers in the program's or main's variables"
        return Difference(
            "reading", where, f"{role.count} numbers", f"{why} when a line is printed"
        )
    return max((d for d in judged.values() if d), key=lambda d: -1 if d.step is None else d.step)


def _sequence_difference(role: _Role, actual: list[State]) -> Difference | None:
    expected = role.expected
    if len(actual) != len(expected) and _is_subsequence(actual, expected):
        return None  # seen at fewer moments, the same at each of them and at the end
    for wanted, state in zip(expected, actual, strict=False):
        index = first_apart(wanted.raw, state.raw, role.ulps)
        if index is not None:
            return _state_difference(role, wanted, state, index)
    if len(actual) != len(expected):
        step = role.original.step_of(expected[-1].line) if expected else None
        where = f"{role.name}: the number of states"
        return Difference(role.name, where, f"{len(expected)}", f"{len(actual)}", step)
    return None


def _is_subsequence(actual: list[State], expected: list[State]) -> bool:
    """Whether these are some of the expected states, in their order, with the last one."""
    if not actual or not expected or actual[-1].raw != expected[-1].raw:
        return False
    remaining = iter(state.raw for state in expected)
    return all(state.raw in remaining for state in actual)  # `in` uses up what it passes


def _state_difference(role: _Role, wanted: State, state: State, index: int) -> Difference:
    a, b = wanted.numbers()[index], state.numbers()[index]
    step = role.original.step_of(wanted.line)
    tensor, row, column = place_in(role.original, role.key, len(wanted.raw) // 8, index)
    if wanted.kind == "end":
        when = "at the end"
    elif step is None:
        when = f"at line {wanted.line + 1}"
    else:
        when = f"of step {step}" if step else "before the first step"
    where = f"the {role.name} {when}: {tensor}, row {row}, column {column}"
    apart = ulps_apart(a, b)
    return Difference(role.name, where, show(a), show(b), step, tensor, row, column, apart)


def _compare_final_states(original: Recording, variant: Recording, ulps: int) -> _Findings:
    """For programs without parameters of a known name: the last values of the number collections.

    Compared are the variables that both programs have under the same name.
    """
    expected, actual = original.final(), variant.final()
    shared = [name for name in expected if name in actual]
    notes = [f"final state compared: {', '.join(shared) or 'none'}"]
    if len(shared) < len(expected):
        absent = ", ".join(name for name in expected if name not in actual)
        notes.append(f"not in the variant: {absent}")
    for name in shared:
        index = first_apart(expected[name], actual[name], ulps)
        if index is not None:
            a, b = number_at(expected[name], index), number_at(actual[name], index)
            apart = ulps_apart(a, b) if a is not None and b is not None else None
            where = f"the final {name}, number {index}"
            difference = Difference(name, where, show(a), show(b), None, name, index, ulps=apart)
            return _Findings([difference], notes, 0)
    return _Findings([], notes, sum(len(expected[name]) // 8 for name in shared))


# ---- Text ----------------------------------------------------------------------------------------


def _output_difference(original: Recording, variant: Recording, level: str) -> Difference | None:
    """The first line of stdout, or of the samples in it, that is not the same byte for byte."""
    expected, actual = original.outcome.stdout, variant.outcome.stdout
    if level == "samples":
        expected, actual = samples_of(expected), samples_of(actual)
    if expected == actual:
        return None
    return _text_difference("samples" if level == "samples" else "stdout", expected, actual)


def samples_of(stdout: bytes) -> bytes:
    r"""The lines that hold generated documents: those that begin with "sample ".

    >>> samples_of(b"step 1\nsample 1: anna\nsample 2: bo\n")
    b'sample 1: anna\nsample 2: bo'
    """
    return b"\n".join(line for line in stdout.split(b"\n") if line.startswith(b"sample "))


def _text_difference(what: str, expected: bytes, actual: bytes) -> Difference:
    """The first line that differs in two texts that are not equal."""
    pairs = zip_longest(expected.split(b"\n"), actual.split(b"\n"))
    number, lines = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
    shown = ["(no such line)" if line is None else repr(line[:120])[1:] for line in lines]
    return Difference(what, f"{what}, line {number + 1}", shown[0], shown[1], row=number)
