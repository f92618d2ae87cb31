"""`MicroGPT` behaves as scikit-learn's users and everybody else expect."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from pathlib import Path

import pytest
from conftest import TINY, TINY_DOCUMENTS, has_engine, skip_or_fail

from microgpt import ConfigError, DataError, InputError, MicroGPT, NotFittedError
from microgpt.config import FIELDS


@pytest.fixture(scope="module")
def model() -> MicroGPT:
    return MicroGPT(**TINY).fit(TINY_DOCUMENTS)


def test_arguments_and_defaults_are_those_of_config() -> None:
    ours = {name: p.default for name, p in inspect.signature(MicroGPT).parameters.items()}
    assert ours == {item.name: item.default for item in FIELDS.values()} | {
        "engine": "auto",
        "threads": 0,
    }


def test_constructor_only_stores_and_parameters_come_back_as_given() -> None:
    model = MicroGPT(
        n_embd=7, n_head=2, block_size="auto", learning_rate=-1
    )  # nonsense, found by fit
    assert model.get_params()["n_embd"] == 7
    assert model.set_params(n_embd=8).n_embd == 8
    assert repr(model) == "MicroGPT(n_embd=8, n_head=2, block_size='auto', learning_rate=-1)"
    with pytest.raises(ConfigError, match="no parameter 'width'"):
        model.set_params(width=3)
    with pytest.raises(ConfigError, match="learning_rate"):
        model.fit(TINY_DOCUMENTS)


def test_grid_search_of_scikit_learn_runs_over_it_and_picks_the_better_model() -> None:
    try:
        from sklearn.base import clone
        from sklearn.model_selection import GridSearchCV
    except ImportError:
        skip_or_fail("sklearn", "scikit-learn is not installed")
    documents = TINY_DOCUMENTS * 3
    search = GridSearchCV(
        MicroGPT(**TINY), {"learning_rate": [1e-6, 0.05]}, cv=2, error_score="raise"
    )
    search.fit(documents)
    assert search.best_params_ == {"learning_rate": 0.05}
    assert search.best_estimator_.score(documents) == pytest.approx(search.score(documents))
    assert clone(MicroGPT(seed=3)).get_params() == MicroGPT(seed=3).get_params()


def test_fit_takes_iterables_and_paths_and_refuses_a_string(
    tmp_path: Path, model: MicroGPT
) -> None:
    (tmp_path / "list.txt").write_text("\n".join(TINY_DOCUMENTS) + "\n")
    expected = model.engine_.state()
    for documents in (
        iter(TINY_DOCUMENTS),
        tuple(TINY_DOCUMENTS),
        tmp_path / "list.txt",
        [" ab ", *TINY_DOCUMENTS[1:], ""],
    ):
        assert MicroGPT(**TINY).fit(documents).engine_.state() == expected
    for wrong in ("ab", b"ab", [b"ab"], ["ab", 3]):
        with pytest.raises(TypeError):
            MicroGPT(**TINY).fit(wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no documents"):
        MicroGPT().fit([])


def test_fit_does_not_change_the_callers_list() -> None:
    documents = list(TINY_DOCUMENTS)
    MicroGPT(**TINY).fit(documents)
    assert documents == TINY_DOCUMENTS


def test_a_saved_model_is_the_same_model(tmp_path: Path, model: MicroGPT) -> None:
    path = tmp_path / "m.safetensors"
    model.save(path)
    again = MicroGPT.load(path)
    assert again.engine_.state() == model.engine_.state()
    assert again.get_params() == model.get_params() | {"engine": "auto"}
    again.save(tmp_path / "n.safetensors")
    assert path.read_bytes() == (tmp_path / "n.safetensors").read_bytes()


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
@pytest.mark.parametrize("engine", ["scalar", "exact", "fast"])
def test_a_copied_or_pickled_model_is_the_same_model_and_goes_its_own_way(
    tmp_path: Path, engine, twin
) -> None:
    if not has_engine(engine):
        skip_or_fail(engine, f"the engine {engine} is not installed")
    model = MicroGPT(**TINY, engine=engine, threads=1).fit(TINY_DOCUMENTS)
    again = twin(model)
    assert again.get_params() == model.get_params()
    assert again.losses_ == model.losses_ and again.n_steps_ == 12 and again.engine_.name == engine
    assert again.sample(20, seed=3) == model.sample(20, seed=3)
    assert again.sample(20, novel=True, seed=3) == model.sample(20, novel=True, seed=3)
    assert again.score_samples(TINY_DOCUMENTS) == model.score_samples(TINY_DOCUMENTS)
    for one, name in ((model, "m"), (again, "n")):
        one.save(tmp_path / name)
    assert (tmp_path / "m").read_bytes() == (tmp_path / "n").read_bytes()
    before = model.engine_.state()
    assert again.set_params(seed=7).fit(["x", "y"]).known() == {"x", "y"}
    assert model.engine_.state() == before and model.known() == set(TINY_DOCUMENTS)


def test_an_untrained_model_and_a_subclass_are_pickled_with_all_they_hold() -> None:
    found = pickle.loads(pickle.dumps(Named(n_embd=8, block_size="auto")))
    assert (
        type(found) is Named
        and found.get_params() == Named(n_embd=8, block_size="auto").get_params()
    )
    with pytest.raises(NotFittedError, match="not trained yet"):
        found.sample(1)
    found = copy.deepcopy(found.set_params(**TINY)).fit(TINY_DOCUMENTS)
    found.label = "tiny"
    again = pickle.loads(pickle.dumps(found))
    assert (
        type(again) is Named
        and again.label == "tiny"
        and again.sample(5, seed=1) == found.sample(5, seed=1)
    )


class Named(MicroGPT):
    """With an attribute of its own."""

    label = ""


def test_a_pickled_model_of_a_file_knows_the_training_list_as_the_loaded_one_does(
    tmp_path: Path,
) -> None:
    source = tmp_path / "list.txt"
    source.write_text("\n".join(TINY_DOCUMENTS))
    MicroGPT(**TINY).fit(source).save(tmp_path / "m.safetensors")
    model = MicroGPT.load(tmp_path / "m.safetensors")
    early = pickle.dumps(model)
    assert model.known() == set(TINY_DOCUMENTS)
    late = pickle.dumps(model)
    source.unlink()
    assert pickle.loads(late).known() == set(TINY_DOCUMENTS)
    with pytest.raises(InputError):
        pickle.loads(early).sample(1, novel=True)


@pytest.mark.proof
def test_cross_validation_in_other_processes_brings_trained_models_back() -> None:
    try:
        from sklearn.base import clone
        from sklearn.model_selection import cross_validate
    except ImportError:
        skip_or_fail("sklearn", "scikit-learn is not installed")
    documents = TINY_DOCUMENTS * 3
    found = cross_validate(
        MicroGPT(**TINY), documents, cv=2, n_jobs=2, return_estimator=True, error_score="raise"
    )
    half = len(documents) // 2
    for model, mean, part in zip(
        found["estimator"], found["test_score"], (documents[:half], documents[half:])
    ):
        assert model.score(part) == mean
        assert len(model.losses_) == 12
        with pytest.raises(NotFittedError):
            clone(model).score(part)


def test_an_untrained_model_says_so() -> None:
    for use in (
        lambda m: m.sample(1),
        lambda m: m.score(["a"]),
        lambda m: m.explain("a"),
        lambda m: m.save("x"),
    ):
        with pytest.raises(NotFittedError, match="not trained yet"):
            use(MicroGPT())


def test_predict_proba_gives_a_distribution_over_classes(model: MicroGPT) -> None:
    row = model.predict_proba("ab")
    assert len(row) == len(model.classes_) == 4
    assert model.classes_ == ["a", "b", "c", ""]
    assert sum(row) == pytest.approx(1.0)  # type: ignore[arg-type]
    assert model.predict_proba(["ab", ""]) == [row, model.predict_proba("")]
    with pytest.raises(ConfigError, match="fills the model's block"):
        model.predict_proba("ababa")


def test_explanation_holds_probabilities_losses_attention_and_gradients(model: MicroGPT) -> None:
    found = model.explain("cab", gradients=True)
    assert found.tokens == ["·", "c", "a", "b", "·"]
    assert found.loss == pytest.approx(-model.score_samples(["cab"])[0] / 4)
    assert len(found.probabilities) == len(found.losses) == 4
    for head in found.attention[0]:
        assert [len(row) for row in head] == [1, 2, 3, 4]
        assert all(sum(row) == pytest.approx(1.0) for row in head)
    assert list(found.gradients) == list(model.config_.shapes(4))
    assert any(x for x in found.gradients["wte"][2])
    assert not any(x for x in found.gradients["wpe"][4])  # a position the string does not reach
    json.dumps(found.to_dict())
    assert "<table>" in found._repr_html_()


def test_an_explanation_in_a_notebook_runs_no_markup_of_the_text() -> None:
    model = MicroGPT(**TINY | {"block_size": 12}).fit(["<script>", "a&b"])
    assert "<script>" not in model.explain("<script>")._repr_html_()


def test_to_torch_gives_the_same_logits_and_its_own_samples(model: MicroGPT) -> None:
    try:
        import torch
    except ImportError:
        skip_or_fail("torch", "PyTorch is not installed")
    module = model.to_torch()
    tokens = model.tokenizer_.encode("cab")
    logits, loss = module(torch.tensor([tokens[:-1]]), torch.tensor([tokens[1:]]))
    assert logits[0].softmax(-1).tolist()[-1] == pytest.approx(
        model.predict_proba("cab"), rel=1e-12
    )
    assert loss.item() == pytest.approx(model.explain("cab").loss, rel=1e-12)
    assert len(module.generate(7)) == 7
