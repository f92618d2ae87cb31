"""Comparing two recordings made by hand: where they first differ, and what is said of it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest

from microgpt.verify.compare import Difference, compare, samples_of, tracked_variables
from microgpt.verify.floats import first_apart, number_at, ordinal, show, ulps_apart
from microgpt.verify.recording import Recording, State, place_in
from microgpt.verify.sandbox import Outcome

STDOUT = b"num params: 3\nstep    1 /    2 | loss 1.5\nstep    2 /    2 | loss 0.5\nsample  1: ab\n"
NEXT = 1 + 2**-52


def raw(*numbers: float) -> bytes:
    return array("d", numbers).tobytes()


def recording(
    losses: Sequence[float] = (1.5, 0.5),
    states: dict[str, list[State]] | None = None,
    stdout: bytes = STDOUT,
    stderr: bytes = b"",
) -> Recording:
    outcome = Outcome(stdout, stderr, b"", 0, "exit", 0.0, 0.0, 0, 0, ())
    numbers = [(line, loss) for line, loss in enumerate(losses, 1)]
    return Recording(outcome, numbers, parameters() if states is None else states, complete=True)


def lines(*values: bytes) -> list[State]:
    """States at the lines 0, 1, 2..."""
    return [State("line", line, value) for line, value in enumerate(values)]


def parameters(
    first: float = 1.0, last: float = 3.0, **others: list[State]
) -> dict[str, list[State]]:
    values = raw(first, 2, 3), raw(1, 2.5, 3), raw(1, 2.25, last)
    return {"parameters": lines(*values), **others}


def difference(
    original: Recording, variant: Recording, level: str = "bits", ulps: int = 0
) -> Difference:
    found = compare(original, variant, level, ulps).difference
    assert found
    return found


# ---- Floats --------------------------------------------------------------------------------------


def test_neighbouring_floats_have_neighbouring_ordinals() -> None:
    ascending = [-2.0, -1.0 - 2**-52, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, NEXT]
    ordinals = [ordinal(number) for number in ascending]
    assert ordinals == sorted(set(ordinals))
    assert ordinals[3:7] == [-2, -1, 0, 1]
    assert ulps_apart(-5e-324, 5e-324) == 3


def test_the_first_number_beyond_the_limit_is_named_and_no_other() -> None:
    original, variant = raw(1, 1, 1), raw(1, NEXT, 2)
    assert first_apart(original, original, 0) is None
    assert first_apart(original, variant, 0) == 1
    assert first_apart(original, variant, 1) == 2  # one unit apart is within one unit
    assert first_apart(original, raw(1, NEXT, 1), 1) is None
    assert first_apart(original, raw(1, 1), 0) == 2 == first_apart(raw(1, 1), original, 0)


def test_a_number_past_the_end_is_absent() -> None:
    assert (number_at(raw(4, 5), 1), number_at(raw(4, 5), 2)) == (5.0, None)
    assert (show(None), show(0.5)) == ("absent", "0.5 = 0x1.0000000000000p-1")


# ---- Losses and output ---------------------------------------------------------------------------


def test_equal_recordings_are_the_same_at_every_level_and_all_numbers_are_counted() -> None:
    for level in ("bits", "ulp"):
        compared = compare(recording(), recording(), level)
        assert (compared.difference, compared.notes, compared.numbers) == (None, [], 2 + 9)
    for level in ("printed", "samples"):
        assert compare(recording(), recording(), level).difference is None


def test_a_loss_that_differs_is_named_by_its_step() -> None:
    found = difference(recording((1.0, 1.0)), recording((1.0, NEXT)))
    assert (found.what, found.step, found.ulps) == ("losses", 2, 1)
    assert "the losses up to step 1 agree" in str(found) and "apart by  1 units" in str(found)
    first = difference(recording((1.0, 1.0)), recording((2.0, 1.0)))
    assert (first.step, first.agree) == (1, "")


def test_units_in_the_last_place_are_allowed_at_ulp_alone() -> None:
    original, variant = recording((1.0, 1.0)), recording((1.0, NEXT))
    assert compare(original, variant, "ulp", 1).difference is None
    assert compare(original, variant, "ulp", 0).difference
    assert compare(original, variant, "bits", 1).difference


def test_another_count_of_formatted_floats_is_a_difference_of_reading() -> None:
    for losses in ((1.5,), (1.5, 0.5, 0.25)):
        found = difference(recording(), recording(losses))
        assert (found.what, found.original) == ("reading", "2 floats")
        assert found.variant.startswith(f"{len(losses)} floats")


def test_a_float_outside_of_steps_is_named_by_its_line() -> None:
    plain = b"a\nb\nc\n"
    found = difference(recording(stdout=plain), recording((1.5, 0.75), stdout=plain))
    assert (found.what, found.where, found.step) == (
        "formatted numbers",
        "formatted number 1, line 3",
        None,
    )


def test_output_counts_at_bits_and_printed_and_errors_at_bits_alone() -> None:
    other = recording(stdout=STDOUT.replace(b"loss 0.5", b"loss 0.50"))
    for level in ("bits", "printed"):
        found = difference(recording(), other, level)
        assert (found.what, found.row, found.where) == ("stdout", 2, "stdout, line 3")
    assert compare(recording(), other, "samples").difference is None
    assert compare(recording(), other, "ulp").difference is None
    warned = recording(stderr=b"careful\n")
    assert difference(recording(), warned).what == "stderr"
    for level in ("ulp", "printed", "samples"):
        assert compare(recording(), warned, level).difference is None


def test_a_line_that_is_missing_at_the_end_is_shown_as_missing() -> None:
    longer, shorter = recording(stdout=STDOUT + b"end"), recording(stdout=STDOUT[:-1])
    found = difference(longer, shorter, "printed")
    assert (found.row, found.original, found.variant) == (4, "'end'", "(no such line)")
    assert difference(shorter, longer, "printed").original == "(no such line)"


def test_only_lines_that_begin_as_samples_are_samples() -> None:
    assert samples_of(b"sample 1: a\nno sample 2: b\nsamples\nsample 3: c") == (
        b"sample 1: a\nsample 3: c"
    )
    found = difference(recording(), recording(stdout=STDOUT.replace(b"ab", b"ac")), "samples")
    assert (found.what, found.original) == ("samples", "'sample  1: ab'")


# ---- Parameters, gradients, moments --------------------------------------------------------------


def test_a_parameter_that_differs_is_named_by_step_row_and_column() -> None:
    original = recording()
    original.layouts["weights"] = [("wte", 1, 2), ("wpe", 1, 1)]
    start = difference(original, recording(states=parameters(first=1.5)))
    assert (start.what, start.step, start.tensor, start.row, start.column) == (
        "parameters",
        0,
        "wte",
        0,
        0,
    )
    assert "before the first step" in start.where and start.agree.endswith("before the first step")
    last = difference(original, recording(states=parameters(last=4.0)))
    assert (last.step, last.tensor, last.column) == (2, "wpe", 0)
    assert last.agree.startswith("the losses up to step 2 agree, the parameters of step 2")


def test_the_earliest_step_comes_first_and_within_a_step_the_loss() -> None:
    later_loss = recording((1.5, 0.75), parameters(first=1.5))
    assert difference(recording(), later_loss).what == "parameters"  # of step 0, before the loss
    same_step = recording((1.5, 0.75), parameters(last=4.0))
    assert difference(recording(), same_step).what == "losses"


def test_parameters_under_another_name_are_known_by_their_number() -> None:
    renamed = {"knobs": parameters()["parameters"], "noise": lines(raw(9, 9, 9))}
    assert compare(recording(), recording(states=renamed), "bits").difference is None
    wrong = {"knobs": parameters(last=4.0)["parameters"], "noise": lines(raw(9, 9, 9))}
    assert difference(recording(), recording(states=wrong)).step == 2  # that of the likelier one


def test_a_variant_seen_at_fewer_moments_is_the_same_if_it_ends_the_same() -> None:
    seen = parameters()["parameters"]
    assert (
        compare(recording(), recording(states={"parameters": seen[::2]}), "bits").difference is None
    )
    for states in (seen[:2], [seen[1], seen[0], seen[2]], [*seen, seen[0]]):
        assert difference(recording(), recording(states={"parameters": states}))


def test_parameters_that_cannot_be_read_are_a_difference() -> None:
    for states in ({}, {"parameters": lines(raw(1, 2))}):
        found = difference(recording(), recording(states=states))
        assert (found.what, found.original) == ("reading", "3 numbers")


def test_moments_that_cannot_be_read_are_noted_and_those_read_are_compared() -> None:
    original = recording(states=parameters(m=lines(raw(0, 0, 0), raw(1, 1, 1))))
    compared = compare(original, recording(), "bits")
    assert compared.difference is None
    assert compared.notes == ["the variant's m cannot be read: not compared"]
    other = recording(states=parameters(m=lines(raw(1, 1, 2))))
    assert difference(original, other).what == "m"
    same = recording(states=parameters(m=lines(raw(1, 1, 1))))  # not seen while it was zeros
    assert compare(original, same, "bits").numbers == 2 + 9 + 3


def test_gradients_are_read_at_backward_passes_alone() -> None:
    def states(gradient: float, kind: str = "backward") -> dict[str, list[State]]:
        return {
            "parameters.data": parameters()["parameters"],
            "parameters.grad": [State(kind, 0, raw(1, 2, gradient))],
        }

    original = recording(states=states(3))
    assert list(tracked_variables(original)) == ["gradients", "parameters"]
    assert compare(original, recording(states=states(3)), "bits").difference is None
    assert difference(original, recording(states=states(4))).what == "gradients"
    notes = compare(original, recording(states=states(4, "line")), "bits").notes
    assert notes == ["the variant's gradients cannot be read: not compared"]


def test_without_known_parameters_the_last_values_are_compared_by_name() -> None:
    original = recording(states={"xs": lines(raw(1, 2)), "ys": lines(raw(3))})
    compared = compare(original, recording(states={"xs": lines(raw(9, 9), raw(1, 2))}), "bits")
    assert (compared.difference, compared.numbers) == (None, 4)
    assert compared.notes == ["final state compared: xs", "not in the variant: ys"]
    found = difference(original, recording(states={"xs": lines(raw(1, 3))}))
    assert (found.what, found.row, found.where) == ("xs", 1, "the final xs, number 1")
    shorter = difference(original, recording(states={"xs": lines(raw(1))}))
    assert (shorter.variant, shorter.ulps) == ("absent", None)


@pytest.mark.parametrize(
    ("index", "place"), [(0, ("a", 0, 0)), (5, ("a", 1, 2)), (6, ("b", 0, 0)), (7, ("b", 1, 0))]
)
def test_a_place_is_found_in_a_dict_of_matrices(index: int, place: tuple[str, int, int]) -> None:
    described = recording()
    described.layouts["weights"] = [("a", 2, 3), ("b", 2, 1)]
    assert place_in(described, "parameters", 8, index) == place
    assert place_in(described, "parameters", 9, index) == ("parameters", index, 0)
