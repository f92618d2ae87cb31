"""Documents longer than the block, trained on and scored in pieces."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microgpt import MicroGPT, checkpoint, sampling
from microgpt.config import Config
from microgpt.corpus import Corpus, Origin, windows
from microgpt.engines.base import draw
from microgpt.errors import ConfigError
from microgpt.randomness import Draws
from microgpt.scoring import score
from microgpt.tokenizer import Tokenizer
from microgpt.training import Session

LONG = ["the quick brown fox", "jumps over", "a", "the lazy dog and so on and on"]
TINY = {
    "n_embd": 4,
    "n_head": 2,
    "block_size": 6,
    "num_steps": 8,
    "batch_size": 2,
    "engine": "scalar",
}


@given(st.text("abc", max_size=40), st.integers(1, 12))
def test_windows_predict_every_token_once_from_what_comes_before_it(
    document: str, block_size: int
) -> None:
    tokenizer = Tokenizer(["a", "b", "c"])
    tokens = tokenizer.encode(document)
    predicted = []
    for window in windows(document, block_size):
        piece = tokenizer.window(window.document, window.start, block_size + 1)
        assert piece == tokens[window.start : window.start + block_size + 1]
        assert 2 <= len(piece) <= block_size + 1
        predicted += list(range(window.start + 1, window.start + len(piece)))
    assert predicted == list(range(1, len(tokens)))


@given(st.text("abc", max_size=40), st.integers(0, 45), st.integers(1, 45))
def test_a_tokenizers_window_is_a_slice_of_the_whole(
    document: str, start: int, length: int
) -> None:
    tokenizer = Tokenizer(["a", "b", "c"])
    assert (
        tokenizer.window(document, start, length)
        == tokenizer.encode(document)[start : start + length]
    )


def test_every_window_of_every_document_is_trained_on_once_a_pass() -> None:
    config = Config(n_embd=4, n_head=2, block_size=6, num_steps=100, windows=True)
    session = Session.start(config, Corpus(list(LONG), Origin(("here",))), "scalar")
    expected = sorted(w.text(6) for document in LONG for w in windows(document, 6))
    seen = [session.batch(step)[0] for step in range(len(expected))]
    assert sorted(seen) == expected and seen != expected


def test_a_model_trained_with_windows_scores_whole_strings() -> None:
    model = MicroGPT(**TINY, windows=True).fit(LONG)  # type: ignore[arg-type]
    engine, tokenizer = model.engine_, model.tokenizer_
    for text, found in zip(LONG, score(model.gpt_, LONG, lambda: False)):
        pieces = [tokenizer.window(text, w.start, 7) for w in windows(text, 6)]
        expected = sum(map(sum, engine.log_probabilities(pieces, lambda: False)))
        assert found.log_probability == pytest.approx(expected, rel=1e-12)
        assert (found.tokens, found.cut) == (len(text) + 1, False)
    plain = MicroGPT(**TINY).fit(LONG)  # type: ignore[arg-type]
    assert [found.cut for found in score(plain.gpt_, LONG, lambda: False)] == [
        True,
        True,
        False,
        True,
    ]


def grown(model: MicroGPT, prefix: str, longest: int, coins: Iterator[float]) -> str:
    """One string, token by token: the engine looks at the piece that the next token belongs to."""
    tokenizer, block_size = model.tokenizer_, model.config_.block_size
    tokens = [tokenizer.bos, *tokenizer.ids(prefix)]
    while len(tokens) <= longest:
        piece = tokens[(len(tokens) - 1) // block_size * block_size :]
        probabilities = model.engine_.trace([*piece, tokenizer.bos], lambda: False).probabilities[
            -1
        ]
        token = draw(probabilities, next(coins))
        if token == tokenizer.bos:
            break
        tokens.append(token)
    return tokenizer.decode(tokens[1:])


@pytest.mark.parametrize("engine", ["scalar", "exact"])
@pytest.mark.parametrize("prefix", ["", "the la", "the quick brown"])
def test_a_model_trained_with_windows_goes_on_past_its_block(
    engine: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "LONGEST", 30)
    model = MicroGPT(**TINY | {"engine": engine}, windows=True).fit(LONG)  # type: ignore[arg-type]
    coins = iter(Draws(5).coins(1000))
    expected = [grown(model, prefix, 30, coins) for _ in range(12)]
    assert model.sample(12, prefix=prefix, temperature=1.0, seed=5) == expected
    assert max(map(len, expected)) == 30 and any(len(text) % 6 for text in expected)


@pytest.mark.proof
def test_lengths_asked_for_bound_a_string_past_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LONGEST", 30)
    model = MicroGPT(**TINY, windows=True).fit(LONG)  # type: ignore[arg-type]
    assert {len(text) for text in model.sample(3, min_len=40, temperature=1.0, seed=1)} == {40}
    assert sorted(
        {len(text) for text in model.sample(20, min_len=8, max_len=9, temperature=1.0, seed=1)}
    ) == [8, 9]
    wide = MicroGPT(**TINY | {"block_size": 45}, windows=True).fit(LONG)  # type: ignore[arg-type]
    assert (
        max(len(text) for text in wide.sample(30, temperature=3.0, prefix="a" * 30, seed=1)) == 45
    )
    with pytest.raises(
        ConfigError, match="the prefix has 30 characters, and the model generates at most 30"
    ):
        model.sample(1, prefix="a" * 30)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 8), st.integers(0, 2**32))
def test_a_resumed_run_with_windows_equals_the_uninterrupted_one(at: int, seed: int) -> None:
    values = {name: value for name, value in TINY.items() if name != "engine"}
    config = Config(**values, windows=True, seed=seed)  # type: ignore[arg-type]
    whole = Session.start(config, Corpus(list(LONG), Origin(("here",))), "auto")
    losses = [step.loss for block in whole.run(lambda: False) for step in block]
    broken = Session.start(config, Corpus(list(LONG), Origin(("here",))), "auto")
    first = [
        step.loss for block in broken.run(lambda: broken.step >= at, every=1) for step in block
    ]
    stored = checkpoint.from_bytes(checkpoint.to_bytes(broken.checkpoint()))
    resumed = Session.resume(stored, Corpus(list(LONG), Origin(("here",))), "auto")
    assert first + [step.loss for block in resumed.run(lambda: False) for step in block] == losses


def test_windows_is_true_or_false() -> None:
    with pytest.raises(ConfigError, match="windows must be True or False, not 1"):
        Config(windows=1)  # type: ignore[arg-type]


def test_the_command_trains_scores_and_evaluates_with_windows(tmp_path: Path) -> None:
    rng = random.Random(1)
    words = ["sun", "moon", "star", "cloud", "rain"]
    (tmp_path / "plays.txt").write_text(
        "\n".join(" ".join(rng.choices(words, k=30)) for _ in range(40))
    )

    def run(*arguments: str) -> str:
        program = [sys.executable, "-m", "microgpt", *arguments]
        done = subprocess.run(
            program, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    shape = [
        "--block-size",
        "24",
        "--n-embd",
        "8",
        "--n-head",
        "2",
        "--steps",
        "30",
        "--batch-size",
        "4",
    ]
    assert "cut" in run("train", "plays.txt", *shape, "-o", "cut.safetensors")
    assert "cut" not in run("train", "plays.txt", "--windows", *shape)
    assert "5-gram" in run("eval", "plays.txt", "--windows", *shape)
    assert '"cut": false' in run("score", "plays.safetensors", "plays.txt", "--json")
