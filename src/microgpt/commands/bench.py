"""Measure the speed of every engine on this machine."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from .. import benchmarking
from ..errors import ConfigError
from ..face import Face
from ..terminal import table

EXAMPLES = """\
  microgpt bench
  microgpt bench --json --peer 'mine=./mine {data}' > figures.json
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt bench`."""
    add = parser.add_argument
    add(
        "--seconds",
        type=float,
        default=3.0,
        metavar="S",
        help="Measure for about S seconds per figure. [default: %(default)g]",
    )
    add(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="Also time this command; {data} becomes a file of names; may be repeated.",
    )
    add(
        "--json", action="store_true", help="Print machine, engines and figures as one JSON object."
    )


def run(args: Namespace, face: Face) -> int:
    """Measure, and print a table or JSON."""
    peers = dict(_peer(text) for text in args.peer)
    measurements = []
    for measurement in benchmarking.measure(args.seconds, peers):
        face.say(
            f"{measurement.what} {measurement.engine}: {measurement.median:,.4g} {measurement.unit}"
        )
        measurements.append(measurement)
    if args.json:
        face.data(json.dumps(benchmarking.report(measurements), indent=1))
        return 0
    face.data(" · ".join(benchmarking.machine().values()))
    head = ["what", "engine", "median", "range", "unit", "runs", "times scalar"]
    face.data(table(map(_row, measurements), head))
    return 0


def _row(measurement: benchmarking.Measurement) -> list[str]:
    return [
        measurement.what,
        measurement.engine,
        f"{measurement.median:,.4g}",
        f"{measurement.low:,.4g}–{measurement.high:,.4g}",
        measurement.unit,
        str(measurement.runs),
        f"{measurement.ratio:,.0f}" if measurement.ratio else "",
    ]


def _peer(text: str) -> tuple[str, str]:
    """The name and the command of NAME=COMMAND."""
    name, sign, command = text.partition("=")
    if not (name and sign and command):
        raise ConfigError(
            "a peer has the form NAME=COMMAND",
            where=f"option --peer {text!r}",
            fix="--peer 'cat=cat {data}'",
        )
    return name, command
