"""The loop: goldens through it, resume at any step, one seed one meaning everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY, TINY_DOCUMENTS
from hypothesis import given, settings
from hypothesis import strategies as st

from microgpt import MicroGPT, checkpoint
from microgpt.cli import main
from microgpt.config import Config
from microgpt.corpus import Corpus, Origin
from microgpt.errors import ConfigError, DataError
from microgpt.training import Session, settle_block_size

HERE = Origin(("here",))


def start(**changes: object) -> Session:
    return Session.start(Config(**(TINY | changes)), Corpus(list(TINY_DOCUMENTS), HERE), "auto")


def finish(session: Session, steps: int | None = None) -> list[float]:
    """Train to the end, or for some steps; the losses."""
    last = session.config.num_steps if steps is None else steps
    return [
        step.loss for block in session.run(lambda: session.step >= last, every=1) for step in block
    ]


@settings(max_examples=25, deadline=None)
@given(
    at=st.integers(0, TINY["num_steps"]),
    batch_size=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    held_out=st.sampled_from([0.0, 0.3]),
)
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    at: int, batch_size: int, seed: int, held_out: float
) -> None:
    whole = start(batch_size=batch_size, seed=seed, held_out=held_out)
    losses = finish(whole)
    broken = start(batch_size=batch_size, seed=seed, held_out=held_out)
    first = finish(broken, at)
    stored = checkpoint.from_bytes(checkpoint.to_bytes(broken.checkpoint()))
    resumed = Session.resume(stored, Corpus(list(TINY_DOCUMENTS), HERE), "auto")
    assert first + finish(resumed) == losses
    assert checkpoint.to_bytes(resumed.checkpoint()) == checkpoint.to_bytes(whole.checkpoint())


def test_resume_refuses_other_documents() -> None:
    stored = checkpoint.from_bytes(checkpoint.to_bytes(start().checkpoint()))
    with pytest.raises(DataError, match="not the documents the model was trained on"):
        Session.resume(stored, Corpus(["ab", "cab"], HERE), "auto")


def test_blocks_of_any_size_give_the_same_losses() -> None:
    one_by_one = finish(start())
    assert [step.loss for block in start().run(lambda: False) for step in block] == one_by_one
    blocks = list(start().run(lambda: False, every=5))
    assert all((block[0].step - 1) // 5 == (block[-1].step - 1) // 5 for block in blocks)
    assert [step.loss for block in blocks for step in block] == one_by_one


def test_command_line_and_python_train_the_same_model_for_the_same_seed(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(TINY_DOCUMENTS))
    flags = [
        "--n-embd",
        "4",
        "--n-head",
        "2",
        "--block-size",
        "5",
        "--steps",
        "12",
        "--seed",
        "5",
        "-q",
    ]
    model = str(tmp_path / "list.safetensors")
    assert main(["train", str(tmp_path / "list.txt"), "-o", model, *flags]) == 0
    ours = MicroGPT(**TINY, seed=5).fit(TINY_DOCUMENTS)
    assert ours.engine_.state() == MicroGPT.load(model).engine_.state()
    assert ours.sample(10, seed=3) == MicroGPT.load(model).sample(10, seed=3)


def test_another_seed_gives_another_model() -> None:
    assert finish(start(seed=1)) != finish(start(seed=2))


def test_fit_iter_yields_every_step_and_leaves_a_usable_model_in_between() -> None:
    model = MicroGPT(**TINY)
    seen = []
    for step in model.fit_iter(TINY_DOCUMENTS):
        seen.append(step.step)
        assert model.n_steps_ == step.step
        assert len(step.documents) == 1
    assert seen == list(range(1, TINY["num_steps"] + 1))
    assert model.losses_ == MicroGPT(**TINY).fit(TINY_DOCUMENTS).losses_


def test_held_out_documents_are_never_trained_on() -> None:
    session = start(held_out=0.25, num_steps=50)
    assert len(session.held_out) == 2
    trained = {document for step in range(50) for document in session.batch(step)}
    assert sorted([*trained, *session.held_out]) == sorted(TINY_DOCUMENTS)


def test_a_share_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves nothing to train on"):
        Session.start(Config(**TINY, held_out=0.9), Corpus(["only"], HERE), "auto")


def test_block_size_auto_fits_the_longest_document_and_its_end_mark() -> None:
    assert settle_block_size("auto", ["ab", "abcd"]) == 5
    assert settle_block_size(3, ["abcd"]) == 3
    with pytest.raises(ConfigError):
        settle_block_size("large", ["ab"])


def test_the_learning_rate_falls_linearly_to_zero_after_the_last_step() -> None:
    rates = [
        step.learning_rate for block in start(num_steps=4).run(lambda: False) for step in block
    ]
    assert rates == [0.01, 0.0075, 0.005, 0.0025]
