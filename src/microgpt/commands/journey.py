"""`microgpt journey`: what repeats in a program, what the editions weigh, publish one, be reminded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from .. import corpus, files
from ..errors import DataError, quote
from ..journey import analyze as analysis
from ..journey import editions as shipped
from ..journey import gist as gists
from ..journey import ledger as ledgers
from ..journey import remind as reminders
from ..verify.cases import Case, cases_for
from ..verify.programs import python_program, reference_program
from ..verify.verifier import Verifier
from . import Face


def journey(args: Namespace, face: Face) -> int:
    """One stage of the journey."""
    stages = {"analyze": analyze, "editions": editions, "ledger": ledger}
    return {**stages, "gist": gist, "remind": remind}[args.stage](args, face)


def analyze(args: Namespace, face: Face) -> int:
    """Exit code 0 whatever is found; other codes only for input that cannot be read."""
    try:
        source = files.read(args.file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            "the program is not UTF-8 text", where=f"{quote(args.file)}, byte {error.start}"
        ) from error
    families = analysis.find(source, args.file)
    if args.json:
        for family in families[: args.top]:
            face.data(json.dumps(family.to_dict(), ensure_ascii=False))
    else:
        face.data(analysis.render(families, args.top).rstrip("\n"))
    return 0


def editions(args: Namespace, face: Face) -> int:
    """All editions as a table, or the text of the one that is named."""
    text = shipped.source_of(args.name) if args.name else shipped.listing()
    face.data(text.rstrip("\n"))
    return 0


def ledger(args: Namespace, face: Face) -> int:
    """Exit code 1 with --check where something is stale."""
    editions, docs = Path(args.editions or shipped.FOLDER), Path(args.docs)
    if args.check:
        found = ledgers.stale(editions, docs)
        for line in found:
            face.data(line)
        face.say("stale: run `microgpt journey ledger`" if found else "the ledger is up to date")
        return 1 if found else 0
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
    """Writes the folder; publishes only with --publish."""
    given = Path(args.edition)
    edition = given if given.suffix and given.exists() else shipped.path_of(args.edition)
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
        face.say("not published; --publish does that")
    return 0


def remind(args: Namespace, face: Face) -> int:
    """Once, regularly, or by the user's timer."""
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
    """The built-in names, over that many steps (0: as many as the program says)."""
    data = "\n".join(corpus.builtin().documents).encode() + b"\n"
    return cases_for([(corpus.BUILTIN, data)], steps=steps or None)


def _version(python: str) -> str:
    ask = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
