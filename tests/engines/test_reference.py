"""The definition computes what the original script computes, and its gradients are derivatives."""

from __future__ import annotations

import ast
import hashlib
import math
import random
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
from conftest import GOLDENS, NAMES, TINY_DOCUMENTS, golden, sizes, skip_or_fail, tokens_of

from microgpt import reference, reference_recipe
from microgpt.config import Config
from microgpt.corpus import read
from microgpt.engines import State
from microgpt.engines.scalar import ScalarEngine
from microgpt.errors import StoppedError
from microgpt.randomness import Draws
from microgpt.training import Session


def run_golden(name: str, engine: str, steps: int) -> Session:
    """Train a golden's settings and compare every loss and parameter hash; returns the session."""
    expected = golden(name)
    session = Session.start(expected.config, read([str(expected.data)]), engine)
    for block in session.run(lambda: session.step >= steps, every=1):
        (step,) = block
        i = step.step - 1
        assert step.loss.hex() == expected.loss_hex[i], f"loss of step {step.step}"
        digest = hashlib.sha256(session.engine.state().parameters.tobytes()).hexdigest()
        assert digest == expected.params_sha256[i], f"parameters after step {step.step}"
    assert session.step == min(steps, expected.config.num_steps)
    return session


@pytest.mark.parametrize("times", sizes(1, 10))
@pytest.mark.parametrize("name", GOLDENS)
def test_scalar_engine_equals_the_original_script_in_its_first_steps(name: str, times: int) -> None:
    run_golden(name, "scalar", times * GOLDENS[name][1])


@pytest.mark.soak
@pytest.mark.parametrize("name", GOLDENS)
def test_scalar_engine_equals_the_original_script_to_the_last_step(name: str) -> None:
    run_golden(name, "scalar", golden(name).config.num_steps)


def test_reference_as_a_script_prints_the_original_scripts_first_lines() -> None:
    expected = golden("us-names-2018")
    command = [sys.executable, "-u", "-m", "microgpt.reference", str(NAMES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = [process.stdout.readline().rstrip("\n") for _ in range(13)]
        process.kill()
    assert lines[:3] == ["num docs: 32257", "vocab size: 27", "num params: 4192"]
    losses = [float.fromhex(text) for text in expected.loss_hex[:10]]
    assert lines[3:] == [
        f"step {i:4d} / 1000 | loss {loss:.4f}" for i, loss in enumerate(losses, 1)
    ]


@pytest.mark.proof
def test_reference_run_with_few_steps_prints_the_original_scripts_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = golden("two-layers")
    c = expected.config
    reference.main(str(NAMES), c, c.num_steps)
    assert hashlib.sha256(capsys.readouterr().out.encode()).hexdigest() == expected.stdout_sha256


@pytest.mark.soak
def test_reference_as_a_script_prints_the_original_scripts_whole_stdout() -> None:
    command = [sys.executable, "-m", "microgpt.reference", str(NAMES)]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    assert hashlib.sha256(output).hexdigest() == golden("us-names-2018").stdout_sha256


@pytest.mark.proof
def test_reference_prints_what_the_original_script_itself_prints_now(
    shared: Path, tmp_path: Path
) -> None:
    source = (
        (shared / "seed" / "microgpt.py").read_text().replace("num_steps = 1000", "num_steps = 3")
    )
    (tmp_path / "input.txt").write_text("".join(NAMES.read_text().splitlines(keepends=True)[:300]))
    (tmp_path / "original.py").write_text(source)
    ours = "from microgpt import reference; reference.main('input.txt', num_steps=3)"
    outputs = [
        subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, check=True
        ).stdout
        for command in (["original.py"], ["-c", ours])
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].count(b"\n") == 3 + 3 + 2 + 20


def test_reference_imports_only_the_standard_library_and_does_nothing_when_imported() -> None:
    tree = ast.parse(Path(reference.__file__).read_text())
    imported = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    froms = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert (imported, froms) == ({"math", "random", "sys"}, {"typing"})
    output = subprocess.run(
        [sys.executable, "-c", "import microgpt.reference"], capture_output=True, check=True
    )
    assert output.stdout == output.stderr == b""


def test_backward_walks_a_graph_deeper_than_the_recursion_limit() -> None:
    x = reference.Value(1.0)
    y = x
    for _ in range(10 * sys.getrecursionlimit()):
        y = y + x
    y.backward()
    assert x.grad == 10 * sys.getrecursionlimit() + 1


def test_operators_have_the_derivatives_of_calculus() -> None:
    def f(a: reference.Value, b: reference.Value) -> reference.Value:
        return (
            (a * b - a / b + 2 / a - (1 - b) ** 3).exp().log()
            + (-a).relu()
            + (a + 3).relu()
            + 2.5 * a
        )

    a, b = reference.Value(0.7), reference.Value(1.3)
    f(a, b).backward()
    h = 1e-6
    for value, rest in (
        (a, lambda x: f(x, reference.Value(1.3))),
        (b, lambda x: f(reference.Value(0.7), x)),
    ):
        up, down = (
            rest(reference.Value(value.data + h)).data,
            rest(reference.Value(value.data - h)).data,
        )
        assert value.grad == pytest.approx((up - down) / (2 * h), rel=1e-8)


CONFIG = Config(n_layer=2, n_embd=6, n_head=3, block_size=4)


def random_engine(seed: int, vocab_size: int) -> ScalarEngine:
    weights = Draws(seed).weights(CONFIG.shapes(vocab_size).values(), 0.4)
    return ScalarEngine(CONFIG, vocab_size, State.initial(weights))


def test_gradients_of_the_whole_model_agree_with_central_finite_differences() -> None:
    documents = tokens_of(TINY_DOCUMENTS)[:3]
    vocab_size = documents[0][0] + 1
    engine = random_engine(1, vocab_size)
    loss, gradients = engine.gradients(documents, lambda: False)
    base, h = engine.state(), 1e-5
    for i in random.Random(2).sample(range(len(gradients)), 10):
        shifted = []
        for sign in (1, -1):
            parameters = base.parameters[:]
            parameters[i] += sign * h
            shifted.append(
                ScalarEngine(CONFIG, vocab_size, State.initial(parameters)).gradients(
                    documents, lambda: False
                )[0]
            )
        # Error of the difference: h^2 times a third derivative, and rounding of 1e-16 / h.
        # The largest seen: 2e-10.
        assert gradients[i] == pytest.approx(
            (shifted[0] - shifted[1]) / (2 * h), rel=1e-6, abs=2e-9
        )
    assert 0.5 < loss < 3


def test_gradients_agree_with_pytorch() -> None:
    try:
        import torch

        from microgpt.pytorch import TorchGPT
    except ImportError:
        skip_or_fail("torch", "PyTorch is not installed")
    from microgpt.tokenizer import Tokenizer

    documents = tokens_of(TINY_DOCUMENTS)
    tokenizer = Tokenizer.from_documents(TINY_DOCUMENTS)
    engine = random_engine(3, tokenizer.vocab_size)
    loss, gradients = engine.gradients(documents, lambda: False)
    module = TorchGPT.from_state(CONFIG, tokenizer, engine.state())
    losses = []
    for tokens in documents:
        idx = torch.tensor([tokens[:-1][: CONFIG.block_size]])
        _, one = module(idx, torch.tensor([tokens[1:][: CONFIG.block_size]]))
        losses.append(one)
    mean = torch.stack(losses).mean()
    mean.backward()
    assert loss == pytest.approx(mean.item(), rel=1e-13)
    names = CONFIG.shapes(tokenizer.vocab_size)
    theirs = torch.cat([dict(module.named_parameters())[name].grad.flatten() for name in names])
    assert list(gradients) == pytest.approx(
        theirs.tolist(), rel=1e-9, abs=1e-14
    )  # float64 sums in another order


def test_a_batch_has_the_mean_loss_and_the_mean_gradient_of_its_documents() -> None:
    documents = tokens_of(TINY_DOCUMENTS)
    engine = random_engine(4, documents[0][0] + 1)
    loss, gradients = engine.gradients(documents, lambda: False)
    single = [engine.gradients([tokens], lambda: False) for tokens in documents]
    assert loss == pytest.approx(math.fsum(one for one, _ in single) / len(single), rel=1e-14)
    for i, gradient in enumerate(gradients):
        assert gradient == pytest.approx(
            math.fsum(g[i] for _, g in single) / len(single), rel=1e-10, abs=1e-15
        )


@pytest.mark.parametrize("name", ["reference", "reference_recipe"])
def test_the_types_beside_a_definition_are_those_of_its_functions(name: str) -> None:
    """The .pyi file names every function and class of the .py file, with the same arguments."""
    definitions: list[dict[str, str]] = []
    for suffix in (".py", ".pyi"):
        text = Path(reference.__file__).with_name(name + suffix).read_text(encoding="utf-8")
        tree = ast.parse(text)
        definitions.append(
            {
                node.name: " ".join(a.arg for a in node.args.args)
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef) and not is_property(node)
            }
        )
    assert definitions[0] == definitions[1]


def is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)


def test_batches_take_the_documents_in_order_and_begin_again_at_the_end() -> None:
    assert [reference_recipe.batch_indices(step, 3, 7) for step in range(3)] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 0, 1],
    ]
    assert reference_recipe.batch_indices(0, 5, 2) == [0, 1, 0, 1, 0]


def test_stop_ends_the_scalar_engines_gradients_and_trace() -> None:
    engine = ScalarEngine(CONFIG, 4, State.initial(array("d", [0.01]) * CONFIG.parameter_count(4)))
    for questions in (1, 2):
        answers = iter([False] * (questions - 1) + [True])
        with pytest.raises(StoppedError):
            engine.trace([3, 0, 1, 3], answers.__next__)
        answers = iter([False] * (questions - 1) + [True])
        with pytest.raises(StoppedError):
            engine.gradients([[3, 0, 3], [3, 1, 3]], answers.__next__)
    loss, _ = engine.gradients([[3, 0, 3]], lambda: False)
    assert loss > 0
