"""Run a command within limits of time, memory, output, processes, files and network (promise R29).

This is the parent's side of cage.py. It starts the cage, reads what the command writes, and
enforces the deadline and the size of the output. The result is an `Outcome`, whatever the command
does; nothing that a command does raises an exception here. The outcome names the guards that the
system granted.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

CAGE = Path(__file__).with_name("cage.py")
EVERY_GUARD = ("files", "network", "processes")
GRACE_SECONDS = 0.9  # for killing what is left; a run ends within its limit plus a second
ERROR_BYTES = 1 << 16  # at the end of stderr: where the message of an error is looked for
# Also inside a group of exceptions, where each line begins with a bar, and as node writes it.
_EXCEPTION = re.compile(r"[\s|]*((?:Uncaught )?[\w.]*(?:Error|Exception|Group|Interrupt)\b.*)")


@dataclass(frozen=True)
class Limits:
    """What one run of a command may use."""

    seconds: float = 3600.0  # of wall time
    memory: int = 4 << 30  # bytes: of all its processes together, and of each one's address space
    output: int = 64 << 20  # bytes of stdout and of stderr each
    files: int = 64 << 20  # bytes in its folder
    record: int = 2 << 30  # bytes that the probe writes
    processes: int = 64
    network: bool = False


@dataclass
class Outcome:
    """How a run went, and what the command wrote."""

    stdout: bytes
    stderr: bytes
    record: bytes
    status: int | None  # exit status, or minus a signal's number; None where a limit ended it
    ended: str  # "exit", or the limit: time, memory, output, files, processes, record
    seconds: float  # of wall time
    cpu: float  # seconds of processor time
    memory: int  # peak resident bytes of its largest process
    survivors: int  # processes that could not be ended
    guards: tuple[str, ...]  # which of EVERY_GUARD were in force

    @property
    def failure(self) -> str:
        """What went wrong, as a phrase; empty after a normal exit with status 0."""
        if self.ended != "exit":
            return f"was ended: over its limit of {self.ended}"
        if self.status == 0:
            return ""
        status = self.status or 0
        how = f"was killed by signal {-status}" if status < 0 else f"exited {status}"
        message = error_line(self.stderr[-ERROR_BYTES:].decode(errors="replace"))
        return f"{how}: {message}" if message else how


def error_line(text: str) -> str:
    r"""The line of a program's error output that says what went wrong, "" where there is none.

    That is the type and message of the exception that ended it, by the last traceback. Without a
    traceback it is the first line that begins with the name of an exception, and without such a
    line the first that is not a warning.

    >>> error_line("Traceback (most recent call last):\n  File 'x'\nOSError: no\nfix: yes\n")
    'OSError: no'
    """
    lines = text.splitlines()
    tracebacks = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    for line in lines[tracebacks[-1] + 1 :] if tracebacks else ():
        if line.strip() and not line[0].isspace():
            return line.strip()
    named = [match[1] for line in lines if (match := _EXCEPTION.match(line))]
    said = [line.strip() for line in lines if line.strip()]
    plain = [line for line in said if "Warning: " not in line]
    return next(iter((*named, *plain, *said)), "")


def readable_paths(python: str) -> list[str]:
    """The folders a Python program needs to read: those of system, interpreter and libraries."""
    package_root = str(Path(__file__).resolve().parents[2])
    own = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), package_root]
    resolved = Path(os.path.realpath(python)).parent.parent
    system = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/proc"]
    system += ["/dev/urandom", "/dev/random", "/dev/zero"]
    invoked = Path(os.path.abspath(python)).parent.parent
    return sorted({*system, *own, *(str(p) for p in (resolved, invoked) if p != Path("/"))})


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    limits: Limits,
    record: tuple[int, int] | None = None,
    readable: Sequence[str] = (),
) -> Outcome:
    """Run a command in a folder; its first word is an absolute path.

    record: both ends of a pipe. The command inherits the writing end; what it writes is returned.
    readable: folders it may read besides those of `readable_paths`.
    """
    status_read, status_write = os.pipe()
    settings = {
        "folder": str(folder.resolve()),
        "readable": [*readable_paths(command[0]), *readable],
        "limits": asdict(limits),
        "network": limits.network,
        "environment": dict(environment),
        "status": status_write,
        "record": record[1] if record else None,
    }
    started = time.monotonic()
    inherited = (status_write, record[1]) if record else (status_write,)
    cage = _start(command, settings, inherited)
    for descriptor in inherited:
        os.close(descriptor)
    assert cage.stdin and cage.stdout and cage.stderr
    streams: dict[str, IO[bytes]] = {
        "stdout": cage.stdout,
        "stderr": cage.stderr,
        "status": open(status_read, "rb", 0),
    }
    if record:
        streams["record"] = open(record[0], "rb", 0)
    caps = {
        "stdout": limits.output,
        "stderr": limits.output,
        "record": limits.record,
        "status": 1 << 16,
    }
    received, over = _collect(cage, streams, caps, started + limits.seconds)
    for stream in streams.values():
        stream.close()
    return _outcome(received, over, time.monotonic() - started)


def _start(
    command: Sequence[str], settings: Mapping[str, object], inherited: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    """The cage, with these descriptors open in it besides the standard three."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(CAGE), json.dumps(settings), "--", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=inherited,
        env=cast("dict[str, str]", settings["environment"]),
        start_new_session=True,
    )


def _outcome(received: Mapping[str, bytearray], over: str, seconds: float) -> Outcome:
    report: dict[str, Any] = {"status": None, "guards": [], "cpu": 0.0, "memory": 0}
    report |= {"over": "", "survivors": 0}
    for line in received["status"].splitlines():
        report.update(json.loads(line))
    ended = over or (report["over"] if report["over"] not in ("", "stopped") else "exit")
    return Outcome(
        stdout=bytes(received["stdout"]),
        stderr=bytes(received["stderr"]),
        record=bytes(received.get("record", b"")),
        status=report["status"] if ended == "exit" else None,
        ended=ended,
        seconds=seconds,
        cpu=report["cpu"],
        memory=report["memory"],
        survivors=report["survivors"],
        guards=tuple(sorted(report["guards"])),
    )


def _collect(
    cage: subprocess.Popen[bytes],
    streams: Mapping[str, IO[bytes]],
    caps: Mapping[str, int],
    deadline: float,
) -> tuple[dict[str, bytearray], str]:
    """Read all streams to their ends, or until one is over its cap or the time is over.

    What was received, and the limit that was passed, if any. The cage has ended afterwards.
    """
    received = {name: bytearray() for name in streams}
    over, stop_at = "", deadline
    with selectors.DefaultSelector() as selector:
        for name, stream in streams.items():
            selector.register(stream, selectors.EVENT_READ, name)
        while selector.get_map():
            left = stop_at - time.monotonic()
            if left <= 0 and over:
                break
            if left <= 0:
                over = "time"
            for key, _ in selector.select(max(0.0, min(left, 1.0))):
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif over and key.data != "status":
                    continue  # read on, so that no process waits for a full pipe
                elif len(received[key.data]) + len(chunk) > caps[key.data]:
                    over = key.data if key.data == "record" else "output"
                else:
                    received[key.data] += chunk
            if over and cage.stdin and not cage.stdin.closed:
                cage.stdin.close()
                stop_at = time.monotonic() + GRACE_SECONDS
    if over and cage.poll() is None:
        cage.kill()  # which kills its child too: PR_SET_PDEATHSIG in cage.py
    if cage.stdin and not cage.stdin.closed:
        cage.stdin.close()
    cage.wait()
    return received, over
