"""`microgpt sample` and `microgpt score`: new strings, and how probable given ones are."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterable

from .. import corpus, scoring
from ..errors import ConfigError, quote
from ..randomness import fresh_seed
from . import SHORT, Face, load_model, looks_like_model, never, print_json


def sample(args: Namespace, face: Face) -> int:
    """New strings, one a line."""
    if args.model is None and isinstance(args.novel, str) and looks_like_model(args.novel):
        raise ConfigError(
            "--novel takes a list, and this is a model",
            where=f"option --novel, {quote(args.novel)}",
            fix=f"the model first: microgpt sample {args.novel} --novel",
        )
    model = load_model(args.model)
    seed = fresh_seed() if args.seed is None else args.seed
    novel = corpus.read([args.novel]).documents if isinstance(args.novel, str) else bool(args.novel)
    found = model.sample(
        args.n,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        prefix=args.prefix,
        match=args.match,
        min_len=args.min_len,
        max_len=args.max_len,
        novel=novel,
        unique=args.unique,
        seed=seed,
    )
    if args.json:
        for text, log_probability in zip(found, model.score_samples(found)):
            print_json(face, {"text": text, "log_probability": log_probability, "seed": seed})
    else:
        for text in found:
            face.data(face.shown(text))
    if args.verbose:
        face.say(f"seed {seed}")
    if len(found) < args.n:
        face.say(
            f"found {len(found):,} of {args.n:,}: such strings are too rare; loosen a filter or raise -t"
        )
        return SHORT
    return 0


def score(args: Namespace, face: Face) -> int:
    """`log-probability TAB string` for each string."""
    model_path, path = args.model, args.file
    if model_path is not None and path == "-" and not looks_like_model(model_path):
        model_path, path = None, model_path  # score FILE
    model = load_model(model_path)
    texts = corpus.read([path], args.column).documents
    known = (
        [text for text in texts if model.tokenizer_.knows(text)] if args.unk == "skip" else texts
    )
    found: Iterable[scoring.Score] = scoring.score(model.gpt_, known, never)
    unit = 1 / math.log(2) if args.bits else 1.0

    def points(one: scoring.Score) -> float:
        return (one.per_token if args.per_char else one.log_probability) * unit

    if args.sort:
        found = sorted(found, key=lambda one: -points(one))
    cut = 0
    for one in found:
        cut += one.cut
        if args.min is not None and points(one) < args.min:
            continue
        if args.json:
            record = {
                "text": one.text,
                "log_probability": points(one),
                "tokens": one.tokens,
                "cut": one.cut,
            }
            print_json(face, record)
        else:
            face.data(f"{points(one)!r}\t{face.shown(one.text)}")
    if cut:
        face.say(
            f"{cut:,} strings do not fit the model's block of {model.config_.block_size}: their first part is scored"
        )
    if len(known) < len(texts):
        face.say(
            f"skipped {len(texts) - len(known):,} strings with characters outside the model's alphabet"
        )
    return 0
