"""Run a command within limits of time, memory, output, processes, files and network (promises R29).

The parent's side of cage.py: it starts the cage, reads what the command writes, enforces the deadline and the
size of the output, and gets an `Outcome` whatever the command does. It never raises for what a command does.
It says which guards the system granted; it does not pretend to the others.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

CAGE = Path(__file__).with_name("cage.py")
EVERY_GUARD = ("files", "network", "processes")
GRACE_SECONDS = 0.9  # for killing what is left; the whole ends within the limit plus a second


@dataclass(frozen=True)
class Limits:
    """What one run of a command may use."""

    seconds: float = 3600.0  # of wall time
    memory: int = 4 << 30  # bytes, all its processes together, and of address space each
    output: int = 64 << 20  # bytes of stdout and of stderr each
    files: int = 64 << 20  # bytes in its folder
    record: int = 2 << 30  # bytes of recorded state
    processes: int = 64
    network: bool = False


@dataclass
class Outcome:
    """How a run went. ended: "exit", or the limit that ended it: time, memory, output, files, processes, record."""

    stdout: bytes
    stderr: bytes
    record: bytes
    status: int | None  # exit status, or minus a signal's number; None where it was ended by us
    ended: str
    seconds: float
    cpu: float  # seconds of processor time
    memory: int  # peak resident bytes of its largest process
    survivors: int
    guards: tuple[str, ...]  # which of EVERY_GUARD were in force

    @property
    def failure(self) -> str:
        """ "" after a normal exit with status 0, else a phrase that says what happened."""
        if self.ended != "exit":
            return f"was ended: over its limit of {self.ended}"
        if self.status == 0:
            return ""
        last = self.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        how = (
            f"was killed by signal {-(self.status or 0)}"
            if (self.status or 0) < 0
            else f"exited {self.status}"
        )
        return f"{how}: {last}" if last else how


def readable_paths(python: str) -> list[str]:
    """What a Python program needs to read besides its own folder: system, interpreter, libraries."""
    package_root = str(Path(__file__).resolve().parents[2])
    own = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), package_root]
    resolved = Path(os.path.realpath(python)).parent.parent
    system = [
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
        "/etc",
        "/opt",
        "/proc",
        "/dev/urandom",
        "/dev/random",
        "/dev/zero",
    ]
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
    """Run a command (its first word an absolute path) in a folder.

    readable: folders it may read besides those of `readable_paths`.
    record: both ends of a pipe; the command inherits the writing end, and what it writes there is returned.
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
    cage = subprocess.Popen(
        [sys.executable, "-I", "-S", str(CAGE), json.dumps(settings), "--", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=inherited,
        env=dict(environment),
        start_new_session=True,
    )
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


def _outcome(received: Mapping[str, bytearray], over: str, seconds: float) -> Outcome:
    told: dict[str, Any] = {
        "status": None,
        "guards": [],
        "cpu": 0.0,
        "memory": 0,
        "over": "",
        "survivors": 0,
    }
    for line in received["status"].splitlines():
        told.update(json.loads(line))
    ended = over or (told["over"] if told["over"] not in ("", "stopped") else "exit")
    return Outcome(
        stdout=bytes(received["stdout"]),
        stderr=bytes(received["stderr"]),
        record=bytes(received.get("record", b"")),
        status=told["status"] if ended == "exit" else None,
        ended=ended,
        seconds=seconds,
        cpu=told["cpu"],
        memory=told["memory"],
        survivors=told["survivors"],
        guards=tuple(sorted(told["guards"])),
    )


def _collect(
    cage: subprocess.Popen[bytes],
    streams: Mapping[str, IO[bytes]],
    caps: Mapping[str, int],
    deadline: float,
) -> tuple[dict[str, bytearray], str]:
    """Read all streams to their ends or until a cap or the deadline; the cage is gone afterwards."""
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
                    continue  # reading on only so that nobody waits for us
                elif len(received[key.data]) + len(chunk) > caps[key.data]:
                    over = key.data if key.data == "record" else "output"
                else:
                    received[key.data] += chunk
            if over and cage.stdin and not cage.stdin.closed:
                cage.stdin.close()
                stop_at = time.monotonic() + GRACE_SECONDS
    if over and cage.poll() is None:
        cage.kill()  # its own children have its death as their signal
    if cage.stdin and not cage.stdin.closed:
        cage.stdin.close()
    cage.wait()
    return received, over
