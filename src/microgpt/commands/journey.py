"""Shorten the program: find repetition, measure the editions, publish one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from .. import corpus, files
from ..face import Face
from ..journey import analyze as analysis
from ..journey import editions as shipped
from ..journey import gist as gists
from ..journey import ledger as ledgers
from ..journey import remind as reminders
from ..verify.cases import Case, cases_for
from ..verify.programs import python_program, reference_program
from ..verify.verifier import Verifier
from . import NO
from ._parser import add_help

EXAMPLES = """\
  microgpt journey analyze program.py --top 10
  microgpt journey ledger                      rewrite LEDGER.md and the tables in docs/
  microgpt journey editions golf > golf.py
  microgpt journey gist short                  write a folder, publish nothing
  microgpt journey remind                      where the ledger stands, and what to try next
  microgpt journey remind --every 1h
  microgpt journey remind --install systemd
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt journey`: one parser for each stage."""
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE", title="stages")
    for name, summary, add_stage_arguments in (
        ("analyze", "Find what repeats in a program, and what removing it saves.", _analyze),
        ("editions", "List the editions of the package, or print one.", _editions),
        ("ledger", "Measure and certify the editions, and rewrite LEDGER.md.", _ledger),
        ("gist", "Write an edition and its certificate as a folder.", _gist),
        ("remind", "Say where the ledger stands, and what to try next.", _remind),
    ):
        stage = stages.add_parser(name, help=summary, description=summary)
        add_stage_arguments(stage)
        add_help(stage)


def _analyze(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE.py", help="The program.")
    add(
        "--top",
        type=int,
        default=20,
        metavar="N",
        help="Show the N families that save most. [default: %(default)s]",
    )
    add("--json", action="store_true", help="Print one JSON object per family.")


def _editions(parser: ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="Print this edition. [default: list all]"
    )


def _ledger(parser: ArgumentParser) -> None:
    add = parser.add_argument
    _editions_option(parser)
    add(
        "--docs",
        default="docs",
        metavar="DIR",
        help="The folder whose tables are rewritten. [default: %(default)s]",
    )
    add(
        "--check",
        action="store_true",
        help="Change nothing; exit with 1 if a file is out of date.",
    )
    add(
        "--tables",
        action="store_true",
        help="Measure nothing; rewrite the texts from the recorded figures.",
    )
    add(
        "--only",
        action="append",
        metavar="NAME",
        help="Measure only this edition; may be repeated. [default: all]",
    )
    _steps_option(parser)
    add(
        "--python",
        action="append",
        metavar="PATH",
        help="Also certify with this Python; may be repeated.",
    )


def _gist(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("edition", metavar="FILE.py", help="The edition: a file, or its name in the package.")
    add(
        "-o",
        "--output",
        metavar="DIR",
        help="The folder to write. [default: gist-EDITION]",
    )
    _steps_option(parser)
    add(
        "--publish",
        action="store_true",
        help="Also create the gist, with the token in GITHUB_TOKEN.",
    )
    add("--update", metavar="ID", help="With --publish: change this gist instead.")
    add("--secret", action="store_true", help="With --publish: create a gist that is not listed.")
    add(
        "--api",
        default="https://api.github.com",
        metavar="URL",
        help="The server to publish on. [default: %(default)s]",
    )


def _remind(parser: ArgumentParser) -> None:
    add = parser.add_argument
    _editions_option(parser)
    add("--every", metavar="TIME", help="Repeat after each TIME: 30s, 10m, 1h, 1d.")
    add(
        "--times",
        type=int,
        default=0,
        metavar="N",
        help="With --every: stop after N reminders; 0: never. [default: %(default)s]",
    )
    add(
        "--install",
        choices=("cron", "systemd"),
        help="Install a timer of this user, and show it.",
    )
    add("--uninstall", choices=("cron", "systemd"), help="Remove this user's timer.")
    add(
        "--state",
        metavar="FILE",
        help="Where the last reminder is recorded. [default: in the user's state folder]",
    )


def _editions_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--editions",
        metavar="DIR",
        help="The folder of the editions. [default: that of the package]",
    )


def _steps_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--steps",
        type=int,
        default=20,
        metavar="N",
        help="Certify over N steps; 0: over all steps. [default: %(default)s]",
    )


def run(args: Namespace, face: Face) -> int:
    """Run one stage."""
    stages = {"analyze": analyze, "editions": editions, "ledger": ledger}
    return {**stages, "gist": gist, "remind": remind}[args.stage](args, face)


def analyze(args: Namespace, face: Face) -> int:
    """Print the families of repeated code, those that save most first."""
    families = analysis.find(files.read_text(args.file, "the program"), args.file)
    if args.json:
        for family in families[: args.top]:
            face.data(json.dumps(family.to_dict(), ensure_ascii=False))
    else:
        face.data(analysis.render(families, args.top).rstrip("\n"))
    return 0


def editions(args: Namespace, face: Face) -> int:
    """Print all editions as a table, or the text of one."""
    text = shipped.source_of(args.name) if args.name else shipped.listing()
    face.data(text.rstrip("\n"))
    return 0


def ledger(args: Namespace, face: Face) -> int:
    """Write the ledger. With --check only look: exit code 1 if a file is out of date."""
    editions, docs = Path(args.editions or shipped.FOLDER), Path(args.docs)
    if args.check:
        out_of_date = ledgers.stale(editions, docs)
        for line in out_of_date:
            face.data(line)
        if out_of_date:
            face.say("out of date: run `microgpt journey ledger`")
            return NO
        face.say("the ledger is up to date")
        return 0
    pythons = {_version(python): python for python in (sys.executable, *(args.python or ()))}
    measured = (
        None
        if args.tables
        else ledgers.measure(editions, _cases(args.steps), pythons, only=args.only or ())
    )
    for path in ledgers.write(editions, docs, measured):
        face.say(f"wrote {path}")
    return 0


def gist(args: Namespace, face: Face) -> int:
    """Write the folder; publish it only with --publish."""
    given = Path(args.edition)
    edition = given if given.suffix and given.exists() else shipped.path_of(args.edition)
    face.say(f"verifying {edition.name} against the reference; this can take minutes")
    verdict = Verifier(reference_program()).verify(python_program(str(edition)), _cases(args.steps))
    ready = gists.prepare(edition, verdict)
    folder = Path(args.output or f"gist-{edition.stem}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ready.files.items():
        files.write(folder / name, text.encode())
        face.say(f"wrote {folder / name}")
    if args.publish:
        face.data(gists.publish(ready, args.api, os.environ, args.update or "", args.secret))
    else:
        face.say("not published; to publish it, give --publish")
    return 0


def remind(args: Namespace, face: Face) -> int:
    """Print a reminder once or regularly, or change the user's timer."""
    editions = Path(args.editions or shipped.FOLDER)
    state = Path(args.state) if args.state else reminders.default_state()
    change = args.install or args.uninstall
    if change:
        act = reminders.change_cron if change == "cron" else reminders.change_systemd
        face.data(act(editions, state, bool(args.install)).rstrip("\n"))
    elif args.every:
        reminders.every(
            reminders.seconds_of(args.every),
            args.times,
            lambda: face.data(reminders.remind(editions, state).text()),
        )
    else:
        face.data(reminders.remind(editions, state).text().rstrip("\n"))
    return 0


def _cases(steps: int) -> list[Case]:
    """The built-in names, over this number of steps; 0: all steps of the program."""
    data = "\n".join(corpus.builtin().documents).encode() + b"\n"
    return cases_for([(corpus.BUILTIN, data)], steps=steps or None)


def _version(python: str) -> str:
    ask = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
