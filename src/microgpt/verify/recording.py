"""What a program computed, as probe.py told it: formatted floats and the states of its number collections.

Parses what an untrusted program could have written into the pipe, so it trusts no length and no name in it.
"""

from __future__ import annotations

import json
import re
import struct
from array import array
from dataclasses import dataclass, field
from typing import Any

from .sandbox import Outcome

PARAMETER_NAMES = (
    "parameters",
    "params",
    "state_dict",
    "weights",
)  # what the state is read from, first found first
MOMENT_NAMES = ("m", "v")  # Adam's, compared where both programs have them
ROLES = ("gradients", *MOMENT_NAMES, "parameters")  # in the order in which a step computes them
_STEP = re.compile(rb"step\s+(\d+)")


@dataclass(frozen=True)
class State:
    """The numbers of one variable at one moment: raw little-endian float64. line: lines of output before it."""

    kind: str  # "line", "backward" or "end"
    line: int
    raw: bytes

    def numbers(self) -> array[float]:
        """The float64 in order."""
        return array("d", self.raw)


@dataclass
class Recording:
    """One run of one program. outcome: how it ended and what it printed."""

    outcome: Outcome
    numbers: list[tuple[int, float]] = field(
        default_factory=list
    )  # (line of output, float formatted there)
    states: dict[str, list[State]] = field(default_factory=dict)
    layouts: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    evaluated: list[float] = field(default_factory=list)
    complete: bool = False

    def fingerprint(self) -> object:
        """Everything that must not depend on where and when the program runs."""
        states = {
            name: [(s.kind, s.line, s.raw) for s in states if s.kind != "end"]
            for name, states in self.states.items()
        }
        numbers = [struct.pack("<d", number) for _, number in self.numbers]
        return (
            self.outcome.stdout,
            self.outcome.stderr,
            self.outcome.status,
            numbers,
            states,
            self.final(),
        )

    def final(self) -> dict[str, bytes]:
        """The last state of each variable."""
        return {name: states[-1].raw for name, states in self.states.items() if states}

    def step_at(self, line: int) -> int | None:
        """The step that a line of output (from 0) tells of, None where it tells of none."""
        lines = self.outcome.stdout.split(b"\n", line + 1)
        found = _STEP.match(lines[line]) if line < len(lines) else None
        return int(found.group(1)) if found else None

    def step_of(self, line: int) -> int | None:
        """The step that a state seen at a line belongs to: 0 before the first, None if no line tells of steps."""
        lines = self.outcome.stdout.split(b"\n")
        told = [found for text in lines[: line + 1] if (found := _STEP.match(text))]
        if told:
            return int(told[-1].group(1))
        return 0 if any(_STEP.match(text) for text in lines) else None

    def sequence(self, name: str, *, backward: bool = False) -> list[State]:
        """The states a variable went through: at backward passes, or at all other moments without repetitions."""
        chosen: list[State] = []
        for state in self.states.get(name, []):
            repeated = not backward and chosen and chosen[-1].raw == state.raw
            if (state.kind == "backward") == backward and not repeated:
                chosen.append(state)
        return chosen

    def key_of(self, names: tuple[str, ...]) -> str:
        """The first of the variables that was recorded, with its field of data; "" where none was."""
        for name in names:
            for key in (f"{name}.data", name):
                if self.states.get(key):
                    return key
        return ""


def parse(outcome: Outcome) -> Recording:
    """The recording in an outcome's record. Frames that make no sense end the reading; `complete` tells."""
    recording, data, at = Recording(outcome), memoryview(outcome.record), 0
    raws: dict[str, bytes] = {}
    try:
        while at + 4 <= len(data):
            (size,) = struct.unpack_from("<I", data, at)
            header = json.loads(bytes(data[at + 4 : at + 4 + size]))
            at += 4 + size
            raw = bytes(data[at : at + header.get("n", 0)])
            if len(raw) != header.get("n", 0) or len(raw) % 8:
                break
            at += len(raw)
            _take(recording, header, raw, raws)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        recording.complete = False
    return recording


def _take(recording: Recording, header: dict[str, Any], raw: bytes, raws: dict[str, bytes]) -> None:
    kind = header["t"]
    if kind == "state":
        if raw:
            raws[header["sha"]] = raw
        state = State(str(header["kind"]), int(header["line"]), raws[header["sha"]])
        recording.states.setdefault(str(header["name"]), []).append(state)
    elif kind == "numbers":
        recording.numbers += [(int(header["line"]), number) for number in array("d", raw)]
    elif kind == "evaluated":
        recording.evaluated = list(array("d", raw))
    elif kind == "layout":
        recording.layouts[str(header["name"])] = [
            (str(n), int(r), int(c)) for n, r, c in header["layout"]
        ]
    elif kind == "end":
        recording.complete = True


def place_in(recording: Recording, key: str, count: int, index: int) -> tuple[str, int, int]:
    """(tensor, row, column) of number `index` among `count`, by the layout of a dict of matrices of that size."""
    layouts = recording.layouts
    for layout in [layouts[key]] if key in layouts else list(layouts.values()):
        if sum(rows * columns for _, rows, columns in layout) == count:
            for tensor, rows, columns in layout:
                if index < rows * columns:
                    return tensor, index // columns, index % columns
                index -= rows * columns
    return key, index, 0
