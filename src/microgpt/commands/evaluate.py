"""`microgpt eval`: held-out loss, beside what counting reaches on the same split."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from contextlib import suppress
from dataclasses import fields

from .. import checkpoint as checkpoints
from .. import corpus, ngrams, scoring
from ..config import Config
from ..errors import ConfigError, MicrogptError
from ..progress import progress
from ..terminal import table
from ..training import Interrupt, Session
from . import Face, looks_like_model, never, print_json
from .train import INTERRUPTED, config_from


def evaluate(args: Namespace, face: Face) -> int:
    """Nats a token on held-out documents, beside what counting reaches on the same split."""
    model_path = args.paths[0] if looks_like_model(args.paths[0]) else None
    sources = args.paths[1:] if model_path else args.paths
    if not sources:
        raise ConfigError(
            "eval wants documents to measure on",
            where="argument FILE",
            fix="microgpt eval MODEL FILE",
        )
    source = corpus.read(sources, args.column, args.dedupe)
    if model_path:
        _require_no_settings(args)
        session = _session_of(checkpoints.load(model_path), source, args, face)
    else:
        args.held_out = _share(args)
        session = Session.start(
            config_from(args, source.documents), source, args.engine, args.threads
        )
        if _train_quietly(session, face):
            return INTERRUPTED[signal.SIGINT]
    config, encode = session.config, session.tokenizer.encode
    counts = ngrams.NGrams(map(encode, session.documents), session.tokenizer.vocab_size)
    seen = sys.maxsize if config.windows else config.block_size
    losses = counts.losses(map(encode, session.held_out), seen)
    found = scoring.evaluate(session.gpt, session.held_out, never)
    losses["microgpt"] = found.loss
    face.say(
        f"{found.documents:,} documents held out, {found.tokens:,} tokens; {len(session.documents):,} to count in"
    )
    rows = {
        name: _measures(scoring.Evaluation(loss, found.tokens, found.documents))
        for name, loss in losses.items()
    }
    if args.json:
        print_json(face, {"documents": found.documents, "tokens": found.tokens, "models": rows})
        return 0
    cells = [[name, *(f"{value:.4f}" for value in row.values())] for name, row in rows.items()]
    face.data(table(cells, ["model", "nats/token", "bits/token", "perplexity"]))
    return 0


def _share(args: Namespace) -> float:
    """Of the documents, to hold out."""
    return 0.1 if args.holdout is None else float(args.holdout)


def _measures(found: scoring.Evaluation) -> dict[str, float]:
    return {
        "nats_per_token": found.loss,
        "bits_per_token": found.bits,
        "perplexity": found.perplexity,
    }


def _session_of(
    checkpoint: checkpoints.Checkpoint, source: corpus.Corpus, args: Namespace, face: Face
) -> Session:
    """A trained model over a list: its own split if it held out part of this list, else one made now."""
    data = checkpoint.data
    same = source.fingerprint() == data.fingerprint
    if same and not checkpoint.config.held_out:
        face.say(
            "the model was trained on this whole list: its loss here is no measure of new strings"
        )
    if same and checkpoint.config.held_out and args.holdout is not None:
        raise ConfigError(
            f"the model held out {checkpoint.config.held_out:g} of this list when it was trained, and is measured on that",
            where="option --holdout",
            fix="leave it out",
        )
    if not (same and checkpoint.config.held_out):
        values = checkpoint.config.to_dict() | {"held_out": _share(args)}
        checkpoint.config = Config.from_dict(values)
        checkpoint.data = checkpoints.Data.of(source)
    session = Session.measure(checkpoint, source, args.engine, args.threads)
    if not same:
        _tell_known(data, session.held_out, face)
    return session


def _require_no_settings(args: Namespace) -> None:
    """A trained model has its settings: others would be ignored."""
    for name in ("preset", *(item.name for item in fields(Config))):
        if getattr(args, name, None) is not None:
            raise ConfigError(
                f"{name} is a setting of training, and this model is trained",
                where=f"option {name}",
                fix="leave it out, or leave the model out to train one",
            )


def _tell_known(data: checkpoints.Data, held_out: list[str], face: Face) -> None:
    """Say how many of the held-out strings the model was trained on, where its list can still be read."""
    with suppress(MicrogptError):
        known = frozenset(corpus.again(data.origin, data.fingerprint).documents)
        count = sum(document in known for document in held_out)
        if count:
            face.say(
                f"{count:,} of the {len(held_out):,} strings held out stand in the list the model was trained on"
            )


def _train_quietly(session: Session, face: Face) -> bool:
    """Train without saving; whether a signal stopped it."""
    bar = progress(0, session.config.num_steps, sys.stderr, face.err.on, face.quiet, face.say)
    try:
        with Interrupt() as interrupt:
            for block in session.run(interrupt.stop):
                bar.update([step.loss for step in block])
    finally:
        bar.close()
    return interrupt.stop()
