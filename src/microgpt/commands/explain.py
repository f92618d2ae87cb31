"""Show how a model reads a string: predictions, losses and attention at each position."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from ..config import check_range
from ..errors import ConfigError, DataError, quote
from ..face import Face
from ..model import MicroGPT
from ..terminal import explanation
from ._arguments import model_argument
from ._models import looks_like_model, model_path

EXAMPLES = """\
  microgpt explain names.safetensors karia
  microgpt explain names.safetensors karia --grad --json
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt explain`."""
    model_argument(parser)
    add = parser.add_argument
    add("text", metavar="TEXT", help="The string to read.")
    add(
        "--head",
        type=_head,
        metavar="H",
        help="Show only this attention head, counted from 0. [default: all]",
    )
    add(
        "--grad",
        action="store_true",
        help="Also show the gradient of the loss with respect to each weight.",
    )
    add("--json", action="store_true", help="Print every number as one JSON object.")


def _head(text: str) -> int:
    """A whole number. Its range is that of the model, which is not read yet."""
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"head must be a whole number, not {quote(text)}") from None


def run(args: Namespace, face: Face) -> int:
    """Print what the model expects at each position, and where it looks."""
    if args.model is None and looks_like_model(args.text):
        raise ConfigError(
            "explain needs a string after the model",
            where="argument TEXT",
            fix=f"microgpt explain {quote(args.text)} TEXT",
        )
    model = MicroGPT.load(model_path(args.model))
    if args.head is not None:
        check_range("head", args.head, True, 0, model.config_.n_head - 1)
    if not args.text:
        raise DataError(
            "there is nothing to explain: the text is empty",
            where="argument TEXT",
            fix="give a string of one or more characters",
        )
    reading = model.explain(args.text, gradients=args.grad)
    if args.json:
        face.json(reading.to_dict())
    else:
        face.data(explanation(reading, face.out, args.head))
    if len(args.text) >= model.config_.block_size:
        face.say(f"only the first {model.config_.block_size} characters fit the model's block")
    return 0
