"""Near misses and honest rewrites: `verify` tells them apart, and says where they differ."""

from __future__ import annotations

import pytest
from _pytest.mark import ParameterSet
from journey_pythons import available
from zoo.base import DATA, OTHER_DATA, changed, small_reference
from zoo.honest import HONEST
from zoo.wrong import ONLY_ELSEWHERE, WRONG, Animal, Change

from microgpt.verify.cases import cases_for
from microgpt.verify.programs import Program
from microgpt.verify.sandbox import Limits
from microgpt.verify.verdict import Verdict, render
from microgpt.verify.verifier import Verifier

CASES = cases_for([("twelve names", DATA)])
LIMITS = Limits(seconds=60)
# One of each kind: a difference in each number that is compared, at the steps 0, 1, 2 and the last,
# in each kind of output, and each answer. `make proof` runs the others.
QUICK = {
    "backward by a stack walk",
    "exp's derivative off by one part in 2**52",
    "norm's epsilon",
    "float32 weights",
    "constant learning rate",
    "square by a product",
    "beta1",
    "gradients never cleared",
    "different only at the last step",
    "a warning on stderr",
    "one space more on stdout",
    "exit status 3",
    "depends on the hash seed",
    "parameters under another name",
    "no slots",
    "no main",
    "recursive topological order",
    "different only where a document repeats",
}


def quick_or_proof(name: str, *values: object) -> ParameterSet:
    marks = () if name in QUICK else (pytest.mark.proof,)
    return pytest.param(*values, id=name, marks=marks)


def test_the_quick_ones_are_in_the_zoo() -> None:
    names = {animal.name for animal in (*WRONG, *ONLY_ELSEWHERE)} | {name for name, _ in HONEST}
    assert names >= QUICK


def animal_program(name: str, changes: tuple[Change, ...]) -> Program:
    return Program(name, changed(small_reference(), *changes), limits=LIMITS)


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(animal_program("the small reference", ()))


def first_difference(verdict: Verdict) -> tuple[str, int | None]:
    case = verdict.cases[-1]
    assert case.answer != "same", render(verdict)
    if case.answer != "different":
        return case.answer, None
    assert case.difference
    return case.difference.what, case.difference.step


@pytest.mark.parametrize("animal", [quick_or_proof(a.name, a) for a in WRONG])
def test_a_near_miss_is_caught_where_it_parts(verifier: Verifier, animal: Animal) -> None:
    cases = cases_for([("twelve names", DATA)], steps=animal.steps)
    verdict = verifier.verify(animal_program(animal.name, animal.changes), cases)
    what, step = first_difference(verdict)
    assert what == animal.what, render(verdict)
    assert animal.step is None or step == animal.step, render(verdict)
    assert verdict.exit_code == 1


@pytest.mark.parametrize(("name", "changes"), [quick_or_proof(h[0], *h) for h in HONEST])
def test_an_honest_rewrite_is_accepted(
    verifier: Verifier, name: str, changes: tuple[Change, ...]
) -> None:
    verdict = verifier.verify(animal_program(name, changes), CASES)
    assert verdict.answer == "same", render(verdict)
    assert verdict.cases[0].numbers > 1000
    assert "the same on 1 case" in render(verdict)
    assert "proved" not in render(verdict) and "identical" not in render(verdict)


@pytest.mark.parametrize("animal", [quick_or_proof(a.name, a) for a in ONLY_ELSEWHERE])
def test_what_differs_only_elsewhere_passes_here_and_is_caught_there(
    verifier: Verifier, animal: Animal
) -> None:
    program = animal_program(animal.name, animal.changes)
    assert verifier.verify(program, CASES).answer == "same"
    elsewhere = cases_for([("twelve names", DATA), ("repeating names", OTHER_DATA)], seeds=(42, 7))
    assert first_difference(verifier.verify(program, elsewhere))[0] in (animal.what, "parameters")


def test_a_stack_walk_keeps_the_first_loss_and_loses_the_gradients(verifier: Verifier) -> None:
    text = render(verifier.verify(animal_program(WRONG[0].name, WRONG[0].changes), CASES))
    assert "the losses up to step 1 agree, the gradients of step 1 do not" in text
    assert "0x" in text and "row" in text and "column" in text


@pytest.mark.proof
def test_a_float_sum_is_the_same_before_python_312_and_another_after() -> None:
    pythons = available()
    if max(pythons) < "3.12" or min(pythons) >= "3.12":
        pytest.skip(f"needs a Python before 3.12 and one after; here: {', '.join(pythons)}")
    change = (
        "return (1 / len(losses)) * sum(losses)",
        "return (1 / (n := len(losses)))"
        " * Value(sum(loss.data for loss in losses), tuple(losses), (1,) * n)",
    )
    answers = {}
    for name, python in pythons.items():
        original = Program("the small reference", small_reference(), python=python, limits=LIMITS)
        variant = Program(
            "a float sum", changed(small_reference(), change), python=python, limits=LIMITS
        )
        answers[name] = Verifier(original).verify(variant, CASES).answer
    assert answers == {name: "same" if name < "3.12" else "different" for name in pythons}


def test_the_last_digits_pass_at_ulp_and_not_at_bits(verifier: Verifier) -> None:
    animal = next(a for a in WRONG if a.name == "different only in the last digit of one weight")
    program = animal_program(animal.name, animal.changes)
    near = Verifier(verifier.original, "ulp", ulps=1 << 20)
    assert near.verify(program, CASES).answer == "same"
    assert Verifier(verifier.original, "printed").verify(program, CASES).answer == "same"
    assert verifier.verify(program, CASES).answer == "different"


def test_another_layout_of_the_output_passes_at_samples_and_not_at_printed(
    verifier: Verifier,
) -> None:
    program = animal_program(
        "terse",
        (
            (
                'print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss.data:.4f}")',
                'print(f"{loss.data:.3f}")',
            ),
        ),
    )
    assert Verifier(verifier.original, "samples").verify(program, CASES).answer == "same"
    assert Verifier(verifier.original, "printed").verify(program, CASES).answer == "different"
