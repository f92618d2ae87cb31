"""The reference's training loop on an engine of the package; a script.

It takes the same documents, draws the same random numbers and prints the same lines as
reference.py. `programs.engine_program` gives it the engine's name, and `verify` compares it with
the reference.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import random
from array import array

from microgpt import reference
from microgpt.config import Config
from microgpt.engines import State, engine_class

ENGINE = "scalar"


def never():
    return False


def main(path="input.txt", num_steps=1000, seed=42, block_size=16):
    rng = random.Random(seed)
    with open(path, encoding="utf-8") as file:
        documents = reference.read_documents(file.read())
    rng.shuffle(documents)
    alphabet = reference.alphabet_of(documents)
    vocab_size = len(alphabet) + 1
    config = Config(num_steps=num_steps, seed=seed, block_size=block_size)
    weights = reference.initial_weights(reference.shapes(vocab_size, config), rng)
    parameters = array("d", [p.data for p in reference.parameters_of(weights)])
    del weights  # from here on the engine holds the state
    print(f"num docs: {len(documents)}\nvocab size: {vocab_size}\nnum params: {len(parameters)}")

    engine = engine_class(ENGINE)(config, vocab_size, State.initial(parameters))
    for step in range(num_steps):
        batch = [reference.encode(documents[step % len(documents)], alphabet)]
        rate = reference.learning_rate_at(step, num_steps, config.learning_rate)
        run = engine.steps([batch], [rate], never)
        state = engine.state()
        parameters, m, v = state.parameters, state.m, state.v  # noqa: F841 - read by the probe
        print(f"step {step + 1:4d} / {num_steps:4d} | loss {run.losses[0]:.4f}")

    print("\n--- inference (new, hallucinated names) ---")
    for i in range(20):
        before = rng.getstate()
        coins = array("d", [rng.random() for _ in range(block_size)])
        generated = engine.generate(1, coins, [len(alphabet)], 0.5, 0, 1.0, never)
        rng.setstate(before)
        for _ in range(generated.coins_used):
            rng.random()
        print(f"sample {i + 1:2d}: {''.join(alphabet[token] for token in generated.documents[0])}")


if __name__ == "__main__":
    main()
