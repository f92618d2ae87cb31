"""What each level of a comparison lets pass, on recordings made by hand."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace

import pytest

from microgpt.verify.compare import compare, samples_of
from microgpt.verify.recording import Recording, State
from microgpt.verify.sandbox import Outcome

STDOUT = b"step 1 / 2 | loss 1.0\nstep 2 / 2 | loss 2.0\nsample  1: ab\nsample 12: ba\n"


def recording(
    losses: list[float], states: list[list[float]], stdout: bytes = STDOUT, stderr: bytes = b""
) -> Recording:
    """A run with these losses and parameters; the parameters are read after each line."""
    outcome = Outcome(stdout, stderr, b"", 0, "exit", 1.0, 1.0, 1, 0, ())
    seen = [State("line", i, array("d", numbers).tobytes()) for i, numbers in enumerate(states)]
    seen.append(replace(seen[-1], kind="end"))
    return Recording(outcome, list(enumerate(losses)), {"params": seen}, complete=True)


LOSSES, STATES = [1.0, 2.0], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
ORIGINAL = recording(LOSSES, STATES)


def up(number: float, ulps: int = 1) -> float:
    for _ in range(ulps):
        number = math.nextafter(number, math.inf)
    return number


@pytest.mark.parametrize("level", ["bits", "ulp", "printed", "samples"])
def test_equal_runs_are_equal_at_every_level(level: str) -> None:
    assert compare(ORIGINAL, recording(LOSSES, STATES), level).difference is None


@pytest.mark.parametrize("apart", [1, 2, 3])
def test_a_loss_is_the_same_at_ulp_exactly_as_far_as_allowed(apart: int) -> None:
    variant = recording([1.0, up(2.0, apart)], STATES)
    found = compare(ORIGINAL, variant, "bits", ulps=9).difference
    assert found and (found.what, found.step, found.ulps) == ("losses", 2, apart)
    for ulps in range(5):
        assert (compare(ORIGINAL, variant, "ulp", ulps).difference is None) == (apart <= ulps)


@pytest.mark.parametrize("apart", [1, 2, 3])
def test_a_parameter_is_the_same_at_ulp_exactly_as_far_as_allowed(apart: int) -> None:
    variant = recording(LOSSES, [STATES[0], [3.0, up(4.0, apart)], STATES[2]])
    found = compare(ORIGINAL, variant, "bits", ulps=9).difference
    assert found and (found.what, found.row, found.ulps) == ("parameters", 1, apart)
    for ulps in range(5):
        assert (compare(ORIGINAL, variant, "ulp", ulps).difference is None) == (apart <= ulps)


@pytest.mark.parametrize(("a", "b"), [(0.0, -0.0), (math.nan, 1.0), (1.0, math.nan)])
def test_zeros_of_two_signs_and_nan_differ(a: float, b: float) -> None:
    for level in ("bits", "ulp"):
        assert compare(recording([1.0, a], STATES), recording([1.0, b], STATES), level).difference
        one, two = ([STATES[0], [3.0, x], STATES[2]] for x in (a, b))
        assert compare(recording(LOSSES, one), recording(LOSSES, two), level).difference


def test_bits_compares_what_is_printed_and_what_goes_to_the_error_output() -> None:
    printed = recording(LOSSES, STATES, stdout=STDOUT.replace(b"loss 2.0", b"loss 2.00"))
    said = recording(LOSSES, STATES, stderr=b"a warning\n")
    for variant, what in ((printed, "stdout"), (said, "stderr")):
        found = compare(ORIGINAL, variant, "bits").difference
        assert found and found.what == what
        assert compare(ORIGINAL, variant, "ulp").difference is None


def test_every_sample_is_compared() -> None:
    assert samples_of(STDOUT) == b"sample  1: ab\nsample 12: ba"
    for sample in (b"sample  1: ab", b"sample 12: ba"):
        variant = recording(LOSSES, STATES, stdout=STDOUT.replace(sample, sample + b"x"))
        found = compare(ORIGINAL, variant, "samples").difference
        assert found and found.what == "samples"
    losses = recording(LOSSES, STATES, stdout=STDOUT.replace(b"loss 2.0", b"loss 9.0"))
    assert compare(ORIGINAL, losses, "samples").difference is None


def test_states_seen_at_fewer_moments_must_all_be_right_and_end_right() -> None:
    assert compare(ORIGINAL, recording(LOSSES, [STATES[0], STATES[2]]), "bits").difference is None
    for states in ([STATES[0], STATES[1]], [[1.0, 9.0], STATES[2]], [STATES[1], STATES[0]]):
        assert compare(ORIGINAL, recording(LOSSES, states), "bits").difference, states


def test_a_variant_that_formats_fewer_losses_differs() -> None:
    found = compare(ORIGINAL, recording(LOSSES[:1], STATES), "bits").difference
    assert found and found.what == "reading"
