"""Generate new documents with a model, one a line."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .. import checkpoint as checkpoints
from .. import corpus
from ..errors import ConfigError, quote
from ..face import Face
from ..gpt import GPT
from ..randomness import Draws, fresh_seed
from ..sampling import Wanted, sample
from . import NO
from ._arguments import model_argument, number
from ._models import looks_like_model, model_path

EXAMPLES = """\
  microgpt sample names.safetensors -n 100 -t 0.8 --novel --unique
  microgpt sample names.safetensors --prefix ka --match '.*[aeiou]' --max-len 8
  microgpt sample names.safetensors --seed 7 --json
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt sample`."""
    model_argument(parser)
    parser.add_argument(
        "-n",
        type=number("n"),
        default=20,
        metavar="N",
        help="How many documents to generate. [default: %(default)s]",
    )
    _drawing(parser)
    _filters(parser)
    parser.add_argument(
        "--seed",
        type=number("seed"),
        metavar="N",
        help="The same seed gives the same documents. [default: random]",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="Print one JSON object a line: text, log_probability, seed.",
    )


def _drawing(parser: ArgumentParser) -> None:
    """How each token is drawn."""
    add = parser.add_argument
    add(
        "-t",
        "--temperature",
        type=number("temperature"),
        default=0.5,
        metavar="T",
        help="Divide the logits by T: lower is more typical, higher more varied. "
        "[default: %(default)s]",
    )
    add(
        "-k",
        "--top-k",
        type=number("top_k"),
        default=0,
        metavar="K",
        help="Draw only from the K most probable tokens; 0: from all. [default: %(default)s]",
    )
    add(
        "--top-p",
        type=number("top_p"),
        default=1.0,
        metavar="P",
        help="Draw only from the most probable tokens that sum to P; 1: from all. "
        "[default: %(default)g]",
    )


def _filters(parser: ArgumentParser) -> None:
    """Which documents are printed."""
    add = parser.add_argument
    add("-p", "--prefix", default="", metavar="TEXT", help="Begin each document with TEXT.")
    add("--match", metavar="REGEX", help="Print only documents that match REGEX as a whole.")
    add(
        "--min-len",
        type=number("min_len"),
        default=0,
        metavar="N",
        help="Print only documents of at least N characters. [default: %(default)s]",
    )
    add(
        "--max-len",
        type=number("max_len"),
        metavar="N",
        help="Print only documents of at most N characters. [default: no maximum]",
    )
    add(
        "--novel",
        nargs="?",
        const=True,
        metavar="FILE",
        help="Print only documents that are not in FILE (without FILE: not in the training set).",
    )
    add("--unique", action="store_true", help="Print no duplicates.")


def _known(novel: str | bool | None, trained_on: checkpoints.Data) -> frozenset[str]:
    """The documents to leave out: those of a file, those of the model's dataset, or none."""
    if isinstance(novel, str):
        return frozenset(corpus.read([novel]).documents)
    if novel:
        return frozenset(corpus.read_again(trained_on.origin, trained_on.fingerprint).documents)
    return frozenset()


def run(args: Namespace, face: Face) -> int:
    """Print the documents. Exit code 1 if there are fewer than requested."""
    if args.model is None and isinstance(args.novel, str) and looks_like_model(args.novel):
        raise ConfigError(
            "--novel takes a list of documents, and this is a model",
            where=f"option --novel, {quote(args.novel)}",
            fix=f"put the model first: microgpt sample {args.novel} --novel",
        )
    model = checkpoints.load(model_path(args.model))
    gpt = GPT.from_checkpoint(model)
    seed = fresh_seed() if args.seed is None else args.seed
    wanted = Wanted(
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        prefix=args.prefix,
        match=args.match,
        min_len=args.min_len,
        max_len=args.max_len,
        novel=_known(args.novel, model.data),
        unique=args.unique,
    )
    documents = list(sample(gpt, args.n, wanted, Draws(seed), lambda: False))
    if args.json:
        from .. import scoring

        for score in scoring.score(gpt, documents, lambda: False):
            record = {"text": score.text, "log_probability": score.log_probability}
            face.json(record | {"seed": seed})
    else:
        for text in documents:
            face.data(face.shown(text))
    if args.verbose:
        face.say(f"seed {seed}")
    if len(documents) < args.n:
        face.say(
            f"generated {len(documents):,} of {args.n:,} documents: the others are too rare; "
            "loosen a filter or raise --temperature"
        )
        return NO
    return 0
