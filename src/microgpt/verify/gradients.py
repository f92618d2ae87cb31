"""Are a program's gradients the derivatives of its loss? Finite differences tell.

The program runs for one step under the probe. When its parameters exist and the first step has not
begun, it forks once for each evaluation: the copy changes one parameter and reports the first loss
that it computes. The central difference (f(p + h) - f(p - h)) / 2h is compared with the gradient
that the program itself computed. Bits cannot be compared: a difference of floats has an error of
about eps * |f| / h + h**2.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from .cases import Settings
from .programs import Interest, Program
from .recording import PARAMETER_NAMES, Recording, place_in

STEP = 1e-5  # h
TOLERANCE = 1e-6  # of Checked.error; measured on the reference: at most 6e-11
GRADIENT_NAMES = ("gradients", "grads")


@dataclass(frozen=True)
class Checked:
    """One parameter: where it is, its gradient in the program, and that by finite differences."""

    tensor: str
    row: int
    column: int
    gradient: float
    by_difference: float

    @property
    def error(self) -> float:
        """How far apart the two are, relative to the gradient where that is above 1."""
        return abs(self.gradient - self.by_difference) / max(1.0, abs(self.gradient))


@dataclass
class GradientCheck:
    """The parameters that were checked in one program."""

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
    """Check `count` parameters drawn with `seed`: half from all, half from those with a gradient.

    Raises DataError where the program fails, or its parameters, gradients or loss cannot be read.
    """
    settings = Settings(data, steps=1)
    names = (*PARAMETER_NAMES, *GRADIENT_NAMES)
    plain_run = program.run(settings, 0, Interest(names, (), True))
    if plain_run.outcome.failure:
        raise DataError(f"the program {plain_run.outcome.failure}", where=program.name)
    key, gradients = _gradients(plain_run, program.name)
    rng = random.Random(seed)
    not_zero = [i for i, gradient in enumerate(gradients) if gradient]
    chosen = rng.sample(not_zero, min(len(not_zero), count // 2))
    chosen += rng.sample(range(len(gradients)), min(len(gradients), count // 2))
    changes = [(i, h) for i in chosen for h in (STEP, -STEP)]
    perturb: dict[str, object] = {"names": [key.partition(".")[0]], "changes": changes}
    losses = program.run(settings, 0, Interest(names, (), False, perturb)).evaluated
    if len(losses) != len(changes):
        raise DataError(
            "the loss cannot be read at changed parameters",
            where=program.name,
            fix="print a line between making the parameters and the first step, "
            "and format the loss of each step",
        )
    return GradientCheck(program.name, _pair(plain_run, key, chosen, gradients, losses))


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
        arrays = [state.numbers() for state in [*beside, *named] if len(state.raw) == size]
        if arrays:  # zeros are what a variable holds before the first step, not its gradient
            return key, next((numbers for numbers in arrays if any(numbers)), arrays[0])
    raise DataError(
        "the gradients cannot be read",
        where=name,
        fix="parameters with .data and .grad and a statement loss.backward(), "
        "or a variable `gradients`",
    )


def render(result: GradientCheck) -> str:
    """A check for people: the worst parameters first."""
    worst = sorted(result.checked, key=lambda c: -c.error)[:5]
    count = len(result.checked)
    title = (
        f"{result.program}: {count} gradients of step 1 against finite differences, h = {STEP:g}"
    )
    lines = [
        f"  {c.tensor}[{c.row}][{c.column}]  gradient {c.gradient:+.12e}"
        f"  difference {c.by_difference:+.12e}  error {c.error:.1e}"
        for c in worst
    ]
    answer = "they are derivatives" if result.right else "they are not the derivatives"
    return "\n".join([title, *lines, f"{answer} of the loss (tolerance {TOLERANCE:g})"]) + "\n"
