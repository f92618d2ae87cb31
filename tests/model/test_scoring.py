"""Scores are log-probabilities, and counting baselines are the ones the books define."""

from __future__ import annotations

import itertools
import math

import pytest
from conftest import TINY, TINY_DOCUMENTS, tokens_of

from microgpt import MicroGPT, reference
from microgpt.corpus import read
from microgpt.ngrams import NGrams
from microgpt.randomness import Draws
from microgpt.scoring import score


@pytest.fixture(scope="module")
def model() -> MicroGPT:
    return MicroGPT(**TINY | {"num_steps": 40}).fit(TINY_DOCUMENTS)


def test_probabilities_of_all_strings_sum_to_one(model: MicroGPT) -> None:
    block_size = model.config_.block_size
    letters = model.tokenizer_.alphabet
    # Strings that fill the block are cut before their end token: they stand for all that go on from
    # there.
    everything = [
        "".join(text)
        for n in range(block_size + 1)
        for text in itertools.product(letters, repeat=n)
    ]
    found = list(score(model.gpt_, everything, lambda: False))
    assert math.fsum(math.exp(one.log_probability) for one in found) == pytest.approx(
        1.0, abs=1e-12
    )
    assert [one.cut for one in found] == [len(text) >= block_size for text in everything]


def test_a_score_is_the_reference_loss_of_the_string(model: MicroGPT) -> None:
    weights, numbers = {}, iter(model.engine_.state().parameters)
    for name, (rows, columns) in model.config_.shapes(model.tokenizer_.vocab_size).items():
        weights[name] = [
            [reference.Value(next(numbers)) for _ in range(columns)] for _ in range(rows)
        ]
    for text in ("ab", "cab", "", "abcab"):
        tokens = reference.encode(text, list(model.tokenizer_.alphabet))
        n = min(model.config_.block_size, len(tokens) - 1)
        loss = reference.document_loss(tokens[:-1], tokens[1:], weights, model.config_).data
        assert model.score_samples([text])[0] == pytest.approx(-loss * n, rel=1e-14)


def test_evaluation_averages_over_tokens(model: MicroGPT) -> None:
    texts = ["a", "abba", "cc"]
    total, tokens = sum(model.score_samples(texts)), sum(len(text) + 1 for text in texts)
    found = model.evaluate(texts)
    assert (found.tokens, found.documents) == (tokens, 3)
    assert found.loss == pytest.approx(-total / tokens, rel=1e-14)
    assert model.score(texts) == -found.loss
    assert found.bits == pytest.approx(found.loss / math.log(2))
    assert model.perplexity(texts) == pytest.approx(math.exp(found.loss))


def test_ngram_probabilities_sum_to_one_after_every_history() -> None:
    documents = tokens_of(TINY_DOCUMENTS)
    bos = documents[0][0]
    counts = NGrams(documents, bos + 1)
    for history in ([bos], [bos, 0], [bos, 0, 1, 1], [bos, 2, 2, 2, 2], [bos, 1, 0, 1, 0, 1]):
        rows = [counts.probabilities([*history, token], len(history)) for token in range(bos + 1)]
        for order in zip(*rows):
            assert math.fsum(order) == pytest.approx(1.0, abs=1e-12)


def test_witten_bell_by_hand() -> None:
    # Documents "ab" and "aa": tokens a=0, b=1, mark=2. After a came b, a, mark: one each.
    counts = NGrams(tokens_of(["ab", "aa"]), 3)
    unigram = (3 + 3 * (1 / 3)) / (6 + 3)  # a: 3 of 6 tokens, 3 kinds in all
    bigram = (1 + 3 * unigram) / (3 + 3)
    assert counts.probabilities([2, 0, 0], 2)[:3] == pytest.approx([1 / 3, unigram, bigram])


def test_baselines_on_the_published_list_are_the_known_ones(shared: object) -> None:
    source = read([f"{shared}/data/makemore-names.txt"])
    Draws(42).shuffle(source.documents)
    tokens = tokens_of(source.documents)
    losses = NGrams(tokens[1000:], 27).losses(tokens[:1000], 16)
    known = {"uniform": 3.30, "2-gram": 2.46, "3-gram": 2.23, "4-gram": 2.07, "5-gram": 2.02}
    for name, loss in known.items():
        assert losses[name] == pytest.approx(loss, abs=0.05), (
            name
        )  # other 1,000 names were held out there


def test_a_model_that_learned_one_string_finds_it_probable() -> None:
    model = MicroGPT(**TINY | {"num_steps": 80, "learning_rate": 0.05}).fit(["abc"] * 3)
    likely, unlikely = model.score_samples(["abc", "cba"])
    assert likely > math.log(0.9) > math.log(0.01) > unlikely
