"""Print the log-probability of each string under a model."""

from __future__ import annotations

import math
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterable

from .. import corpus, scoring
from ..errors import counted
from ..face import Face
from ..model import MicroGPT
from ._arguments import column_option, model_argument, number
from ._models import looks_like_model, model_path

EXAMPLES = """\
  microgpt score names.safetensors candidates.txt --sort
  printf 'emma\\nxqzv\\n' | microgpt score names.safetensors --bits
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt score`."""
    model_argument(parser)
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="The strings, one a line. [default: standard input]",
    )
    column_option(parser)
    add("--bits", action="store_true", help="Print bits instead of nats.")
    add(
        "--per-token",
        action="store_true",
        help="Print the mean per token, the end token included, instead of the sum.",
    )
    add("--per-char", dest="per_token", action="store_true", help=SUPPRESS)  # its earlier name
    add("--sort", action="store_true", help="Print the most probable string first.")
    add(
        "--min",
        type=number("min"),
        metavar="X",
        help="Print only strings that score at least X. [default: all]",
    )
    add(
        "--unk",
        choices=["error", "skip"],
        default="error",
        help="What to do with a string that has a character the model does not know. "
        "[default: %(default)s]",
    )
    add(
        "--json",
        action="store_true",
        help="Print one JSON object a line: text, log_probability, tokens, cut.",
    )


def run(args: Namespace, face: Face) -> int:
    """Print log-probability, tab, string: a line for each string."""
    path, file = args.model, args.file
    if path is not None and file == "-" and not looks_like_model(path):
        path, file = None, path  # microgpt score FILE
    model = MicroGPT.load(model_path(path))
    texts = corpus.read([file], args.column).documents
    known = (
        [text for text in texts if model.tokenizer_.knows(text)] if args.unk == "skip" else texts
    )
    scores = _scores(model, known)
    unit = 1 / math.log(2) if args.bits else 1.0

    def points(score: scoring.Score) -> float:
        return (score.per_token if args.per_token else score.log_probability) * unit

    if args.sort:
        scores = sorted(scores, key=lambda score: -points(score))
    cut = 0
    for score in scores:
        cut += score.cut
        if args.min is not None and points(score) < args.min:
            continue
        if args.json:
            record = {"text": score.text, "log_probability": points(score)}
            face.json(record | {"tokens": score.tokens, "cut": score.cut})
        else:
            face.data(f"{points(score)!r}\t{face.shown(score.text)}")
    if cut:
        face.say(
            f"scored only the beginning of {counted(cut, 'string')}, longer than the model's "
            f"block of {model.config_.block_size} tokens"
        )
    if len(known) < len(texts):
        face.say(
            f"skipped {counted(len(texts) - len(known), 'string')} with characters outside the "
            "model's alphabet"
        )
    return 0


def _scores(model: MicroGPT, texts: list[str]) -> Iterable[scoring.Score]:
    """The score of each string, in order."""
    return scoring.score(model.gpt_, texts, lambda: False)
