"""What the presets add to the reference: weight decay, Muon, hidden inputs, warm-up, windows.

Oracles: PyTorch's optimizers, singular values, and the scalar engine for the fast one.
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from conftest import need, skip_or_fail
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zoo.base import DATA, changed

from microgpt import MicroGPT, checkpoint, recipe, reference, reference_recipe
from microgpt.config import Config
from microgpt.corpus import Corpus, Origin
from microgpt.engines import State, engine_class
from microgpt.engines.scalar import ScalarEngine
from microgpt.errors import ConfigError, DataError
from microgpt.recipes import PRESETS
from microgpt.reference_recipe import hidden_inputs, learning_rate_at, orthogonalized
from microgpt.training import Session
from microgpt.verify.cases import cases_for
from microgpt.verify.programs import Program, reference_program
from microgpt.verify.verdict import render
from microgpt.verify.verifier import Verifier

VOCAB = 5
BATCH = [[4, 0, 1, 2, 4], [4, 3, 3, 4], [4, 0, 2, 4]]
NAMES = ["ann", "bob", "cara", "dora", "eve", "anna", "cab"]


def never() -> bool:
    return False


def fresh(config: Config, seed: int = 1, std: float = 0.3) -> State:
    rng = random.Random(seed)
    return State.initial(
        array("d", array("f", [rng.gauss(0, std) for _ in range(config.parameter_count(VOCAB))]))
    )


def require_fast() -> Any:
    native = need(
        "microgpt._native", "native", "the compiled module was not built: no C++ compiler"
    )
    if not hasattr(native, "Fast"):
        skip_or_fail("native", "the compiled module was built without the fast engine")
    return engine_class("fast")


def torch_steps(config: Config, state: State, rates: list[float]) -> list[list[list[float]]]:
    """The weights by matrix, after PyTorch's optimizers took these steps.

    The gradients are the scalar engine's.
    """
    torch = need("torch", "torch", "PyTorch is not installed")
    shapes = config.shapes(VOCAB)
    numbers = iter(state.parameters)
    weights = {
        name: torch.tensor(
            [[next(numbers) for _ in range(c)] for _ in range(r)], dtype=torch.float64
        )
        for name, (r, c) in shapes.items()
    }
    layers = [w for name, w in weights.items() if config.muon and name.startswith("layer")]
    others = [w for name, w in weights.items() if not (config.muon and name.startswith("layer"))]
    betas, decay = (config.beta1, config.beta2), config.weight_decay
    optimizers = [
        torch.optim.AdamW(others, lr=1.0, betas=betas, eps=config.eps_adam, weight_decay=decay)
    ]
    if layers:
        scale = "match_rms_adamw"
        optimizers.append(
            torch.optim.Muon(
                layers, lr=1.0, momentum=config.muon, weight_decay=decay, adjust_lr_fn=scale
            )
        )
    for rate in rates:
        now = array("d", [float(x) for w in weights.values() for row in w for x in row])
        _, flat = ScalarEngine(config, VOCAB, State.initial(now)).gradients(BATCH, never)
        gradient = iter(flat)
        for w in weights.values():
            w.grad = torch.tensor([[next(gradient) for _ in row] for row in w], dtype=torch.float64)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
    return [w.tolist() for w in weights.values()]


def flattened(matrices: list[list[list[float]]]) -> list[float]:
    return [x for matrix in matrices for row in matrix for x in row]


def test_weight_decay_is_adamws() -> None:
    config = Config(n_embd=4, n_head=2, block_size=4, weight_decay=0.3)
    state, rates = fresh(config), [0.05, 0.02, 0.01]
    engine = ScalarEngine(config, VOCAB, state)
    assert engine.steps([BATCH] * 3, rates, never).end == "done"
    expected = flattened(torch_steps(config, state, rates))
    assert list(engine.state().parameters) == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_muon_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = need("torch", "torch", "PyTorch is not installed")
    monkeypatch.setattr(
        torch.Tensor, "bfloat16", torch.Tensor.double
    )  # it orthogonalizes in 8 bits; here in 53
    config = Config(n_layer=2, n_embd=8, n_head=2, block_size=4, muon=0.9, weight_decay=0.1)
    state, rates = fresh(config), [0.05, 0.02, 0.01]
    engine = ScalarEngine(config, VOCAB, state)
    assert engine.steps([BATCH] * 3, rates, never).end == "done"
    expected = flattened(torch_steps(config, state, rates))
    assert list(engine.state().parameters) == pytest.approx(expected, rel=1e-9, abs=1e-12)


SMALL = {"n_layer": 2, "n_embd": 6, "n_head": 2, "batch_size": 3, "warmup": 2}


@pytest.mark.parametrize(
    "more",
    [
        {"muon": 0.95, "weight_decay": 0.1, "input_dropout": 0.3, "beta2": 0.995},
        {"block_size": 3, "windows": True, "weight_decay": 0.2},
    ],
    ids=["good and best", "windows"],
)
def test_the_recipes_run_is_the_scalar_engines_training_bit_for_bit(
    more: dict[str, float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parameters, update = [], reference_recipe.update

    def watched(weights: dict[str, Any], *rest: Any) -> None:
        update(weights, *rest)
        parameters.append(array("d", [p.data for p in reference.parameters_of(weights)]))

    (tmp_path / "list.txt").write_text("\n".join(NAMES))
    monkeypatch.setattr(reference_recipe, "update", watched)
    reference_recipe.main(str(tmp_path / "list.txt"), SMALL | more, num_steps=4)
    monkeypatch.undo()
    config = Config(num_steps=4, **{"block_size": 5, **SMALL, **more})  # type: ignore[arg-type]
    session = Session.start(config, Corpus(list(NAMES), Origin(("here",))), "scalar")
    for block, expected in zip(session.run(never, every=1), parameters, strict=True):
        assert len(block) == 1 and session.engine.state().parameters == expected


def test_with_everything_switched_off_the_recipes_run_is_the_references() -> None:
    source = Path(reference_recipe.__file__).read_text(encoding="utf-8")
    off = 'settings={"batch_size": 1, "warmup": 0, "block_size": 16}, num_steps=1000'
    folder = str(Path(reference_recipe.__file__).parents[1])
    source = changed(source, ("settings=GOOD, num_steps=1600", off))
    program = Program("the recipe", source, python_path=folder)
    cases = cases_for([("twelve names", DATA)], steps=2)
    verdict = Verifier(reference_program()).verify(program, cases)
    assert verdict.answer == "same", render(verdict)


def test_windows_are_the_pieces_that_training_takes() -> None:
    tokens = list(range(12))
    assert reference_recipe.windows(tokens, 5) == [tokens[:6], tokens[5:11], tokens[10:]]
    assert reference_recipe.windows(tokens, 11) == reference_recipe.windows(tokens, 99) == [tokens]


def test_without_decay_and_muon_every_bit_is_the_references() -> None:
    config = Config(n_embd=4, n_head=2, block_size=4)
    state = fresh(config)
    engine = ScalarEngine(config, VOCAB, state)
    engine.steps([BATCH] * 3, [0.05, 0.02, 0.01], never)
    parameters = [reference.Value(x) for x in state.parameters]
    m, v = list(state.m), list(state.v)
    now = ScalarEngine(config, VOCAB, state)
    for step, rate in enumerate([0.05, 0.02, 0.01]):
        _, gradient = ScalarEngine(config, VOCAB, now.state()).gradients(BATCH, never)
        for p, g in zip(parameters, gradient):
            p.grad = g
        reference.adam(parameters, m, v, step, rate)
        now = ScalarEngine(
            config, VOCAB, State(array("d", [p.data for p in parameters]), state.m, state.v)
        )
    assert engine.state().parameters == array("d", [p.data for p in parameters])
    assert list(engine.state().m) == m


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (4, 16), (16, 4), (1, 4), (5, 1)])
def test_muons_direction_has_singular_values_near_one_and_the_matrixs_own_vectors(
    rows: int, columns: int
) -> None:
    numpy = need("numpy", "sklearn", "NumPy is not installed")
    rng = random.Random(rows)
    matrix = [[rng.gauss(0, 1) for _ in range(columns)] for _ in range(rows)]
    u, values, vt = numpy.linalg.svd(numpy.array(matrix), full_matrices=False)
    inner = u.T @ numpy.array(orthogonalized(matrix)) @ vt.T
    assert values.min() > 0.01 * values.max()
    assert abs(inner - numpy.diag(numpy.diag(inner))).max() < 1e-9
    assert 0.6 < numpy.diag(inner).min() <= numpy.diag(inner).max() < 1.25


def test_muons_direction_of_nothing_is_nothing() -> None:
    assert orthogonalized([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]) == [[0.0, 0.0]] * 3


@pytest.mark.proof
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.5, 0.95]),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.1, 0.7]),
    st.data(),
)
def test_the_fast_engine_updates_as_the_scalar_one(
    n_layer: int,
    n_head: int,
    head_dim: int,
    beta: float,
    decay: float,
    hidden: float,
    data: st.DataObject,
) -> None:
    fast = require_fast()
    config = Config(
        n_layer=n_layer,
        n_head=n_head,
        n_embd=n_head * head_dim,
        block_size=4,
        muon=beta,
        weight_decay=decay,
        input_dropout=hidden,
    )
    from microgpt import _native as native

    isa = data.draw(st.sampled_from(native.about()["isas"]))
    state = fresh(config, seed=n_layer)
    rates = [0.05, 0.02]
    true, found = ScalarEngine(config, VOCAB, state), fast(config, VOCAB, state, isa=isa)
    assert (
        true.steps([BATCH] * 2, rates, never).end
        == found.steps([BATCH] * 2, rates, never).end
        == "done"
    )
    expected = true.state().parameters
    moved = math.dist(expected, state.parameters)
    # Adam and Muon divide a gradient by its size. Where it is tiny, float32 knows only its sign.
    assert math.dist(found.state().parameters, expected) < 0.01 * moved


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 80), min_size=1, max_size=30),
    st.integers(0, 10**9),
    st.floats(0, 0.999),
)
def test_input_dropout_hides_its_share_never_the_first_and_depends_on_what_came_before_alone(
    letters: list[int], step: int, share: float
) -> None:
    mark = 81
    tokens = [mark, *letters]
    found = hidden_inputs(tokens, mark, step, share)
    assert found[0] == mark and all(f in (mark, t) for f, t in zip(found, tokens, strict=True))
    assert hidden_inputs(tokens[:5], mark, step, share) == found[:5]
    if share == 0:
        assert found == tokens


def test_input_dropout_hides_the_share_it_says() -> None:
    rng = random.Random(3)
    hidden = total = 0
    for step in range(300):
        tokens = [26, *(rng.randrange(26) for _ in range(10))]
        hidden += hidden_inputs(tokens, 26, step, 0.15).count(26) - 1
        total += 10
    assert hidden / total == pytest.approx(0.15, abs=0.02)


def test_the_exact_engine_refuses_what_it_does_not_do_and_auto_takes_the_fast_one() -> None:
    require_fast()
    for change in ({"muon": 0.9}, {"weight_decay": 0.1}, {"input_dropout": 0.1}):
        config = Config(n_embd=4, n_head=2, block_size=4, **change)
        with pytest.raises(ConfigError, match="does not support weight decay"):
            engine_class("exact")(config, VOCAB, fresh(config)).steps([BATCH], [0.1], never)
        assert engine_class("auto", config).name == "fast"
    assert engine_class("auto", Config()).name == "exact"


@pytest.mark.parametrize("warmup", [0, 1, 3, 9])
def test_the_rate_rises_over_the_warm_up_and_falls_to_zero(warmup: int) -> None:
    config = Config(num_steps=10, warmup=warmup, learning_rate=0.3)
    rates = [learning_rate_at(step, config) for step in range(10)]
    if warmup == 0:
        assert rates == [reference.learning_rate_at(step, 10, 0.3) for step in range(10)]
    top = max(warmup, 1)
    assert rates[:top] == pytest.approx([0.3 * (i + 1) / max(warmup, 1) for i in range(top)])
    falling = [*rates[warmup:], 0.0]
    steps = [a - b for a, b in zip(falling, falling[1:])]
    assert steps == pytest.approx([0.3 / (10 - warmup)] * len(steps))


def test_a_warm_up_that_outlasts_the_run_is_refused() -> None:
    for warmup in (10, 25):
        with pytest.raises(ConfigError, match="is not less than 10"):
            Config(num_steps=10, warmup=warmup)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "reference"])
@pytest.mark.parametrize(
    "documents", [["a"], NAMES, ["x" * 300, "y"], NAMES * 9000], ids=["1", "7", "long", "63,000"]
)
def test_a_preset_fits_any_list(name: str, documents: list[str]) -> None:
    fields = recipe(name, documents)
    config = Config(**fields)  # type: ignore[arg-type]
    longest = max(map(len, documents)) + 1
    assert config.windows == (longest > 256) and config.block_size == min(longest, 256)
    preset = PRESETS[name]
    assert preset
    share = len(documents) / 32_000
    # the batch is rounded: half a document a step
    seen = 64 * preset.steps * share ** (preset.longer if share > 1 else preset.shorter)
    assert config.num_steps * config.batch_size == pytest.approx(max(seen, 30), rel=0.05, abs=15)
    assert (
        config.num_steps >= 30
        and 1 <= config.batch_size <= 64
        and config.warmup == min(50, config.num_steps // 5)
    )


def test_a_preset_with_another_number_of_steps_has_a_warm_up_that_fits() -> None:
    assert recipe("good", NAMES, 10)["warmup"] == 2 and recipe("good", NAMES, 10)["num_steps"] == 10
    assert recipe("best", NAMES, 9000)["warmup"] == 50


def test_a_preset_takes_documents_as_fit_does(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(f" {name} " for name in NAMES))
    expected = recipe("good", NAMES)
    assert recipe("good", iter(NAMES)) == expected == recipe("good", tmp_path / "list.txt")
    with pytest.raises(TypeError, match="not a single string"):
        recipe("good", "list.txt")
    with pytest.raises(DataError):
        recipe("good", [])


def test_the_reference_preset_changes_nothing_and_others_are_unknown() -> None:
    assert recipe("reference", NAMES) == {}
    with pytest.raises(ConfigError, match="there is no preset"):
        recipe("better", NAMES)


@pytest.mark.parametrize("engine", ["fast", "scalar"])
def test_a_resumed_run_of_a_recipe_equals_the_uninterrupted_one_bit_for_bit(engine: str) -> None:
    if engine == "fast":
        require_fast()
    config = Config(
        n_embd=8,
        n_head=2,
        block_size=5,
        num_steps=9,
        batch_size=3,
        warmup=3,
        muon=0.9,
        weight_decay=0.1,
        input_dropout=0.2,
    )
    whole = Session.start(config, Corpus(list(NAMES), Origin(("here",))), engine)
    losses = [step.loss for block in whole.run(never) for step in block]
    broken = Session.start(config, Corpus(list(NAMES), Origin(("here",))), engine)
    first = [step.loss for block in broken.run(lambda: broken.step >= 4, every=1) for step in block]
    stored = checkpoint.from_bytes(checkpoint.to_bytes(broken.checkpoint()))
    resumed = Session.resume(stored, Corpus(list(NAMES), Origin(("here",))), engine)
    assert first + [step.loss for block in resumed.run(never) for step in block] == losses
    assert checkpoint.to_bytes(resumed.checkpoint()) == checkpoint.to_bytes(whole.checkpoint())


def command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "microgpt", *words]
    return subprocess.run(
        program, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_the_command_trains_a_preset_and_a_flag_goes_before_it(tmp_path: Path) -> None:
    require_fast()
    (tmp_path / "list.txt").write_text("\n".join(NAMES))
    done = command(
        "train", "list.txt", "--preset", "good", "--n-embd", "24", "--steps", "5", folder=tmp_path
    )
    assert done.returncode == 0 and "engine fast" in done.stderr
    config = MicroGPT.load(tmp_path / "list.safetensors").config_
    assert (config.n_embd, config.num_steps, config.n_layer, config.muon) == (24, 5, 2, 0.95)
    again = command("train", "list.txt", "--preset", "best", "--resume", folder=tmp_path)
    assert again.returncode == 2 and "the run to resume has" in again.stderr


def test_threads_change_no_byte_of_the_model(tmp_path: Path) -> None:
    require_fast()
    (tmp_path / "list.txt").write_text("\n".join(NAMES))
    models = []
    for threads in ("1", "2", "4"):
        words = [
            "train",
            "list.txt",
            "--preset",
            "good",
            "--steps",
            "12",
            "--threads",
            threads,
            "--force",
            "-q",
        ]
        assert command(*words, folder=tmp_path).returncode == 0
        models.append((tmp_path / "list.safetensors").read_bytes())
    assert models[0] == models[1] == models[2]


def test_recipe_gives_the_python_class_what_the_preset_gives_the_command() -> None:
    require_fast()
    model = MicroGPT(**recipe("good", NAMES, 3))  # type: ignore[arg-type]
    assert model.fit(NAMES).config_.n_embd == 48
    assert model.engine_.name == "fast"
