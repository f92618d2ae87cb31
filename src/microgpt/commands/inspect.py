"""`microgpt info`, `explain` and `completion`: what a model holds, how it sees a string."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from dataclasses import asdict
from typing import Any

from .. import checkpoint as checkpoints
from .. import engines, files
from ..config import check_range
from ..errors import ConfigError, DataError, MissingPartError, quote, visible
from ..options import build_parser
from ..terminal import explanation
from . import Face, load_model, looks_like_model, model_path, print_json


def info(args: Namespace, face: Face) -> int:
    """Config, alphabet, provenance and checksum of a model, or the engines of this machine."""
    if args.engine:
        found: dict[str, Any] = engines.available()
    else:
        path = model_path(args.model)
        checkpoint = checkpoints.load(path)
        found = {
            "path": path,
            "sha256": hashlib.sha256(files.read(path)).hexdigest(),
            "step": checkpoint.state.step,
            "parameters": len(checkpoint.state.parameters),
            "alphabet": "".join(checkpoint.tokenizer.alphabet),
            "weights_sha256": checkpoint.weights_sha256(),
            "made_by": asdict(checkpoint.made_by),
            "data": asdict(checkpoint.data),
            "config": checkpoint.config.to_dict(),
        }
    if args.json:
        print_json(face, found)
        return 0
    for name, value in found.items():
        if isinstance(value, dict):
            face.data(f"{name}:")
            for key, inner in value.items():
                face.data(f"  {key:<14} {visible(str(inner))}")
        else:
            face.data(f"{name:<16} {visible(str(value))}")
    return 0


def explain(args: Namespace, face: Face) -> int:
    """One string, position by position."""
    if args.model is None and looks_like_model(args.text):
        fix = f"microgpt explain {quote(args.text)} TEXT"
        raise ConfigError(
            "explain wants a string to look at, after the model", where="argument TEXT", fix=fix
        )
    model = load_model(args.model)
    if args.head is not None:
        check_range("head", args.head, True, 0, model.config_.n_head - 1)
    if not args.text:
        raise DataError(
            "there is nothing to explain: the text is empty",
            where="argument TEXT",
            fix="give a string",
        )
    found = model.explain(args.text, gradients=args.grad)
    if args.json:
        print_json(face, found.to_dict())
    else:
        face.data(explanation(found, face.out, args.head))
    if len(args.text) >= model.config_.block_size:
        face.say(f"only the first {model.config_.block_size} characters fit the model's block")
    return 0


def completion(args: Namespace, face: Face) -> int:
    """A shell's completion script."""
    try:
        import shtab
    except ImportError as error:
        raise MissingPartError(
            "completion needs shtab, which is not installed", fix="pip install shtab"
        ) from error

    face.data(shtab.complete(build_parser(), args.shell))
    return 0
