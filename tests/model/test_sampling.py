"""New strings: the reference's draws, truncation, filters that reject, a shortage that is said."""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter

import pytest
from conftest import TINY, TINY_DOCUMENTS
from hypothesis import given, settings
from hypothesis import strategies as st

from microgpt import MicroGPT, reference, sampling
from microgpt.engines.base import draw, truncate
from microgpt.engines.scalar import ScalarEngine
from microgpt.errors import ConfigError, DataError
from microgpt.randomness import Draws


@pytest.fixture(scope="module")
def model() -> MicroGPT:
    return MicroGPT(**TINY | {"num_steps": 60}).fit(TINY_DOCUMENTS)


def test_samples_are_those_of_the_reference_with_the_same_seed(model: MicroGPT) -> None:
    engine = ScalarEngine(model.config_, model.tokenizer_.vocab_size, model.engine_.state())
    rng = random.Random(9)
    expected = [
        model.tokenizer_.decode(
            reference.sample(engine._weights, model.config_, model.tokenizer_.bos, 0.8, rng)
        )
        for _ in range(30)
    ]
    assert model.sample(30, temperature=0.8, seed=9) == expected


def test_sampling_ends_when_stop_returns_true(model: MicroGPT) -> None:
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        assert calls < 100, "sampling goes on although stop returned True"
        return calls > 2

    samples = sampling.sample(model.gpt_, 10**6, sampling.Wanted(match="x"), Draws(1), stop)
    assert list(samples) == []


@settings(max_examples=200)
@given(weights=st.lists(st.floats(0, 1), min_size=1, max_size=30), seed=st.integers(0, 2**32))
def test_draw_is_what_random_choices_draws(weights: list[float], seed: int) -> None:
    if sum(weights) <= 0:
        weights[0] = 1.0
    coin = random.Random(seed).random()
    assert draw(weights, coin) == random.Random(seed).choices(range(len(weights)), weights)[0]


def test_truncation_keeps_the_most_probable_tokens() -> None:
    p = [0.1, 0.4, 0.2, 0.2, 0.1]
    assert truncate(p, 0, 1.0) == p
    assert truncate(p, 2, 1.0) == [0.0, 0.4, 0.2, 0.0, 0.0]  # of equals the lower id
    assert truncate(p, 0, 0.5) == [0.0, 0.4, 0.2, 0.0, 0.0]
    assert truncate(p, 0, 0.4) == [0.0, 0.4, 0.0, 0.0, 0.0]
    assert truncate(p, 1, 0.99) == [0.0, 0.4, 0.0, 0.0, 0.0]


def test_top_k_1_is_the_greedy_string(model: MicroGPT) -> None:
    text = ""
    while len(text) < model.config_.block_size:
        row = model.predict_proba(text)
        best = model.classes_[row.index(max(row))]
        if not best:
            break
        text += best
        if len(text) == model.config_.block_size:
            break
    assert set(model.sample(5, top_k=1, seed=1)) == {text}


def test_frequencies_follow_the_models_probabilities(model: MicroGPT) -> None:
    n = 4000
    found = Counter(model.sample(n, temperature=1.0, seed=4))
    for text, count in found.most_common(5):
        if len(text) < model.config_.block_size:
            p = math.exp(model.score_samples([text])[0])
            assert abs(count / n - p) < 5 * (p * (1 - p) / n) ** 0.5, text


def test_every_string_begins_with_the_prefix_and_none_costs_coins_for_it(model: MicroGPT) -> None:
    found = model.sample(20, prefix="ab", temperature=1.0, seed=2)
    assert len(found) == 20
    assert all(text.startswith("ab") for text in found)


def test_filters_hold_together(model: MicroGPT) -> None:
    found = model.sample(
        5,
        temperature=1.5,
        match="[ab].*",
        min_len=2,
        max_len=4,
        novel=["ab", "ba"],
        unique=True,
        seed=1,
    )
    assert len(set(found)) == len(found) == 5
    assert all(
        text[0] in "ab" and 2 <= len(text) <= 4 and text not in ("ab", "ba") for text in found
    )


def test_novel_leaves_out_the_training_list(model: MicroGPT) -> None:
    assert set(model.sample(200, seed=1)) & set(TINY_DOCUMENTS)
    assert not set(model.sample(50, novel=True, seed=1)) & set(TINY_DOCUMENTS)


def test_fewer_strings_come_back_when_such_strings_do_not_exist(model: MicroGPT) -> None:
    assert model.sample(3, match="z+", seed=1) == []
    found = model.sample(100, max_len=1, unique=True, temperature=2.0, seed=1)
    assert sorted(found) == ["", "a", "b", "c"]


def test_a_prefix_must_fit_and_be_in_the_alphabet(model: MicroGPT) -> None:
    with pytest.raises(
        ConfigError, match="the prefix has 5 characters, and the model generates at most 5"
    ):
        model.sample(1, prefix="ababa")
    with pytest.raises(DataError, match="not in the model's alphabet"):
        model.sample(1, prefix="z")


def test_a_length_beyond_the_block_is_refused_and_the_blocks_own_is_made(model: MicroGPT) -> None:
    block = model.config_.block_size
    found = model.sample(3, min_len=block, temperature=2.0, seed=1)
    assert [len(text) for text in found] == [block] * 3
    with pytest.raises(
        ConfigError,
        match=f"min_len is {block + 1}, but the model generates at most {block} characters",
    ):
        model.sample(3, min_len=block + 1)


BAD: list[dict[str, object]] = [
    {"temperature": 0},
    {"temperature": float("nan")},
    {"top_k": -1},
    {"top_p": 0},
    {"top_p": 1.5},
    {"min_len": -1},
    {"min_len": 3, "max_len": 2},
    {"match": "("},
    {"n": -1},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_options_out_of_range_are_named(model: MicroGPT, bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=list(bad)[-1]):
        model.sample(**bad)


def test_a_call_with_few_coins_makes_few_documents(model: MicroGPT) -> None:
    coins = Draws(1).coins(2 * TINY["block_size"])
    some = model.engine_.generate(100, coins, [model.tokenizer_.bos], 1.0, 0, 1.0, lambda: False)
    assert 2 <= len(some.documents) < 100
    assert some.coins_used == sum(len(d) + (len(d) < TINY["block_size"]) for d in some.documents)
    none = model.engine_.generate(
        100, array("d", coins[:1]), [model.tokenizer_.bos], 1.0, 0, 1.0, lambda: False
    )
    assert none.documents == [] and none.coins_used == 0


def test_a_filter_sees_the_whole_string() -> None:
    wanted = sampling.Wanted(match="ab?", min_len=1, max_len=2, novel=["a"])
    texts = ["", "a", "ab", "abb", "b", "ba"]
    assert [text for text in texts if wanted.accepts(text)] == ["ab"]
    assert not sampling.Wanted(match="ab").accepts("abc")
    assert not sampling.Wanted(match="bc").accepts("abc")
