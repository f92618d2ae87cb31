"""A model for elsewhere: one HTML file that shows it and trains beside it, or one JavaScript module that samples.

Makes bytes and reads them back; writes no file and prints nothing. The same model gives the same bytes.
"""

from __future__ import annotations

import base64
import json
import math
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from . import __version__, checkpoint, corpus, scoring
from .engines import engine_class
from .errors import CheckpointError, ConfigError, MicrogptError, MissingPartError, quote
from .page import assembly

_JS_MARK = "// A microgpt model as a JavaScript module"
_HTML_MARK = "<title>microgpt"
_TYPES_MARK = "/** A microgpt model. Token ids"
CLOSE = 1e-12  # by which JavaScript's log p of a string may differ, in nats or as a share; measured: 4e-15 on names


@dataclass(frozen=True)
class Format:
    """One form to export to. files: suffix -> content. check: largest difference when read back, and by what."""

    suffix: str
    says: str
    files: Callable[[checkpoint.Checkpoint, list[str]], dict[str, str]]
    check: Callable[[checkpoint.Checkpoint, str], tuple[float, str]]


def is_ours(start: bytes) -> bool:
    """Whether these first bytes of a file are an export's: then it may be overwritten."""
    return (
        start.startswith((_JS_MARK.encode(), _TYPES_MARK.encode()))
        or _HTML_MARK.encode() in start[:4000]
    )


def page_data(model: checkpoint.Checkpoint | None, documents: list[str]) -> dict[str, Any]:
    """What the page needs to open with a model (or without): its lists, and the model with its optimiser."""
    lists = assembly.built_in_lists()
    if model is None:
        return {"lists": lists, "model": None}
    sources = model.data.origin.sources
    if documents and sources != (corpus.BUILTIN,):
        lists = [
            {
                "name": ", ".join(Path(source).name for source in sources),
                "text": "\n".join(documents),
            },
            *lists[1:],
        ]
    state = model.state
    return {
        "lists": lists,
        "model": {
            "config": model.config.to_dict(),
            "alphabet": list(model.tokenizer.alphabet),
            "parameters": _packed(state.parameters),
            "m": _packed(state.m),
            "v": _packed(state.v),
            "step": state.step,
            "rng_state": json.loads(model.draws.state()),
            "has_list": bool(documents),
        },
    }


def to_html(model: checkpoint.Checkpoint, documents: list[str]) -> dict[str, str]:
    """The page with the model and its list in it; works from file:// with the network off."""
    return {".html": assembly.page_html(page_data(model, documents))}


def to_js(model: checkpoint.Checkpoint, documents: list[str]) -> dict[str, str]:
    """An ES module with `sample`, `score` and `next`, and its types. The list is not part of it."""
    data = {"config": model.config.to_dict(), "alphabet": list(model.tokenizer.alphabet)}
    text = (
        f"{_JS_MARK}: sample(), score(), next(). Made by microgpt {__version__}.\n"
        f"const MODEL = {assembly.script_safe(data | {'parameters': _packed(model.state.parameters)})};\n"
        f"{assembly.export_script()}"
    )
    return {".js": text, ".d.ts": _TYPES}


def embedded(text: str, where: str = "") -> dict[str, Any]:
    """The model in an export's text: config, alphabet, and its numbers as arrays. Runs nothing of it.

    Raises CheckpointError where there is none.
    """
    try:
        if _JS_MARK in text[:200]:
            line = next(line for line in text.split("\n") if line.startswith("const MODEL = "))
            model = json.loads(line.removeprefix("const MODEL = ").removesuffix(";"))
        else:
            reader = _DataReader()
            reader.feed(text)
            model = json.loads(reader.found)["model"]
        numbers = {
            name: _unpacked(model[name]) for name in ("parameters", "m", "v") if name in model
        }
        return {
            "config": model["config"],
            "alphabet": model["alphabet"],
            "parameters": numbers["parameters"],
            **numbers,
        }
    except (StopIteration, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            "no exported model is in this file", where=where, fix="microgpt export MODEL"
        ) from error


class _DataReader(HTMLParser):
    """Finds the text of the page's data."""

    here, found = False, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.here = tag == "script" and ("id", "data") in attrs

    def handle_data(self, data: str) -> None:
        if self.here:
            self.found += data


def check_html(model: checkpoint.Checkpoint, text: str) -> tuple[float, str]:
    """Read the weights back out of the HTML by the standard library's parser; largest difference."""
    found = embedded(text)["parameters"]
    differences = (abs(a - b) for a, b in zip(found, model.state.parameters, strict=True))
    return max(differences), "the weights, by html.parser"


def check_js(model: checkpoint.Checkpoint, text: str) -> tuple[float, str]:
    """Score strings with the module in node and with the engine here; largest difference in nats.

    Raises MissingPartError where node is not installed.
    """
    node = shutil.which("node")
    if node is None:
        raise MissingPartError(
            "node, which reads the module, is not installed", fix="install node, or --no-check"
        )
    texts = [
        "",
        *model.tokenizer.alphabet[:200],
        "".join(model.tokenizer.alphabet)[: 2 * model.config.block_size],
    ]
    engine = engine_class("auto")(model.config, model.tokenizer.vocab_size, model.state)
    one_block = replace(model.config, windows=False)  # which is what the module knows
    scores = scoring.score(engine, model.tokenizer, one_block, texts, lambda: False)
    expected = [one.log_probability for one in scores]
    script = (
        "const { score } = await import(process.argv[1]);"
        "process.stdout.write(JSON.stringify(JSON.parse(process.argv[2]).map(score)));"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.mjs")
        path.write_text(text, encoding="utf-8")
        command = [
            node,
            "--input-type=module",
            "--eval",
            script,
            "--",
            path.as_uri(),
            json.dumps(texts),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, encoding="utf-8"
        )
    if done.returncode:
        raise CheckpointError(f"node cannot run the module: {done.stderr.strip()[-300:]}")
    found = json.loads(done.stdout)
    pairs = zip(found, expected, strict=True)
    return max(
        0.0 if a == b else abs(a - b) / max(1.0, abs(b)) for a, b in pairs
    ), "log p of strings, in node"


FORMATS = {
    "html": Format(
        ".html", "one page with model and list, to look into it offline", to_html, check_html
    ),
    "js": Format(".js", "an ES module with types: sample, score, next", to_js, check_js),
}


def export(model: checkpoint.Checkpoint, to: str, documents: list[str]) -> dict[str, bytes]:
    """Suffix -> bytes of each file of this form, the main one first. Raises ConfigError for an unknown form."""
    if to not in FORMATS:
        raise ConfigError(
            f"there is no form {quote(to)}", where="option to", fix=f"one of {', '.join(FORMATS)}"
        )
    if not all(map(math.isfinite, model.state.parameters)):
        raise MicrogptError(
            "the model has weights that are not finite", fix="train it again with a lower rate"
        )
    return {suffix: text.encode() for suffix, text in FORMATS[to].files(model, documents).items()}


def _packed(numbers: array[float]) -> str:
    """Little-endian float64 in base64."""
    return base64.b64encode(checkpoint.little_endian(numbers)).decode()


def _unpacked(text: str) -> array[float]:
    numbers = array("d", base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


_TYPES = """\
/** A microgpt model. Token ids: the index of a character in `alphabet`; the end's id is alphabet.length. */
export declare const config: Readonly<Record<string, number | boolean>>;
/** Characters in code point order. */
export declare const alphabet: readonly string[];
/** New strings. temperature above 0; top_k: only the k likeliest tokens, 0 for all; seed: a whole number. */
export declare function sample(options?: {
  n?: number;
  temperature?: number;
  top_k?: number;
  seed?: number | bigint;
}): string[];
/**
 * log p of a string in nats, its end mark included; of one that does not fit the block, of the part that does.
 * Throws RangeError for a character outside the alphabet.
 */
export declare function score(text: string): number;
/** Probabilities of what comes after a prefix, in the order of `alphabet`, the end's last. */
export declare function next(prefix: string): number[];
"""
