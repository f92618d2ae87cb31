"""Write a model as one HTML page or as a JavaScript module."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .. import checkpoint as checkpoints
from .. import exporting, files
from ..errors import MicrogptError, MissingPartError
from ..face import Face
from ._arguments import force_option, model_argument
from ._models import documents_for_page, model_path

EXAMPLES = """\
  microgpt export names.safetensors --to html  one page that shows the model at work, offline
  microgpt export names.safetensors --to js    names.js and names.d.ts
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt export`."""
    model_argument(parser)
    add = parser.add_argument
    add("--to", required=True, choices=["html", "js"], help="The format to write (required).")
    add(
        "-o",
        "--output",
        metavar="PATH",
        help="The file to write. [default: MODEL with the suffix .html or .js, in this folder]",
    )
    force_option(parser)
    add("--no-check", action="store_true", help="Do not read the result back and compare it.")


def run(args: Namespace, face: Face) -> int:
    """Write the files of one format, read them back, and say how far they are from the model."""
    path = model_path(args.model)
    model = checkpoints.load(path)
    form = exporting.FORMATS[args.to]
    output = Path(args.output or Path(path).stem + form.suffix)
    documents = documents_for_page(model, face) if args.to == "html" else []
    contents = exporting.export(model, args.to, documents)
    targets = {
        suffix: output.with_suffix(suffix) if i else output for i, suffix in enumerate(contents)
    }
    for target in targets.values():
        files.require_replaceable(target, exporting.is_ours, args.force)
    for suffix, target in targets.items():
        files.save(target, contents[suffix])
        face.say(f"saved {target} ({len(contents[suffix]):,} bytes)")
    if not args.no_check:
        _check(model, form, output, face)
    return 0


def _check(model: checkpoints.Checkpoint, form: exporting.Format, output: Path, face: Face) -> None:
    """Read the file back. Raises MicrogptError if it does not compute what the model computes."""
    try:
        difference, by = form.check(model, output.read_text(encoding="utf-8"))
    except MissingPartError as error:
        face.say(f"not checked: {error.what}")
        return
    face.say(f"read back: largest difference {difference:.1e} ({by})")
    if not difference <= exporting.CLOSE:
        raise MicrogptError(
            "the exported file does not compute what the model computes",
            where=str(output),
            fix="please report it",
        )
