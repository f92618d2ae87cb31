"""What the tests share: recorded runs, the folder ../shared, tiny models, required parts."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from microgpt import corpus, engines, reference
from microgpt.config import Config
from microgpt.errors import MissingPartError

HERE = Path(__file__).parent
ROOT = HERE.parent
SHARED = ROOT.parent / "shared"
NAMES = ROOT / "src" / "microgpt" / "data" / "names.txt"
EDITIONS = ROOT / "src" / "microgpt" / "editions"

# Finds tools that pip installed beside this Python even where its environment is not activated.
TOOLS = str(Path(sys.executable).parent)
if TOOLS not in os.environ.get("PATH", "").split(os.pathsep):
    os.environ["PATH"] = os.pathsep.join([TOOLS, os.environ.get("PATH", os.defpath)])


def skip_or_fail(part: str, why: str) -> None:
    """Skip with the reason; fail where MICROGPT_REQUIRE lists the part. Works at import too."""
    if part in os.environ.get("MICROGPT_REQUIRE", "").split(","):
        pytest.fail(f"{part} is required here: {why}")
    pytest.skip(why, allow_module_level=True)


def need(module: str, part: str, why: str) -> Any:
    """Import the module. If it is missing, skip the test, or fail it where the part is required."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return skip_or_fail(part, why)


@pytest.fixture
def shared() -> Path:
    """The folder of recorded material beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared is not here")
    return SHARED


@dataclass(frozen=True)
class Golden:
    """One recording of the original script: data, settings, and what it computed, to the bit."""

    name: str
    data: Path
    config: Config
    temperature: float
    loss_hex: list[str]
    params_sha256: list[str]
    samples: list[str]
    stdout_sha256: str

    def flags(self) -> list[str]:
        """The command line's options for these settings."""
        c = self.config
        return [
            *("--steps", str(c.num_steps), "--n-layer", str(c.n_layer), "--n-embd", str(c.n_embd)),
            *("--n-head", str(c.n_head), "--block-size", str(c.block_size), "--seed", str(c.seed)),
            *("--learning-rate", repr(c.learning_rate), "--temperature", repr(self.temperature)),
        ]


# name -> (data file, steps that the scalar engine repeats). The exact engine repeats whole runs.
GOLDENS = {"two-layers": (NAMES, 4), "long": (HERE / "data" / "long.txt", 1), "seed7": (NAMES, 2)}
GOLDENS |= {"cities": (HERE / "data" / "cities.txt", 2), "us-names-2018": (NAMES, 2)}
GOLDENS |= {"makemore-names": (SHARED / "data" / "makemore-names.txt", 2)}


def sizes(quick: int, proof: int, soak: int = 0) -> list[Any]:
    """A size of one test for each of `make test`, `make proof` and, unless it is 0, `make soak`."""
    longest = [pytest.param(soak, marks=pytest.mark.soak)] if soak else []
    return [quick, pytest.param(proof, marks=pytest.mark.proof), *longest]


def golden(name: str) -> Golden:
    """A recording by name; that of the list which is not ours to ship lies beside the project."""
    data, _ = GOLDENS[name]
    path = HERE / "golden" / f"{name}.json"
    if not path.exists():
        path = SHARED / "golden" / f"{name}.json"
    if not (path.exists() and data.exists()):
        pytest.skip(f"the folder ../shared with {name} is not here")
    found = json.loads(path.read_text())
    settings: dict[str, Any] = {
        name: json.loads(value) for name, value in found["settings"].items()
    }
    temperature = settings.pop("temperature", 0.5)
    kept = {name: found[name] for name in ("loss_hex", "params_sha256", "samples", "stdout_sha256")}
    return Golden(name, data, Config(**settings), temperature, **kept)


def has_engine(name: str) -> bool:
    """Whether an engine is installed."""
    try:
        engines.engine_class(name)
    except MissingPartError:
        return False
    return True


@cache
def some_names(count: int) -> tuple[str, ...]:
    """The first documents of the built-in list."""
    return tuple(corpus.builtin().documents[:count])


# Small enough for the scalar engine: a step takes about a millisecond.
TINY: dict[str, Any] = {"n_embd": 4, "n_head": 2, "block_size": 5, "num_steps": 12}
TINY_DOCUMENTS = ["ab", "ba", "abba", "b", "aab", "caca", "acb", "bac"]


def tokens_of(documents: list[str]) -> list[list[int]]:
    """Documents as token ids, by the reference's own functions."""
    alphabet = reference.alphabet_of(documents)
    return [reference.encode(document, alphabet) for document in documents]
