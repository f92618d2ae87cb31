"""Measure a model on a held-out set, beside n-gram models."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress

from .. import checkpoint as checkpoints
from .. import corpus, ngrams, scoring
from ..config import FIELDS, Config
from ..errors import ConfigError, MicrogptError, counted
from ..face import Face
from ..progress import progress
from ..terminal import table
from ..training import Interrupt, Session
from ._arguments import corpus_options, share
from ._models import looks_like_model
from ._settings import config_from, held_out_option, training_options

EXAMPLES = """\
  microgpt eval names.txt                      train on 90 % of the list, measure on the rest
  microgpt eval names.safetensors names.txt    measure a trained model
"""
DEFAULT_SHARE = 0.1


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt eval`."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="[MODEL] FILE",
        help="A model to measure, if there is one already; then the documents, one a line.",
    )
    held_out_option(
        parser,
        share("held_out", 0.9),
        f"Share of the documents to measure on, held out of training. [default: {DEFAULT_SHARE:g}]",
    )
    corpus_options(parser)
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    training_options(parser, leave_out=["held_out"])


def run(args: Namespace, face: Face) -> int:
    """Print the loss on the held-out set, of the model and of n-grams of the training set."""
    model = args.paths[0] if looks_like_model(args.paths[0]) else None
    sources = args.paths[1:] if model else args.paths
    if not sources:
        raise ConfigError(
            "eval needs documents to measure on",
            where="argument FILE",
            fix="microgpt eval MODEL FILE",
        )
    source = corpus.read(sources, args.column, args.dedupe)
    if model:
        _require_no_settings(args)
        session = _session_of(checkpoints.load(model), source, args, face)
    else:
        args.held_out = _held_out_share(args)
        config = config_from(args, source.documents)
        session = Session.start(config, source, args.engine, args.threads)
        if signal := _train(session, face):
            return 128 + signal
    _print(_evaluations(session, face), args, face)
    return 0


def _held_out_share(args: Namespace) -> float:
    """The share of the documents to hold out."""
    value = args.held_out
    return DEFAULT_SHARE if value is None else float(value)


def _evaluations(session: Session, face: Face) -> dict[str, scoring.Evaluation]:
    """Name -> evaluation on the held-out set, of n-grams of the training set and of the model."""
    config, tokenizer = session.config, session.tokenizer
    counts = ngrams.NGrams(map(tokenizer.encode, session.documents), tokenizer.vocab_size)
    seen = sys.maxsize if config.windows else config.block_size
    losses = counts.losses(map(tokenizer.encode, session.held_out), seen)
    of_model = scoring.evaluate(session.gpt, session.held_out, lambda: False)
    face.say(
        f"held-out set: {counted(of_model.documents, 'document')}, "
        f"{counted(of_model.tokens, 'token')}; "
        f"training set: {counted(len(session.documents), 'document')}"
    )
    sizes = of_model.tokens, of_model.documents
    return {name: scoring.Evaluation(loss, *sizes) for name, loss in losses.items()} | {
        "microgpt": of_model
    }


def _print(evaluations: dict[str, scoring.Evaluation], args: Namespace, face: Face) -> None:
    rows = {
        name: {
            "nats_per_token": evaluation.loss,
            "bits_per_token": evaluation.bits,
            "perplexity": evaluation.perplexity,
        }
        for name, evaluation in evaluations.items()
    }
    if args.json:
        sizes = evaluations["microgpt"]
        face.json({"documents": sizes.documents, "tokens": sizes.tokens, "models": rows})
        return
    cells = [[name, *(f"{value:.4f}" for value in row.values())] for name, row in rows.items()]
    face.data(table(cells, ["model", "nats/token", "bits/token", "perplexity"]))


def _session_of(
    checkpoint: checkpoints.Checkpoint, source: corpus.Corpus, args: Namespace, face: Face
) -> Session:
    """A trained model with a list. If it was trained on this list, its own split is kept."""
    data, own_share = checkpoint.data, checkpoint.config.held_out
    is_own_list = source.fingerprint() == data.fingerprint
    if is_own_list and own_share and args.held_out is not None:
        raise ConfigError(
            f"the model held out {own_share:g} of this list when it was trained, "
            "and is measured on that held-out set",
            where="option --held-out",
            fix="leave the option out",
        )
    if is_own_list and not own_share:
        face.say(
            "the model was trained on this whole list: its loss here says little about new strings"
        )
    if not (is_own_list and own_share):
        values = checkpoint.config.to_dict() | {"held_out": _held_out_share(args)}
        checkpoint = checkpoint._replace(
            config=Config.from_dict(values), data=checkpoints.Data.of(source)
        )
    session = Session.measure(checkpoint, source, args.engine, args.threads)
    if not is_own_list:
        _say_how_many_are_known(data, session.held_out, face)
    return session


def _require_no_settings(args: Namespace) -> None:
    """Refuse settings of training: a trained model has its own."""
    for name in ("preset", *FIELDS):
        if name != "held_out" and getattr(args, name, None) is not None:
            raise ConfigError(
                f"{name} is a setting of training, and this model is already trained",
                where=f"option {name}",
                fix="leave the option out, or leave the model out to train a new one",
            )


def _say_how_many_are_known(data: checkpoints.Data, held_out: list[str], face: Face) -> None:
    """Say how many held-out documents appear in the model's dataset, if it can be read."""
    with suppress(MicrogptError):
        known = frozenset(corpus.read_again(data.origin, data.fingerprint).documents)
        count = sum(document in known for document in held_out)
        if count:
            face.say(
                "held-out documents that appear in the list the model was trained on: "
                f"{count:,} of {len(held_out):,}"
            )


def _train(session: Session, face: Face) -> int:
    """Train without saving. Returns the number of the signal that stopped it, or 0."""
    bar = progress(0, session.config.num_steps, sys.stderr, face.err.on, face.quiet, face.say)
    try:
        with Interrupt() as interrupt:
            for block in session.run(interrupt.stop):
                bar.update([step.loss for step in block])
    finally:
        bar.close()
    return interrupt.received or 0
