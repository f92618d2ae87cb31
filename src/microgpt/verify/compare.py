"""Two recordings side by side: the first number, or the first byte, in which they differ.

`bits` wants every number equal in every bit, `ulp` within some units in the last place, `printed` stdout equal
byte by byte, `samples` only the made-up documents. No level proves anything beyond the runs it looked at.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass
from typing import Any

from .recording import MOMENT_NAMES, PARAMETER_NAMES, Recording, State, place_in

LEVELS = ("bits", "ulp", "printed", "samples")  # strongest first


@dataclass(frozen=True)
class Difference:
    """Where two runs part. what: losses, gradients, m, v, parameters, stdout, stderr, samples or reading.

    step counts from 1, as printed; 0 is before the first. row and column are of the tensor, all counted from 0.
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
    agree: str = ""  # what agreed until then

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = (
            [self.agree, f"first difference: {self.where}"]
            if self.agree
            else [f"first difference: {self.where}"]
        )
        lines += [f"  original  {self.original}", f"  variant   {self.variant}"]
        if self.ulps is not None:
            lines.append(f"  apart by  {self.ulps:,} units in the last place")
        return "\n".join(lines)


@dataclass
class Comparison:
    """difference: None where the runs are the same at that level. notes: what could not be looked at."""

    difference: Difference | None
    notes: list[str]
    numbers: int  # how many numbers were compared


def ordered(number: float) -> int:
    """A float64 as an integer, so that neighbours differ by one; +0 and -0 are neighbours too."""
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits) if bits >= 0 else -(int(bits) & (2**63 - 1)) - 1


def ulps_apart(a: float, b: float) -> int:
    """How many float64 lie between two numbers, plus one; 0 only for the same bits. A NaN is far from all others."""
    if struct.pack("<d", a) == struct.pack("<d", b):
        return 0
    return 2**64 if a != a or b != b else abs(ordered(a) - ordered(b))


def first_apart(original: bytes, variant: bytes, ulps: int) -> int | None:
    """Index of the first float64 that is more than `ulps` apart, None where there is none."""
    if original == variant:
        return None
    one, two = memoryview(original).cast("d"), memoryview(variant).cast("d")
    if len(one) != len(two):
        return min(len(one), len(two))
    return next((i for i in range(len(one)) if ulps_apart(one[i], two[i]) > ulps), None)


def compare(original: Recording, variant: Recording, level: str, ulps: int = 0) -> Comparison:
    """The first difference of two finished runs at a level, in the order in which a step computes things."""
    if level in ("printed", "samples"):
        return Comparison(text_difference(original, variant, level), [], 0)
    ulps = ulps if level == "ulp" else 0
    found, notes, count = _numbers(original, variant, ulps)
    role_found, role_notes, role_count = _states(original, variant, ulps)
    differences = sorted(found + role_found, key=_time)
    text = text_difference(original, variant, "printed") if level == "bits" else None
    if not differences and text:
        return Comparison(text, notes + role_notes, count + role_count)
    if not differences and level == "bits" and original.outcome.stderr != variant.outcome.stderr:
        differences = [_text("stderr", original.outcome.stderr, variant.outcome.stderr)]
    first = _with_agreement(differences[0], differences) if differences else None
    return Comparison(first, notes + role_notes, count + role_count)


_ORDER = ("reading", "losses", "gradients", "m", "v", "parameters")


def _time(difference: Difference) -> tuple[float, int]:
    order = _ORDER.index(difference.what) if difference.what in _ORDER else len(_ORDER)
    return (float("inf") if difference.step is None else difference.step), order


def _with_agreement(first: Difference, differences: list[Difference]) -> Difference:
    """Add the sentence that says how far the two runs went together."""
    if first.step is None or first.what in ("reading", "losses"):
        last = (first.step or 0) - 1
        agree = f"the losses up to step {last} agree" if last > 0 else ""
    elif first.step == 0:
        agree = "the runs part before the first step"
    else:
        agree = f"the losses up to step {first.step} agree, the {first.what} of step {first.step} do not"
    return Difference(**{**first.to_dict(), "agree": agree})


# ---- Numbers that were formatted: the losses ------------------------------------------------------


def _numbers(
    original: Recording, variant: Recording, ulps: int
) -> tuple[list[Difference], list[str], int]:
    one, two = original.numbers, variant.numbers
    for i, ((line, a), (_, b)) in enumerate(zip(one, two, strict=False)):
        apart = ulps_apart(a, b)
        if apart > ulps:
            step = original.step_at(line)
            where = (
                f"the loss of step {step}"
                if step is not None
                else f"formatted number {i}, line {line + 1}"
            )
            what = "losses" if step is not None else "formatted numbers"
            return [Difference(what, where, show(a), show(b), step, ulps=apart)], [], i
    if len(one) != len(two):
        where = f"the original formats {len(one)} floats, the variant {len(two)}"
        fix = "format the loss with an f-string, %, .format, format or round"
        return (
            [Difference("reading", where, f"{len(one)} floats", f"{len(two)} floats: {fix}")],
            [],
            len(one),
        )
    return [], [] if one else ["no formatted floats to compare"], len(one)


# ---- States --------------------------------------------------------------------------------------


def roles(
    recording: Recording, names: tuple[str, ...] = PARAMETER_NAMES
) -> dict[str, tuple[str, bool]]:
    """Role -> (variable, whether it is read at backward passes) in the original."""
    found: dict[str, tuple[str, bool]] = {}
    key = recording.key_of(names)
    if not key:
        return found
    count = len(recording.states[key][-1].raw)
    gradients = key.replace(".data", ".grad")
    if gradients != key and recording.sequence(gradients, backward=True):
        found["gradients"] = (gradients, True)
    for name in MOMENT_NAMES:
        if any(len(s.raw) == count for s in recording.states.get(name, [])):
            found[name] = (name, False)
    return {**found, "parameters": (key, False)}


def _sized(states: list[State], size: int) -> list[State]:
    """The states of that many bytes, without zeros at the start: buffers yet unused, seen or not as lines fall."""
    sized = [state for state in states if len(state.raw) == size]
    return sized[1:] if sized and not any(sized[0].raw) else sized


def _states(
    original: Recording, variant: Recording, ulps: int
) -> tuple[list[Difference], list[str], int]:
    found_roles = roles(original)
    if not found_roles:
        return _final_states(original, variant, ulps)
    size = len(original.states[found_roles["parameters"][0]][-1].raw)
    differences, notes, count = [], [], 0
    for role, (key, backward) in found_roles.items():
        wanted = _sized(original.sequence(key, backward=backward), size)
        candidates = {
            name: states
            for name in variant.states
            if (states := _sized(variant.sequence(name, backward=backward), size))
            and not (backward and name.endswith(".data"))
        }
        difference = _best(role, key, wanted, candidates, original, ulps)
        if difference and (role == "parameters" or difference.what != "reading"):
            differences.append(difference)
        elif difference:
            notes.append(f"the variant's {role} cannot be read: not compared")
        else:
            count += len(wanted) * size // 8
    return differences, notes, count


def _best(
    role: str,
    key: str,
    wanted: list[State],
    candidates: dict[str, list[State]],
    original: Recording,
    ulps: int,
) -> Difference | None:
    """None where some candidate went through the wanted states; else how the likeliest one differs.

    Likeliest is the variable of the same name, else the one that goes along for longest.
    """
    judged = {
        name: _sequence_difference(role, key, wanted, states, original, ulps)
        for name, states in candidates.items()
    }
    if None in judged.values():
        return None
    field = key.rpartition(".")[2] if "." in key else ""
    group = PARAMETER_NAMES if role in ("parameters", "gradients") else (role,)
    same_name = [
        n
        for n in judged
        if n.partition(".")[0] in group and (n.rpartition(".")[2] == field or "." not in n)
    ]
    if same_name:
        return judged[key] if key in same_name else judged[same_name[0]]
    if role != "parameters":
        return Difference(
            "reading", f"the {role} of the variant", f"variable {key}", "no variable of its name"
        )
    if not judged:
        fix = "no collection of as many numbers in the program's or main's variables when a line is printed"
        return Difference(
            "reading", "the parameters of the variant", f"{len(wanted[-1].raw) // 8} numbers", fix
        )
    return max((d for d in judged.values() if d), key=lambda d: -1 if d.step is None else d.step)


def _sequence_difference(
    role: str, key: str, wanted: list[State], found: list[State], original: Recording, ulps: int
) -> Difference | None:
    if len(found) != len(wanted):
        remaining = iter(state.raw for state in wanted)
        if (
            found[-1:]
            and wanted[-1:]
            and found[-1].raw == wanted[-1].raw
            and all(s.raw in remaining for s in found)
        ):
            return None  # seen at fewer moments, the same at each of them and at the end
    for one, two in zip(wanted, found, strict=False):
        index = first_apart(one.raw, two.raw, ulps)
        if index is not None:
            return _difference_at(role, key, one, two, index, original)
    if len(found) != len(wanted):
        step = original.step_of(wanted[-1].line) if wanted else None
        return Difference(
            role, f"{role}: the number of states", f"{len(wanted)}", f"{len(found)}", step
        )
    return None


def _difference_at(
    role: str, key: str, one: State, two: State, index: int, original: Recording
) -> Difference:
    a, b = one.numbers()[index], two.numbers()[index]
    step = original.step_of(one.line)
    tensor, row, column = place_in(original, key, len(one.raw) // 8, index)
    when = (
        "before the first step"
        if step == 0
        else f"of step {step}"
        if step
        else f"at line {one.line + 1}"
    )
    if one.kind == "end":
        when = "at the end"
    where = f"the {role} {when}: {tensor}, row {row}, column {column}"
    return Difference(role, where, show(a), show(b), step, tensor, row, column, ulps_apart(a, b))


def _final_states(
    original: Recording, variant: Recording, ulps: int
) -> tuple[list[Difference], list[str], int]:
    """For programs without parameters of a known name: the final number collections that both have by name."""
    one, two = original.final(), variant.final()
    both = [name for name in one if name in two]
    notes = [f"final state compared: {', '.join(both) or 'none'}"]
    if len(both) < len(one):
        notes.append(f"not in the variant: {', '.join(name for name in one if name not in two)}")
    for name in both:
        index = first_apart(one[name], two[name], ulps)
        if index is not None:
            a, b = array_at(one[name], index), array_at(two[name], index)
            apart = ulps_apart(a, b) if a is not None and b is not None else None
            where = f"the final {name}, number {index}"
            return (
                [Difference(name, where, show(a), show(b), None, name, index, ulps=apart)],
                notes,
                0,
            )
    return [], notes, sum(len(one[name]) // 8 for name in both)


def array_at(raw: bytes, index: int) -> float | None:
    """Number `index` of raw float64, None past the end."""
    numbers = memoryview(raw).cast("d")
    return numbers[index] if index < len(numbers) else None


def show(number: float | None) -> str:
    """A float for people and for machines: repr and hex; nothing of it is rounded."""
    return "absent" if number is None else f"{number!r} = {number.hex()}"


# ---- Text ----------------------------------------------------------------------------------------


def text_difference(original: Recording, variant: Recording, level: str) -> Difference | None:
    """The first line of output, or of the samples, that is not the same byte for byte."""
    one, two = original.outcome.stdout, variant.outcome.stdout
    if level == "samples":
        one, two = samples_of(one), samples_of(two)
    return None if one == two else _text("samples" if level == "samples" else "stdout", one, two)


def samples_of(stdout: bytes) -> bytes:
    """The lines that give made-up documents: those that begin with "sample"."""
    return b"\n".join(line for line in stdout.split(b"\n") if line.startswith(b"sample "))


def _text(what: str, one: bytes, two: bytes) -> Difference:
    first, second = one.split(b"\n"), two.split(b"\n")
    line = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    shown = [
        repr(lines[line][:120])[1:] if line < len(lines) else "(no such line)"
        for lines in (first, second)
    ]
    return Difference(what, f"{what}, line {line + 1}", shown[0], shown[1], row=line)
