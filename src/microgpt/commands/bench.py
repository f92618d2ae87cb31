"""`microgpt bench`: every engine against the reference, on this machine, in one run."""

from __future__ import annotations

import json
from argparse import Namespace

from .. import benchmarking
from ..errors import ConfigError
from ..terminal import table
from . import Face


def bench(args: Namespace, face: Face) -> int:
    """Measure, print a table or JSON."""
    peers = dict(_peer(text) for text in args.peer)
    found = []
    for one in benchmarking.measure(args.seconds, peers):
        face.say(f"{one.what} {one.engine}: {one.median:,.4g} {one.unit}")
        found.append(one)
    if args.json:
        face.data(json.dumps(benchmarking.report(found), indent=1))
        return 0
    face.data(" · ".join(benchmarking.machine().values()))
    face.data(
        table(
            map(_row, found), ["what", "engine", "median", "range", "unit", "runs", "times scalar"]
        )
    )
    return 0


def _row(one: benchmarking.Measurement) -> list[str]:
    numbers = [f"{one.median:,.4g}", f"{one.low:,.4g}–{one.high:,.4g}"]
    return [
        one.what,
        one.engine,
        *numbers,
        one.unit,
        str(one.runs),
        f"{one.ratio:,.0f}" if one.ratio else "",
    ]


def _peer(text: str) -> tuple[str, str]:
    name, sign, command = text.partition("=")
    if not (name and sign and command):
        raise ConfigError(
            "a peer is NAME=COMMAND", where=f"option peer {text!r}", fix="--peer 'cat=cat {data}'"
        )
    return name, command
