"""The verbs of the command line. They print through the `Face` that cli.py gives them, and return an exit code."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Protocol

from .. import checkpoint as checkpoints
from .. import files
from ..errors import InputError, quote
from ..model import MicroGPT
from ..terminal import Style

SHORT = 1  # exit code: the answer is no, or fewer strings than asked


class Face(Protocol):
    """The two streams as a verb sees them."""

    quiet: bool
    verbose: bool
    out: Style
    err: Style

    def data(self, text: str) -> None:
        """A result, on stdout."""

    def say(self, text: str) -> None:
        """A remark, on stderr, unless --quiet."""

    def shown(self, text: str) -> str:
        """A string from a list or a model, made safe for a terminal if stdout is one."""


def print_json(face: Face, record: dict[str, Any]) -> None:
    """One object on one line; a number that is not finite, which JSON lacks, becomes null."""
    face.data(json.dumps(_finite(record), ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def never() -> bool:
    """For engines: nothing stops this."""
    return False


def load_model(path: str | None) -> MicroGPT:
    """The model at `path`, or the only one in this folder."""
    return MicroGPT.load(model_path(path))


def model_path(path: str | None) -> str:
    """The path given, or the only model in this folder."""
    if path is not None:
        return path
    found = sorted(str(p) for p in Path().glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    what = (
        "there is no model in this folder"
        if not found
        else f"there are {len(found)} models in this folder"
    )
    fix = (
        f"name one: {', '.join(map(quote, found[:5]))}"
        if found
        else "train one: microgpt train FILE"
    )
    raise InputError(what, where=os.getcwd(), fix=fix)


def looks_like_model(path: str) -> bool:
    """Whether a path is meant as a model: by its name, or by its first bytes."""
    return path.endswith(".safetensors") or checkpoints.is_ours(files.first_bytes(path))
