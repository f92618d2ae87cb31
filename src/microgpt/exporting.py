"""Exports a model: to an HTML page that shows it, or to a JavaScript module that samples from it.

Makes the bytes of an export and reads them back. Writes no file and prints nothing. The same model
gives the same bytes.
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
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from . import __version__, checkpoint, corpus, scoring
from .checkpoint import strict_json
from .config import Config
from .errors import CheckpointError, ConfigError, MicrogptError, MissingPartError, quote
from .gpt import GPT
from .page import assembly

_JS_MARK = "// A microgpt model as a JavaScript module"
_HTML_MARK = "<title>microgpt"
_TYPES_MARK = "/** A microgpt model. "
_PAGE_ONLY = ("step", "rng_state", "has_list", "lists")  # a module does not have these
# The log-probability of a document in JavaScript may differ by this from the engine's: in nats, or
# relative to it where it is above 1. Measured on names: 4e-15.
CLOSE = 1e-12


@dataclass(frozen=True)
class Format:
    """A format to export to.

    files: makes suffix -> text of each file, the main one first.
    check: reads an export back; gives the largest difference, and what was compared.
    """

    suffix: str
    files: Callable[[checkpoint.Checkpoint, list[str]], dict[str, str]]
    check: Callable[[checkpoint.Checkpoint, str], tuple[float, str]]


def is_ours(start: bytes) -> bool:
    """Whether a file that starts with these bytes is an export, which may be overwritten."""
    return (
        start.startswith((_JS_MARK.encode(), _TYPES_MARK.encode()))
        or _HTML_MARK.encode() in start[:4000]
    )


def page_data(model: checkpoint.Checkpoint | None, documents: list[str]) -> dict[str, Any]:
    """What the page needs to open: its lists, and the model with its optimizer state, or None."""
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
    """The page with the model and its dataset in it. It opens from file:// without a network."""
    return {".html": assembly.page_html(page_data(model, documents))}


def to_js(model: checkpoint.Checkpoint, documents: list[str]) -> dict[str, str]:
    """An ES module with `sample`, `score` and `next`, and its types. It holds no dataset."""
    data = assembly.script_safe(
        {
            "config": model.config.to_dict(),
            "alphabet": list(model.tokenizer.alphabet),
            "parameters": _packed(model.state.parameters),
        }
    )
    text = (
        f"{_JS_MARK}: sample(), score(), next(). Made by microgpt {__version__}.\n"
        f"const MODEL = {data};\n"
        f"{assembly.export_script()}"
    )
    return {".js": text, ".d.ts": _TYPES}


def embedded(text: str, where: str = "") -> dict[str, Any]:
    """The model in an export's text: config, alphabet, and its numbers as arrays.

    A page also gives step, rng_state, has_list and its lists. Everything but the numbers is as it
    is in the file, so its type may be any. Runs no code of the export. Raises CheckpointError
    where it holds no model.
    """
    try:
        if _JS_MARK in text[:200]:
            line = next(line for line in text.split("\n") if line.startswith("const MODEL = "))
            model = strict_json(line.removeprefix("const MODEL = ").removesuffix(";"))
        else:
            reader = _DataReader()
            reader.feed(text)
            page = strict_json(reader.text)
            model = page["model"] | {"lists": page["lists"]}
        held = {
            "config": dict(model["config"]),
            "alphabet": list(model["alphabet"]),
            "parameters": _unpacked(model["parameters"]),
            **{name: _unpacked(model[name]) for name in ("m", "v") if name in model},
            **{name: model[name] for name in _PAGE_ONLY if name in model},
        }
    except (
        StopIteration,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            "no exported model is in this file", where=where, fix="microgpt export MODEL"
        ) from error
    config = held["config"]
    if "val" in config:  # the name of held_out in earlier versions
        if "held_out" in config:
            raise CheckpointError(
                "the configuration of the export has both held_out and its earlier name, val",
                where=where,
                fix="microgpt export MODEL",
            )
        config["held_out"] = config.pop("val")
    return held


class _DataReader(HTMLParser):
    """Collects the text of the page's data."""

    inside, text = False, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script" and ("id", "data") in attrs

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.text += data


def check_html(model: checkpoint.Checkpoint, text: str) -> tuple[float, str]:
    """The largest difference of the weights, read back by the standard library's HTML parser."""
    read_back = embedded(text)["parameters"]
    differences = (abs(a - b) for a, b in zip(read_back, model.state.parameters, strict=True))
    return max(differences), "the weights, by html.parser"


def check_js(model: checkpoint.Checkpoint, text: str) -> tuple[float, str]:
    """The largest difference, in nats, of scores by the module in node and by an engine here.

    Raises MissingPartError where node is not installed.
    """
    node = shutil.which("node")
    if node is None:
        raise MissingPartError(
            "node, which runs the module for the check, is not installed",
            fix="install node, or export with --no-check",
        )
    texts = [
        "",
        *model.tokenizer.alphabet[:200],
        "".join(model.tokenizer.alphabet)[: 2 * model.config.block_size],
    ]
    # The module cuts at the block.
    one_block = Config.from_dict(model.config.to_dict() | {"windows": False})
    gpt = GPT.from_checkpoint(model)._replace(config=one_block)
    scores = scoring.score(gpt, texts, lambda: False)
    expected = [score.log_probability for score in scores]
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
    pairs = zip(json.loads(done.stdout), expected, strict=True)
    return max(
        0.0 if a == b else abs(a - b) / max(1.0, abs(b)) for a, b in pairs
    ), "log-probabilities, in node"


FORMATS = {
    "html": Format(".html", to_html, check_html),
    "js": Format(".js", to_js, check_js),
}


def export(model: checkpoint.Checkpoint, to: str, documents: list[str]) -> dict[str, bytes]:
    """Suffix -> bytes of each file of this format, the main one first.

    Raises ConfigError for an unknown format, MicrogptError for weights that are not finite.
    """
    if to not in FORMATS:
        raise ConfigError(
            f"there is no format {quote(to)}", where="option to", fix=f"one of {', '.join(FORMATS)}"
        )
    if not all(map(math.isfinite, model.state.parameters)):
        raise MicrogptError(
            "the model has weights that are not finite",
            fix="train it again with a lower learning rate",
        )
    return {suffix: text.encode() for suffix, text in FORMATS[to].files(model, documents).items()}


def _packed(numbers: array[float]) -> str:
    """The numbers as little-endian float64 in base64."""
    return base64.b64encode(checkpoint.little_endian(numbers)).decode()


def _unpacked(text: str) -> array[float]:
    numbers = array("d", base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


_TYPES = """\
/** A microgpt model. A token is a character's index in `alphabet`; the end is alphabet.length. */
export declare const config: Readonly<Record<string, number | boolean>>;
/** Characters in code point order. */
export declare const alphabet: readonly string[];
/** n new documents. temperature: above 0; top_k: keep the k most likely tokens, 0 for all. */
export declare function sample(options?: {
  n?: number;
  temperature?: number;
  top_k?: number;
  seed?: number | bigint;
}): string[];
/**
 * The log-probability of a text in nats, its end included. A text longer than the block is cut.
 * Throws RangeError for a character outside the alphabet.
 */
export declare function score(text: string): number;
/** Probabilities of the token after a prefix, in the order of `alphabet`, the end's last. */
export declare function next(prefix: string): number[];
"""
