"""The JavaScript edition against the original script's recorded runs and Python's own random."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import GOLDENS, golden, skip_or_fail
from hypothesis import given, settings
from hypothesis import strategies as st
from page_support import EDITION, node

from microgpt import reference

RUN = """
import { readFileSync } from "node:fs";
const { main } = await import(process.argv[1]);
const lines = [];
const text = readFileSync(process.argv[2], "utf8");
main(text, JSON.parse(process.argv[3]), (line) => lines.push(line));
process.stdout.write(lines.join("\\n") + "\\n");
"""

DRAWS = """
const { Random } = await import(process.argv[1]);
const answer = JSON.parse(process.argv[2]).map((seed) => {
  const rng = new Random(BigInt(seed)), list = Array.from({ length: 700 }, (_, i) => i);
  const uniform = Array.from({ length: 5 }, () => rng.random());
  rng.shuffle(list);
  const below = [1, 2, 3, 1000, 2 ** 31 - 1].map((n) => rng.below(n));
  const gauss = Array.from({ length: 9 }, () => rng.gauss(1, 2));
  const choices = Array.from({ length: 40 }, () => rng.choice([1, 0, 2, 0.5]));
  return { uniform, list, below, gauss, choices };
});
process.stdout.write(JSON.stringify(answer));
"""

DOCUMENTS = """
const { read_documents, alphabet_of, encode } = await import(process.argv[1]);
const answer = JSON.parse(process.argv[2]).map((text) => {
  const documents = read_documents(text), alphabet = alphabet_of(documents);
  return [documents, alphabet, documents.map((document) => encode(document, alphabet))];
});
process.stdout.write(JSON.stringify(answer));
"""


WHOLE_RUNS = [name for name in GOLDENS if name not in ("two-layers", "seed7")]


@pytest.mark.parametrize(
    "name",
    ["two-layers", "seed7", *(pytest.param(name, marks=pytest.mark.proof) for name in WHOLE_RUNS)],
)
def test_edition_prints_what_the_original_script_printed(name: str, tmp_path: Path) -> None:
    record = golden(name)
    if (
        name == "us-names-2018"
    ):  # the reference recipe: as a script, from input.txt, found through a link
        (tmp_path / "input.txt").symlink_to(record.data)
        (tmp_path / "link.js").symlink_to(EDITION)
        program = shutil.which("node") or skip_or_fail("node", "node is not installed")
        command = [str(program), "link.js"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True
        )
        lines = done.stdout.split("\n")
    else:
        settings = record.config.to_dict() | {"temperature": record.temperature}
        lines = node(
            RUN, EDITION.as_uri(), str(record.data), json.dumps(settings), timeout=240
        ).split("\n")
    assert [line.split("loss ")[1] for line in lines if line.startswith("step ")] == [
        f"{float.fromhex(loss):.4f}" for loss in record.loss_hex
    ]
    assert [
        line.split(": ", 1)[1] for line in lines if line.startswith("sample ")
    ] == record.samples
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == record.stdout_sha256


def test_random_draws_are_pythons() -> None:
    seeds = [0, 1, 42, 2**32 - 1, 2**32, 2**64 - 1, *(random.getrandbits(64) for _ in range(10))]
    found = json.loads(node(DRAWS, EDITION.as_uri(), json.dumps([str(seed) for seed in seeds])))
    for seed, drawn in zip(seeds, found, strict=True):
        rng, numbers = random.Random(seed), list(range(700))
        assert drawn["uniform"] == [rng.random() for _ in range(5)], seed
        rng.shuffle(numbers)
        assert drawn["list"] == numbers, seed
        assert drawn["below"] == [rng._randbelow(n) for n in (1, 2, 3, 1000, 2**31 - 1)], seed  # type: ignore[attr-defined]
        # log, cos and sin are the JavaScript engine's: equal to a few units in the last place
        assert drawn["gauss"] == pytest.approx([rng.gauss(1, 2) for _ in range(9)], rel=1e-14), seed
        assert drawn["choices"] == [
            rng.choices(range(4), weights=[1, 0, 2, 0.5])[0] for _ in range(40)
        ], seed


ALPHABET = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    "\n\t\x0b\x1c\x1f\x85\xa0\u2028\u3000\ufeffab😀é"
)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(ALPHABET, max_size=30), min_size=200, max_size=200))
def test_documents_alphabet_and_tokens_are_the_references(texts: list[str]) -> None:
    found = json.loads(node(DOCUMENTS, EDITION.as_uri(), json.dumps(texts)))
    for text, (documents, alphabet, tokens) in zip(texts, found, strict=True):
        assert documents == reference.read_documents(text)
        assert alphabet == reference.alphabet_of(documents)
        assert tokens == [reference.encode(document, alphabet) for document in documents]
