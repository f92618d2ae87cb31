"""Where the journey stands and what to try next: once, regularly, or by the user's own timer.

What changed since the last reminder is known from a small state file. A timer is installed only on
request. It goes into the user's crontab, in a line with a mark by which it is removed again, or
into the user's systemd folder. Nothing else there is touched.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError, MissingPartError, OutputError, quote
from . import ledger
from .analyze import Family, find

MARK = "# microgpt journey remind"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Reminder:
    """What a reminder says."""

    standing: list[str]  # a line for each edition
    changes: list[str]  # since the last reminder
    candidate: Family | None  # what to try next

    def text(self) -> str:
        """The reminder for people."""
        lines = ["The editions stand at:", *(f"  {line}" for line in self.standing)]
        lines += [
            "Since the last reminder:",
            *(f"  {line}" for line in self.changes or ["nothing changed"]),
        ]
        if self.candidate:
            family = self.candidate
            where = ", ".join(str(place.line) for place in family.places)
            what = f"{len(family.places)} {family.kind} as {family.way}"
            lines += [f"Next to try, in short.py, lines {where}: {what} ({family.saving:+d} lines)"]
            lines += [f"    {line}" for line in family.skeleton.split("\n")]
        return "\n".join(lines) + "\n"


def remind(editions: Path, state: Path) -> Reminder:
    """The reminder now. It is remembered in the state file; the next offers another candidate."""
    listed = ledger.entries(editions)
    now = {
        e.name: {"sha256": e.sha256, "lines": e.size.lines, "bytes": e.size.bytes} for e in listed
    }
    before: dict[str, Any] = json.loads(files.read(state)) if state.exists() else {}
    turn = int(before.get("turn", -1)) + 1
    short = editions / "short.py"
    families = find(short.read_text(encoding="utf-8"), "short.py") if short.exists() else []
    best = families[:10]
    standing = [
        f"{e.name:22} {e.size.lines:4} lines {e.size.bytes:7,} bytes  {ledger.claim(e)}"
        for e in listed
    ]
    state.parent.mkdir(parents=True, exist_ok=True)
    files.write(state, (json.dumps({"editions": now, "turn": turn}) + "\n").encode())
    changes = _changes(before.get("editions", {}), now)
    return Reminder(standing, changes, best[turn % len(best)] if best else None)


def _changes(known: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between the editions of the last reminder and now; nothing at the first."""
    if not known:
        return []
    changes = [
        f"{name}: {known[name]['lines']} lines, {known[name]['bytes']:,} bytes "
        f"became {size['lines']}, {size['bytes']:,}"
        for name, size in now.items()
        if name in known and known[name] != size
    ]
    changes += [f"{name} is new" for name in now if name not in known]
    return changes + [f"{name} is gone" for name in known if name not in now]


def default_state() -> Path:
    """Where the last reminder is remembered: the user's state folder."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "microgpt" / "remind.json"


def seconds_of(text: str) -> int:
    """A time such as 30s, 10m, 1h or 1d in seconds. Raises ConfigError.

    >>> seconds_of("10m")
    600
    """
    match = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if not match:
        raise ConfigError(
            f"a time is a number and s, m, h or d, not {quote(text)}",
            where="option --every",
            fix="--every 1h",
        )
    return int(match[1]) * _UNITS[match[2]]


def every(seconds: int, times: int, job: Callable[[], None]) -> None:
    """Do the job now and every `seconds` seconds, `times` times in all (0: without end)."""
    try:
        import schedule
    except ImportError as error:
        raise MissingPartError(
            "--every needs the package schedule, which is not installed",
            fix="pip install 'microgpt-exact[journey]'",
        ) from error
    import time

    clock, done = schedule.Scheduler(), 1
    job()
    clock.every(seconds).seconds.do(job)
    while not times or done < times:
        time.sleep(max(0.0, clock.idle_seconds or 0.0))
        due = clock.next_run
        clock.run_pending()
        done += clock.next_run != due


# ---- The user's timers ---------------------------------------------------------------------------


def command(editions: Path, state: Path) -> str:
    """The command line a timer runs, with absolute paths."""
    words = [sys.executable, "-m", "microgpt", "journey", "remind"]
    return shlex.join(
        [*words, "--editions", str(editions.resolve()), "--state", str(state.resolve())]
    )


def cron_text(current: str, line: str | None) -> str:
    """A crontab with our line at the end, or without it."""
    lines = [each for each in current.splitlines() if not each.endswith(MARK)]
    return (
        "\n".join([*lines, *([f"{line} {MARK}"] if line else [])]) + "\n" if lines or line else ""
    )


def change_cron(editions: Path, state: Path, install: bool) -> str:
    """Add the hourly reminder to the user's crontab, or remove it; the crontab as it is then."""
    program = shutil.which("crontab")
    if not program:
        raise MissingPartError(
            "there is no crontab on this system", fix="install cron, or --install systemd"
        )
    listed = subprocess.run([program, "-l"], capture_output=True, text=True, check=False)
    log = state.with_suffix(".log")
    escaped = command(editions, state).replace("%", r"\%")  # a % would end the command in a crontab
    line = f"0 * * * * {escaped} >> {shlex.quote(str(log))} 2>&1"
    text = cron_text(listed.stdout if listed.returncode == 0 else "", line if install else None)
    log.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([program, "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OutputError(f"crontab refused the change: {done.stderr.strip()}")
    return text


def systemd_units(editions: Path, state: Path) -> dict[str, str]:
    """The two unit files of an hourly user timer, by name."""
    run = command(editions, state).replace("%", "%%")
    service = "[Unit]\nDescription=Where the journey of microgpt stands\n\n"
    service += f"[Service]\nType=oneshot\nExecStart={run}\n"
    timer = "[Unit]\nDescription=Hourly reminder of the journey of microgpt\n\n"
    timer += "[Timer]\nOnCalendar=hourly\nPersistent=true\n"
    timer += "\n[Install]\nWantedBy=timers.target\n"
    return {"microgpt-remind.service": service, "microgpt-remind.timer": timer}


def change_systemd(editions: Path, state: Path, install: bool, folder: Path | None = None) -> str:
    """Write the user's timer units, or remove them, and tell systemd. What was done, as text."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folder = folder or base / "systemd" / "user"
    said = []
    if not install:
        _systemctl("disable", "--now", "microgpt-remind.timer")
    for name, text in systemd_units(editions, state).items():
        path = folder / name
        if install:
            folder.mkdir(parents=True, exist_ok=True)
            files.write(path, text.encode())
            said.append(f"{path}:\n{text}")
        else:
            path.unlink(missing_ok=True)
            said.append(f"removed {path}")
    running = _systemctl("daemon-reload") and (
        not install or _systemctl("enable", "--now", "microgpt-remind.timer")
    )
    if not running:
        said.append("systemd is not running for this user: the units take effect when it is")
    return "\n".join(said) + "\n"


def _systemctl(*words: str) -> bool:
    program = shutil.which("systemctl")
    if not program:
        return False
    return (
        subprocess.run([program, "--user", *words], capture_output=True, check=False).returncode
        == 0
    )
