"""The page's typed-array engine against the scalar engine, and against a recorded run.

Tolerance 1e-12: exp, log and pow are the JavaScript engine's own. The largest difference of a loss
over 1,000 steps was 1.8e-15.
"""

from __future__ import annotations

import json
from array import array

import pytest
from conftest import golden, has_engine
from page_support import EDITION, PAGE, node

from microgpt import MicroGPT, corpus, ngrams, reference
from microgpt.config import Config
from microgpt.engines import State, engine_class
from microgpt.randomness import Draws
from microgpt.reference import learning_rate_at
from microgpt.reference_recipe import batch_indices
from microgpt.tokenizer import Tokenizer

SHAPES = [
    {},
    {"n_layer": 2, "n_embd": 12, "n_head": 3, "block_size": 5},
    {"n_layer": 3, "n_embd": 6, "n_head": 1, "block_size": 9, "batch_size": 3},
    {"n_embd": 10, "n_head": 5, "block_size": 1, "batch_size": 2},
]
WORDS = ["karia", "emma", "zoë", "a", "żółć 東京", "anna-maria", "😀b", "otto"]

RUN = """
const { Engine } = await import(process.argv[1]);
const { config, vocab_size, parameters, batches, text, coins, top_k } = JSON.parse(process.argv[2]);
const engine = new Engine(config, vocab_size, parameters);
const first = engine.loss_and_gradients(batches[0]), gradients = [...engine.gradients];
const losses = batches.map((batch) => engine.train(batch));
let used = 0;
const samples = Array.from({ length: 10 }, () => engine.generate(() => coins[used++], 0.7, top_k));
const trace = engine.trace(text);
const parameters_after = [...engine.parameters];
const answer = { first, gradients, losses, trace, samples, parameters: parameters_after };
process.stdout.write(JSON.stringify(answer));
"""


def close(expected: object) -> object:
    return pytest.approx(expected, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_engine_computes_what_the_scalar_engine_computes(shape: dict[str, int]) -> None:
    config = Config(num_steps=6, seed=3, **shape)  # type: ignore[arg-type]
    tokenizer, draws, top_k = Tokenizer.from_documents(WORDS), Draws(config.seed), 3
    vocab_size = tokenizer.vocab_size
    parameters = draws.weights(config.shapes(vocab_size).values(), 0.3)
    steps = range(config.num_steps)
    documents = [
        [WORDS[i] for i in batch_indices(step, config.batch_size, len(WORDS))] for step in steps
    ]
    batches = [[tokenizer.encode(document) for document in batch] for batch in documents]
    text = tokenizer.encode("karia")[: config.block_size + 1]
    coins = array("d", draws.coins(200))
    task = {
        "config": config.to_dict(),
        "vocab_size": vocab_size,
        "parameters": list(parameters),
        "batches": batches,
    }
    task |= {"text": text, "coins": list(coins), "top_k": top_k}
    found = json.loads(node(RUN, (PAGE / "engine.js").as_uri(), json.dumps(task)))

    engine = engine_class("scalar")(config, vocab_size, State.initial(parameters))
    loss, gradients = engine.gradients(batches[0], lambda: False)
    assert found["first"] == close(loss)
    assert found["gradients"] == close(list(gradients))
    rates = [learning_rate_at(step, config.num_steps, config.learning_rate) for step in steps]
    assert found["losses"] == close(engine.steps(batches, rates, lambda: False).losses)
    assert found["parameters"] == close(list(engine.state().parameters))
    trace = engine.trace(text, lambda: False)
    for row, expected in zip(found["trace"]["probabilities"], trace.probabilities, strict=True):
        assert row == close(expected)
    for layer, heads in zip(found["trace"]["attention"], trace.attention, strict=True):
        for head, rows in zip(layer, heads, strict=True):
            for row, expected in zip(head, rows, strict=True):
                assert row == close(expected)
    assert (
        found["samples"]
        == engine.generate(10, coins, [vocab_size - 1], 0.7, top_k, 1.0, lambda: False).documents
    )


SESSION = """
import { readFileSync } from "node:fs";
const { Session } = await import(process.argv[1]);
const { read_documents } = await import(process.argv[2]);
const documents = read_documents(readFileSync(process.argv[3], "utf8"));
const session = new Session(documents, JSON.parse(process.argv[4]));
while (session.engine.step < session.config.num_steps) session.advance(100);
const end = session.look(session.config.num_steps);
const samples = session.samples({ temperature: 0.5, top_k: 0 });
const again = session.look(371), later = session.look(session.config.num_steps);
process.stdout.write(JSON.stringify({
  losses: [...session.losses], samples: samples.map((sample) => sample.text), next_loss: again.loss,
  same: later.parameters.every((p, i) => p === end.parameters[i]), baselines: session.baselines(),
  check: session.check(100), gradient: later.gradients[100], parameters: [...end.parameters],
  karia: session.trace("karia"),
}));
"""


def test_session_trains_scrubs_and_samples_as_the_reference() -> None:
    record = golden("us-names-2018")
    paths = (PAGE / "session.js").as_uri(), EDITION.as_uri()
    found = json.loads(node(SESSION, *paths, str(record.data), "{}"))
    losses = [float.fromhex(loss) for loss in record.loss_hex]
    assert found["losses"] == close(losses)
    assert found["samples"] == record.samples
    assert found["next_loss"] == close(losses[370])  # the update that led to step 371
    assert found["same"], "scrubbing back and forth changed the end of the run"
    if has_engine("exact"):  # the scalar one would take five minutes
        model = MicroGPT(engine="exact").fit(record.data)
        assert found["parameters"] == close(
            list(model.engine_.state().parameters)
        )  # largest difference seen: 5.3e-15
        for row, exact in zip(
            found["karia"]["probabilities"], model.explain("karia").probabilities, strict=True
        ):
            assert row == close(exact)
    assert found["check"]["numeric"] == pytest.approx(found["gradient"], abs=1e-6)

    documents = reference.read_documents(record.data.read_text(encoding="utf-8"))
    Draws(42).shuffle(documents)
    tokenizer = Tokenizer.from_documents(documents)
    counted, held_out = corpus.split(documents, 0.1)
    counts = ngrams.NGrams(map(tokenizer.encode, counted), tokenizer.vocab_size)
    by_name = counts.losses(map(tokenizer.encode, held_out), 16)
    assert found["baselines"] == close(
        {name: by_name[name] for name in ("uniform", "2-gram", "5-gram")}
    )
