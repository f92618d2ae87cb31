"""Show what a model file holds, or which engines this machine has."""

from __future__ import annotations

import hashlib
from argparse import ArgumentParser, Namespace
from typing import Any

from .. import checkpoint as checkpoints
from .. import corpus, engines, files
from ..errors import ConfigError, quote, visible
from ..face import Face
from ._arguments import model_argument
from ._models import model_path

EXAMPLES = """\
  microgpt info names.safetensors --json
  microgpt info --engine
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt info`."""
    model_argument(parser)
    add = parser.add_argument
    add("--engine", action="store_true", help="Show the engines instead of a model.")
    add("--json", action="store_true", help="Print one JSON object.")


def run(args: Namespace, face: Face) -> int:
    """Print the entries, one a line."""
    if args.engine and args.model is not None:
        raise ConfigError(
            "info --engine shows the engines, not a model",
            where=f"argument MODEL: {quote(args.model)}",
            fix="leave out one of the two",
        )
    entries: dict[str, Any] = (
        dict(engines.available()) if args.engine else _model_entries(model_path(args.model))
    )
    if args.json:
        face.json(entries)
        return 0
    if not args.engine:
        entries["data"], entries["made_by"] = _data_in_words(entries), _recorded(entries)
    for name, value in entries.items():
        if isinstance(value, dict):
            face.data(f"{name}:")
            for key, inner in value.items():
                face.data(f"  {key:<16} {visible(str(inner))}")
        else:
            face.data(f"{name:<18} {_indented(str(value))}")
    return 0


def _data_in_words(entries: dict[str, Any]) -> dict[str, str]:
    """The entry data for people: without what was not chosen."""
    data = entries["data"]
    origin = corpus.Origin(**data["origin"])
    words = {"sources": str(origin), "documents": f"{data['documents']:,}"}
    if origin.column is not None:
        words["column"] = origin.column
    if origin.dedupe:
        words["dedupe"] = "duplicates removed"
    return words | {"fingerprint": data["fingerprint"]}


def _recorded(entries: dict[str, Any]) -> dict[str, str]:
    """The entry made_by without what the file does not say."""
    made_by = {name: value for name, value in entries["made_by"].items() if value}
    return made_by or {"engine": "not recorded"}


def _indented(text: str) -> str:
    """An entry of several lines, such as the whole error of an engine's import."""
    return f"\n{'':<18} ".join(visible(line) for line in text.splitlines())


def _model_entries(path: str) -> dict[str, Any]:
    """Size, alphabet, data, configuration, origin and checksums of a model file."""
    checkpoint = checkpoints.load(path)
    return {
        "path": path,
        "sha256": hashlib.sha256(files.read(path)).hexdigest(),
        "weights_sha256": checkpoint.weights_sha256(),
        "step": checkpoint.state.step,
        "parameters": len(checkpoint.state.parameters),
        "alphabet": "".join(checkpoint.tokenizer.alphabet),
        "data": checkpoint.data.to_dict(),
        "config": checkpoint.config.to_dict(),
        "made_by": checkpoint.made_by._asdict(),
    }
