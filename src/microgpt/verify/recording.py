"""What a program computed, as the probe noted it: formatted floats, states of collections.

The bytes come from a pipe that an untrusted program could write into. So no length and no name in
them is trusted, and any bytes at all are read without an error.
"""

from __future__ import annotations

import json
import re
import struct
from array import array
from dataclasses import dataclass, field
from typing import Any

from .sandbox import Outcome

# The variable that holds the parameters: the first of these that a program has.
PARAMETER_NAMES = ("parameters", "params", "state_dict", "weights")
MOMENT_NAMES = ("m", "v")  # Adam's, compared where both programs have them
_STEP = re.compile(rb"step\s+(\d+)")


@dataclass(frozen=True)
class State:
    """The numbers of one variable at one moment."""

    kind: str  # the moment: "line", "backward" or "end"
    line: int  # how many lines of output were printed before it
    raw: bytes  # little-endian float64

    def numbers(self) -> array[float]:
        """The float64 in order."""
        return array("d", self.raw)


@dataclass
class Recording:
    """One run of one program: how it ended, what it printed, and what the probe saw."""

    outcome: Outcome
    # (line of output, float formatted there)
    numbers: list[tuple[int, float]] = field(default_factory=list)
    # by variable: "NAME" for plain numbers, "NAME.data" for a field of objects
    states: dict[str, list[State]] = field(default_factory=dict)
    # of a dict of matrices: (name, rows, columns) of each
    layouts: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    evaluated: list[float] = field(default_factory=list)  # losses at changed parameters
    complete: bool = False  # the probe reached its end, and all it wrote could be read

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
        """The step that line `line` of the output (from 0) reports; None where it reports none."""
        lines = self.outcome.stdout.split(b"\n", line + 1)
        match = _STEP.match(lines[line]) if line < len(lines) else None
        return int(match.group(1)) if match else None

    def step_of(self, line: int) -> int | None:
        """The step that a state seen at a line belongs to.

        0 is before the first step; None where the program prints no steps.
        """
        lines = self.outcome.stdout.split(b"\n")
        reported = [match for text in lines[: line + 1] if (match := _STEP.match(text))]
        if reported:
            return int(reported[-1].group(1))
        return 0 if any(_STEP.match(text) for text in lines) else None

    def sequence(self, name: str, *, backward: bool = False) -> list[State]:
        """The states a variable went through.

        backward: those at backward passes, else those at all other moments, without repetitions.
        """
        chosen: list[State] = []
        for state in self.states.get(name, []):
            repeated = not backward and chosen and chosen[-1].raw == state.raw
            if (state.kind == "backward") == backward and not repeated:
                chosen.append(state)
        return chosen

    def key_of(self, names: tuple[str, ...]) -> str:
        """The first of these variables that was recorded, its `.data` if it has any; else ""."""
        for name in names:
            for key in (f"{name}.data", name):
                if self.states.get(key):
                    return key
        return ""


def parse(outcome: Outcome) -> Recording:
    """The recording in an outcome's record. A frame that makes no sense ends it: not `complete`."""
    recording, data, at = Recording(outcome), memoryview(outcome.record), 0
    raws: dict[str, bytes] = {}  # by their digest: the probe sends equal states once
    try:
        while at + 4 <= len(data):
            (size,) = struct.unpack_from("<I", data, at)
            header = json.loads(bytes(data[at + 4 : at + 4 + size]))
            at += 4 + size
            raw = bytes(data[at : at + header.get("n", 0)])
            if len(raw) != header.get("n", 0) or len(raw) % 8:
                break
            at += len(raw)
            _add_frame(recording, header, raw, raws)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        recording.complete = False
    return recording


def _add_frame(
    recording: Recording, header: dict[str, Any], raw: bytes, raws: dict[str, bytes]
) -> None:
    """Add what one frame holds; ValueError, KeyError or TypeError where it makes no sense."""
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
    """(tensor, row, column) of number `index` among `count` numbers of a variable.

    The layout is that of a dict of matrices with `count` numbers, where the program has one.
    """
    layouts = recording.layouts
    for layout in [layouts[key]] if key in layouts else list(layouts.values()):
        if sum(rows * columns for _, rows, columns in layout) == count:
            for tensor, rows, columns in layout:
                if index < rows * columns:
                    return tensor, index // columns, index % columns
                index -= rows * columns
    return key, index, 0
