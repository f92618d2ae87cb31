"""Which model a command uses: the file named, or the only model in the current folder."""

from __future__ import annotations

import os

from .. import checkpoint as checkpoints
from .. import corpus, files
from ..errors import InputError, MicrogptError, quote
from ..face import Face

SUFFIX = ".safetensors"


def model_path(path: str | None) -> str:
    """`path`, or the only model in the current folder. Raises InputError if there is not one."""
    if path is not None:
        return path
    paths = sorted(name for name in os.listdir() if name.endswith(SUFFIX))
    if len(paths) == 1:
        return paths[0]
    if not paths:
        raise InputError(
            "there is no model in this folder", where=os.getcwd(), fix="microgpt train FILE"
        )
    raise InputError(
        f"there are {len(paths)} models in this folder",
        where=os.getcwd(),
        fix=f"name one of them: {', '.join(map(quote, paths[:5]))}",
    )


def documents_for_page(checkpoint: checkpoints.Checkpoint, face: Face) -> list[str]:
    """The documents that the page marks as known: the model's dataset, if it can still be read."""
    data = checkpoint.data
    try:
        return corpus.read_again(data.origin, data.fingerprint).documents
    except MicrogptError as error:
        face.say(f"the page marks nothing as known, because the list is missing: {error.what}")
        return []


def looks_like_model(path: str) -> bool:
    """Whether a path is meant as a model, by its name or by the first bytes of the file."""
    return path.endswith(SUFFIX) or checkpoints.is_ours(files.first_bytes(path))
