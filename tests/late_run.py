"""A run long enough for the moments of dead units to become subnormal.

    python tests/late_run.py        records tests/golden/late.json from the scalar engine, 3 minutes

At step 20,000 of this run 72 of 424 first moments and 56 second moments are subnormal. Each digest
is of the 1,000 losses up to that step, and of the parameters and both moments after it.
"""

from __future__ import annotations

import hashlib
import json
import random
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from microgpt import reference
from microgpt.config import Config
from microgpt.engines import State

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "late.json"
NAMES = HERE.parent / "src" / "microgpt" / "data" / "names.txt"
EVERY = 1_000
CONFIG = Config(n_embd=4, n_head=2, block_size=4, num_steps=20_000, learning_rate=0.03, beta2=0.9)


class Digests(TypedDict):
    """Of one block of steps."""

    losses: str
    parameters: str
    m: str
    v: str


def start() -> tuple[list[list[int]], int, array[float]]:
    """Documents as tokens, the size of the vocabulary, the weights of step 0."""
    documents = reference.read_documents(NAMES.read_text())
    rng = random.Random(42)
    rng.shuffle(documents)
    alphabet = reference.alphabet_of(documents)
    sizes = reference.shapes(len(alphabet) + 1, CONFIG)
    weights = reference.parameters_of(reference.initial_weights(sizes, rng))
    tokens = [reference.encode(document, alphabet) for document in documents]
    return tokens, len(alphabet) + 1, array("d", [weight.data for weight in weights])


def digests(engine: Any, documents: list[list[int]]) -> Iterator[Digests]:
    """The whole run, one entry for every 1,000 steps."""
    for first in range(0, CONFIG.num_steps, EVERY):
        steps = range(first, first + EVERY)
        rates = [
            reference.learning_rate_at(i, CONFIG.num_steps, CONFIG.learning_rate) for i in steps
        ]
        batches = [[documents[i % len(documents)]] for i in steps]
        run = engine.steps(batches, rates, lambda: False)
        assert run.end == "done"
        state = engine.state()
        yield {
            "losses": digest(array("d", run.losses)),
            "parameters": digest(state.parameters),
            "m": digest(state.m),
            "v": digest(state.v),
        }


def digest(numbers: array[float]) -> str:
    """Of the little-endian float64."""
    return hashlib.sha256(numbers.tobytes()).hexdigest()


if __name__ == "__main__":
    from microgpt.engines.scalar import ScalarEngine

    documents, vocab_size, weights = start()
    scalar = ScalarEngine(CONFIG, vocab_size, State.initial(weights))
    GOLDEN.write_text(json.dumps(list(digests(scalar, documents)), indent=0) + "\n")
