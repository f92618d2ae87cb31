"""Are a program's gradients derivatives of its loss? Checked by finite differences, without any other program.

The program runs for one step under the probe. Where its parameters exist and the first step has not begun, it forks
once for each evaluation: a copy nudges one parameter and reports the first loss it arrives at. The central difference
(f(p + h) - f(p - h)) / 2h is then compared with the gradient the program itself computed. No bits are claimed:
differences of floats carry an error of about eps * |f| / h + h**2.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from .programs import Interest, Program, Settings
from .recording import PARAMETER_NAMES, Recording, place_in

STEP = 1e-5  # h
TOLERANCE = 1e-6  # of |difference| / max(1, |gradient|); measured on the reference: at most 6e-11
GRADIENT_NAMES = ("gradients", "grads")


@dataclass(frozen=True)
class Checked:
    """One parameter: where it is, its gradient in the program and by finite differences."""

    tensor: str
    row: int
    column: int
    gradient: float
    by_difference: float

    @property
    def error(self) -> float:
        """Relative to the gradient where that is above one."""
        return abs(self.gradient - self.by_difference) / max(1.0, abs(self.gradient))


@dataclass
class GradientCheck:
    """What was found for one program."""

    program: str
    checked: list[Checked]

    @property
    def worst(self) -> Checked:
        """The parameter whose gradient is furthest off; NaN is further than any number."""
        return max(self.checked, key=lambda c: (c.error != c.error, c.error))

    @property
    def right(self) -> bool:
        """Whether all are within the tolerance."""
        return self.worst.error <= TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        checked = [{**c.__dict__, "error": c.error} for c in self.checked]
        return {"program": self.program, "right": self.right, "checked": checked}


def check(program: Program, data: bytes, count: int = 24, seed: int = 0) -> GradientCheck:
    """Check `count` parameters drawn with `seed`, half of them among those whose gradient is not zero.

    Raises DataError where the program fails, or its parameters, gradients or loss cannot be read.
    """
    settings = Settings(data, steps=1)
    names = (*PARAMETER_NAMES, *GRADIENT_NAMES)
    first = program.run(settings, 0, Interest(names, (), True))
    if first.outcome.failure:
        raise DataError(f"the program {first.outcome.failure}", where=program.name)
    key, gradients = _gradients(first, program.name)
    rng = random.Random(seed)
    felt = [i for i, g in enumerate(gradients) if g]
    chosen = rng.sample(felt, min(len(felt), count // 2)) + rng.sample(
        range(len(gradients)), min(len(gradients), count // 2)
    )
    changes = [(i, h) for i in chosen for h in (STEP, -STEP)]
    perturb: dict[str, object] = {"names": [key.partition(".")[0]], "changes": changes}
    losses = program.run(settings, 0, Interest(names, (), False, perturb)).evaluated
    if len(losses) != len(changes):
        raise DataError(
            "the loss cannot be read at changed parameters",
            where=program.name,
            fix="print a line once the parameters exist and before the first step, and format the loss of each step",
        )
    return GradientCheck(program.name, _pair(first, key, chosen, gradients, losses))


def _pair(
    recording: Recording,
    key: str,
    chosen: Sequence[int],
    gradients: array[float],
    losses: Sequence[float],
) -> list[Checked]:
    return [
        Checked(
            *place_in(recording, key, len(gradients), i), gradients[i], (up - down) / (2 * STEP)
        )
        for i, up, down in zip(chosen, losses[::2], losses[1::2], strict=True)
    ]


def _gradients(recording: Recording, name: str) -> tuple[str, array[float]]:
    """The parameters' variable, and the gradients of the first step, in the same order."""
    key = recording.key_of(PARAMETER_NAMES)
    if key:
        beside = (
            recording.sequence(key.replace(".data", ".grad"), backward=True)
            if key.endswith(".data")
            else []
        )
        named = [s for n in GRADIENT_NAMES for s in recording.sequence(recording.key_of((n,)))]
        size = len(recording.states[key][-1].raw)
        found = [state.numbers() for state in [*beside, *named] if len(state.raw) == size]
        if found:  # zeros are what a variable holds before the first step, not its gradient
            return key, next((numbers for numbers in found if any(numbers)), found[0])
    raise DataError(
        "the gradients cannot be read",
        where=name,
        fix="parameters with .data and .grad and a statement loss.backward(), or a variable `gradients`",
    )


def render(result: GradientCheck) -> str:
    """A check for people: the worst parameters first."""
    worst = sorted(result.checked, key=lambda c: -c.error)[:5]
    lines = [
        f"{result.program}: {len(result.checked)} gradients of step 1 against finite differences, h = {STEP:g}"
    ]
    lines += [
        f"  {c.tensor}[{c.row}][{c.column}]  gradient {c.gradient:+.12e}  difference {c.by_difference:+.12e}"
        f"  error {c.error:.1e}"
        for c in worst
    ]
    said = "they are derivatives of the loss" if result.right else "not the derivatives of the loss"
    return "\n".join([*lines, f"{said} (tolerance {TOLERANCE:g})"]) + "\n"
