"""`microgpt export`: a model as a file for elsewhere, read back before it is trusted."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .. import checkpoint as checkpoints
from .. import corpus, exporting, files
from ..errors import MicrogptError, MissingPartError
from . import Face, model_path


def export(args: Namespace, face: Face) -> int:
    """Write the files of one form; say how far they are from the model when read back."""
    path = model_path(args.model)
    model = checkpoints.load(path)
    form = exporting.FORMATS[args.to]
    output = Path(args.output or Path(path).stem + form.suffix)
    documents: list[str] = []
    if args.to == "html":
        try:
            documents = corpus.again(model.data.origin, model.data.fingerprint).documents
        except MicrogptError as error:
            face.say(f"the page has no list, so it marks nothing as known: {error.what}")
    made = exporting.export(model, args.to, documents)
    targets = {suffix: output.with_suffix(suffix) if i else output for i, suffix in enumerate(made)}
    for target in targets.values():
        files.require_replaceable(target, exporting.is_ours, args.force)
    for suffix, target in targets.items():
        files.save(target, made[suffix])
        face.say(f"saved {target} ({len(made[suffix]):,} bytes)")
    if not args.no_check:
        try:
            difference, by = form.check(model, output.read_text(encoding="utf-8"))
            face.say(f"read back: largest difference {difference:.1e} ({by})")
            if not difference <= exporting.CLOSE:
                raise MicrogptError(
                    "what was written is not the model", where=str(output), fix="please report it"
                )
        except MissingPartError as error:
            face.say(f"not checked: {error.what}")
    return 0
