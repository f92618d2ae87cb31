"""Every registered engine keeps the contract, and the checks notice one that does not.

The example of docs/extending.md is registered as another package would register it, so it is here
too.
"""

from __future__ import annotations

import sys
import tomllib
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, has_engine, skip_or_fail
from engine_contract import CHECKS, SMALL, VOCAB, Kind, initial

import microgpt
from microgpt import engines
from microgpt.engines import Generated, Run, State, Trace
from microgpt.errors import ConfigError, MissingPartError

EXAMPLE = ROOT / "examples" / "numpy_engine"
NAMES = [*engines.BUILT_IN, "numpy"]


def register(folder: Path, entry_points: dict[str, str], patch: pytest.MonkeyPatch) -> None:
    """What installing a package with these entry points does: a folder of metadata on the path."""
    metadata = folder / "an_engine-1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: an-engine\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = {value}" for name, value in entry_points.items())
    (metadata / "entry_points.txt").write_text(f"[microgpt.engines]\n{lines}\n")
    patch.syspath_prepend(str(folder))


@pytest.fixture(scope="module", autouse=True)
def _example(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
        patch.syspath_prepend(str(EXAMPLE))
        entry_points = project["entry-points"]["microgpt.engines"]
        register(tmp_path_factory.mktemp("installed"), entry_points, patch)
        yield


def kind_of(name: str) -> Kind:
    if not has_engine(name):
        skip_or_fail("native", f"the engine {name} is not installed")
    return engines.engine_class(name)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_an_engine_keeps_the_contract(name: str, check: str) -> None:
    CHECKS[check](kind_of(name))


def test_every_registered_engine_is_checked() -> None:
    assert set(engines.engine_names()) == set(NAMES)


# ---- The checks notice deviations ----------------------------------------------------------------


def minus_one_is_bos(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def trace(self, tokens: Sequence[int], stop: Any) -> Trace:
            return super().trace([VOCAB - 1 if t == -1 else t for t in tokens], stop)

    return Deviant


def top_p_is_ignored(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def generate(self, count, coins, start, temperature, top_k, top_p, stop):  # type: ignore[no-untyped-def]
            return super().generate(count, coins, start, temperature, top_k, 1.0, stop)

    return Deviant


def one_coin_more_is_counted(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def generate(self, *args: Any, **kwargs: Any) -> Generated:
            documents, used = super().generate(*args, **kwargs)
            return Generated(documents, used + bool(documents))

    return Deviant


def gradients_move_the_step_count(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def gradients(self, batch: Any, stop: Any) -> Any:
            result = super().gradients(batch, stop)
            super().steps([batch], [0.0], stop)
            return result

    return Deviant


def stop_is_not_asked_in_steps(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def steps(self, batches: Any, rates: Any, stop: Any) -> Run:
            return super().steps(batches[:5], rates[:5], lambda: False)

    return Deviant


def a_batchs_loss_is_a_sum(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def gradients(self, batch: Any, stop: Any) -> Any:
            loss, gradients = super().gradients(batch, stop)
            return loss * len(batch), array("d", [g * len(batch) for g in gradients])

    return Deviant


def the_step_count_starts_at_zero(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def __init__(self, config: Any, vocab_size: int, state: State, **options: Any) -> None:
            state = State(state.parameters, state.m, state.v, min(state.step, 0))
            super().__init__(config, vocab_size, state, **options)

    return Deviant


def the_last_log_probability_is_missing(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def log_probabilities(self, documents: Any, stop: Any) -> list[list[float]]:
            return [row[:-1] for row in super().log_probabilities(documents, stop)]

    return Deviant


def heads_are_in_reverse_order(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def trace(self, tokens: Any, stop: Any) -> Trace:
            probabilities, attention = super().trace(tokens, stop)
            return Trace(probabilities, [layer[::-1] for layer in attention])

    return Deviant


def the_first_rate_serves_all_steps(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def steps(self, batches: Any, rates: Any, stop: Any) -> Run:
            return super().steps(batches, [rates[0]] * len(rates) if len(rates) else rates, stop)

    return Deviant


def an_empty_batch_is_skipped(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def steps(self, batches: Any, rates: Any, stop: Any) -> Run:
            pairs = [(b, r) for b, r in zip(batches, rates) if len(b)]
            if len(batches) == len(rates):
                batches, rates = [b for b, _ in pairs], [r for _, r in pairs]
            return super().steps(batches, rates, stop)

    return Deviant


def what_stop_raises_is_a_stop(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def steps(self, batches: Any, rates: Any, stop: Any) -> Run:
            try:
                return super().steps(batches, rates, stop)
            except KeyboardInterrupt:
                return Run([], "stopped")

    return Deviant


def a_diverged_step_counts_as_done(kind: Kind) -> Kind:
    class Deviant(kind):  # type: ignore[valid-type,misc]
        def steps(self, batches: Any, rates: Any, stop: Any) -> Run:
            run = super().steps(batches, rates, stop)
            return Run(run.losses, "done" if run.end == "diverged" else run.end)

    return Deviant


def a_loss_has_another_last_bit(kind: Kind) -> Kind:
    """For engines with a bound, another number just outside it."""

    class Deviant(kind):  # type: ignore[valid-type,misc]
        def gradients(self, batch: Any, stop: Any) -> Any:
            loss, gradients = super().gradients(batch, stop)
            return loss * (1 + max(3 * kind.bound, 2**-52)), gradients

    return Deviant


# The deviations, and for each the check that must notice it.
DEVIATIONS: dict[Callable[[Kind], Kind], str] = {
    minus_one_is_bos: "wrong_arguments_have_the_same_words_everywhere",
    top_p_is_ignored: "generated_documents_are_the_scalar_engines",
    one_coin_more_is_counted: "coins_run_out_only_between_documents",
    gradients_move_the_step_count: "only_steps_changes_the_model",
    stop_is_not_asked_in_steps: "stopped_later_it_is_between_two_updates",
    a_batchs_loss_is_a_sum: "a_batchs_loss_is_the_mean_of_its_documents",
    the_step_count_starts_at_zero: "a_run_in_pieces_is_the_run_in_one",
    the_last_log_probability_is_missing: "log_probabilities_and_traces_agree_with_scalar",
    heads_are_in_reverse_order: "log_probabilities_and_traces_agree_with_scalar",
    the_first_rate_serves_all_steps: "a_run_in_pieces_is_the_run_in_one",
    an_empty_batch_is_skipped: "wrong_arguments_have_the_same_words_everywhere",
    what_stop_raises_is_a_stop: "what_stop_raises_comes_out",
    a_diverged_step_counts_as_done: "a_diverged_update_leaves_no_trace",
    a_loss_has_another_last_bit: "losses_and_gradients_agree_with_scalar",
}


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_the_contracts_checks_notice_a_deviation(
    name: str, deviation: Callable[[Kind], Kind]
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        CHECKS[DEVIATIONS[deviation]](deviation(kind_of(name)))


# ---- The registry --------------------------------------------------------------------------------


def test_an_engine_of_another_package_trains_by_its_name() -> None:
    from microgpt import MicroGPT

    model = MicroGPT(engine="numpy", num_steps=3, n_embd=4, n_head=2).fit(["ab", "ba", "abba"])
    exact = MicroGPT(num_steps=3, n_embd=4, n_head=2).fit(["ab", "ba", "abba"])
    assert model.losses_ == pytest.approx(exact.losses_, rel=1e-12)
    assert "NumPy" in engines.available()["numpy"]


def test_what_an_engines_import_raises_is_shown_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_engine.py").write_text("raise RuntimeError('first line\\nsecond line')\n")
    register(tmp_path, {"broken": "broken_engine:Engine", "gone": "no_such_module:E"}, monkeypatch)
    with pytest.raises(MissingPartError) as caught:
        engines.engine_class("broken")
    assert "RuntimeError: first line\nsecond line" in caught.value.what
    assert "compiler" not in caught.value.fix
    assert "No module named 'no_such_module'" in engines.available()["gone"]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("Engine = 3", "is not a class"),
        ("class Engine: name = 'odd'", "the class lacks supports"),
        ("{base}\nclass Engine(ScalarEngine): name = 'scalar'", "its name must be 'odd'"),
        ("{base}\nclass Engine(ScalarEngine):\n name, bound = 'odd', float('nan')", "its bound"),
        ("{base}\nclass Engine(ScalarEngine):\n name, bound = 'odd', -1.0", "its bound"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_a_class_that_is_no_engine_is_refused_before_it_trains(
    source: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = "from microgpt.engines.scalar import ScalarEngine"
    (tmp_path / "odd_engine.py").write_text(source.format(base=base))
    monkeypatch.delitem(sys.modules, "odd_engine", raising=False)
    register(tmp_path, {"odd": "odd_engine:Engine"}, monkeypatch)
    with pytest.raises(MissingPartError) as caught:
        engines.engine_class("odd")
    assert why in caught.value.what
    assert why in engines.available()["odd"]


def test_an_engine_that_cannot_say_what_it_runs_on_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mute_engine.py").write_text(
        "from microgpt.engines.scalar import ScalarEngine\n"
        "class Engine(ScalarEngine):\n"
        "    name = 'mute'\n"
        "    @classmethod\n"
        "    def about(cls): raise RuntimeError('silence')\n"
    )
    register(tmp_path, {"mute": "mute_engine:Engine", "auto": "mute_engine:Engine"}, monkeypatch)
    status = engines.available()
    assert status["mute"] == "not usable: RuntimeError: silence"
    assert "reference.py" in status["scalar"]
    assert "auto" not in status


def test_an_engine_that_breaks_its_word_on_steps_ends_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microgpt import MicroGPT

    (tmp_path / "idle_engine.py").write_text(
        "from microgpt.engines import Run\n"
        "from microgpt.engines.scalar import ScalarEngine\n"
        "class Engine(ScalarEngine):\n"
        "    name = 'idle'\n"
        "    def steps(self, batches, rates, stop): return Run([], 'done')\n"
    )
    register(tmp_path, {"idle": "idle_engine:Engine"}, monkeypatch)
    with pytest.raises(MissingPartError, match="the engine 'idle' breaks its contract"):
        MicroGPT(engine="idle", num_steps=3, n_embd=4, n_head=2).fit(["ab", "ba"])


def test_only_a_missing_compiled_module_asks_for_a_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "microgpt._native", None)
    monkeypatch.delattr(microgpt, "_native", raising=False)
    for module in ("exact", "fast", "compiled"):
        monkeypatch.delitem(sys.modules, f"microgpt.engines.{module}", raising=False)
    with pytest.raises(MissingPartError) as caught:
        engines.engine_class("exact")
    assert "compiler" in caught.value.fix
    with pytest.warns(RuntimeWarning, match="scalar engine"):
        assert engines.engine_class("auto").name == "scalar"


def test_an_unknown_engine_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match="there is no engine 'warp'") as caught:
        engines.engine_class("warp")
    assert all(name in caught.value.fix for name in NAMES)


def test_the_example_is_told_apart_from_a_model_of_another_size() -> None:
    state = initial(SMALL)
    state.parameters.append(0.0)
    with pytest.raises(ValueError, match="parameters must hold"):
        engines.engine_class("numpy")(SMALL, VOCAB, state)
