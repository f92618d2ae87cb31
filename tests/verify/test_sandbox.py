"""One command in the cage: each limit and each guard by itself (promise R29)."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from microgpt.verify.sandbox import Limits, Outcome, run

LIMITS = Limits(seconds=20, memory=512 << 20, output=100_000, files=4 << 20, processes=8)


def python(folder: Path, source: str, limits: Limits = LIMITS) -> Outcome:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return run([sys.executable, "-c", source], folder, environment, limits)


def needs(outcome: Outcome, guard: str) -> None:
    if guard not in outcome.guards:
        pytest.skip(f"this system grants no guard for {guard}")


def test_what_a_command_writes_and_how_it_ends_is_kept(tmp_path: Path) -> None:
    source = "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(3)"
    outcome = python(tmp_path, source)
    assert (outcome.stdout, outcome.stderr) == (b"out\n", b"err\n")
    assert (outcome.status, outcome.ended, outcome.failure) == (3, "exit", "exited 3: err")
    assert outcome.survivors == 0 and outcome.cpu > 0 and outcome.memory > 1 << 20


def test_a_signal_is_no_normal_end(tmp_path: Path) -> None:
    outcome = python(tmp_path, "import os\nos.kill(os.getpid(), 15)")
    assert (outcome.status, outcome.failure) == (-15, "was killed by signal 15")


def test_output_up_to_the_limit_is_kept_and_a_byte_more_ends_the_run(tmp_path: Path) -> None:
    source = "import sys, time\nsys.stdout.write('x' * {})\nsys.stdout.flush()\ntime.sleep({})"
    allowed = python(tmp_path, source.format(100_000, 0))
    assert (allowed.failure, len(allowed.stdout)) == ("", 100_000)
    outcome = python(tmp_path, source.format(100_001, 60))
    assert (outcome.ended, outcome.status) == ("output", None)
    assert len(outcome.stdout) <= 100_000 and outcome.seconds < 15


def test_time_is_limited_and_the_run_ends_within_a_second_of_it(tmp_path: Path) -> None:
    outcome = python(tmp_path, "import time\ntime.sleep(60)", replace(LIMITS, seconds=1.0))
    assert (outcome.ended, outcome.status) == ("time", None)
    assert 1.0 <= outcome.seconds < 2.5


def test_one_process_cannot_take_more_memory_than_allowed(tmp_path: Path) -> None:
    outcome = python(tmp_path, "x = bytearray(600 << 20)")
    assert outcome.failure == "exited 1: MemoryError"


def test_memory_is_counted_over_all_processes(tmp_path: Path) -> None:
    source = "import os, time\nos.fork()\nx = bytearray(b'x') * (300 << 20)\ntime.sleep(60)"
    assert python(tmp_path, source).ended == "memory"


def test_processes_are_counted(tmp_path: Path) -> None:
    source = "import os, time\nfor _ in range(20):\n    os.fork() or time.sleep(60)"
    assert python(tmp_path, source + "\ntime.sleep(60)").ended == "processes"


def test_one_file_and_the_whole_folder_are_limited(tmp_path: Path) -> None:
    outcome = python(tmp_path, "open('a', 'wb').write(bytes(5 << 20))")
    assert outcome.status != 0  # a signal, or an error of the write
    source = "import time\nfor i in range(6):\n    open(f'f{i}', 'wb').write(b'x' * (1 << 20))\n"
    assert python(tmp_path, source + "time.sleep(60)").ended == "files"


def test_only_the_own_folder_and_the_system_are_visible(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "work"
    folder.mkdir()
    source = "open('own', 'w').write('x')\nopen('../secret').read()"
    outcome = python(folder, source)
    needs(outcome, "files")
    assert "PermissionError" in outcome.failure
    assert (folder / "own").read_text() == "x"


def test_other_processes_and_the_network_are_out_of_sight(tmp_path: Path) -> None:
    source = "import os\nprint(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))\n"
    outcome = python(tmp_path, source + "print(os.listdir('/sys/class/net'))")
    needs(outcome, "processes")
    assert "network" in outcome.guards  # a system that grants the one grants the other
    pids = outcome.stdout.splitlines()[0]
    assert pids.startswith(b"[1, ") and pids.count(b",") == 1  # the first process and the command
    again = python(tmp_path, "import socket\nprint(len(socket.if_nameindex()))")
    assert again.stdout == b"1\n"  # the loopback of its own


def test_the_network_is_there_where_it_is_allowed(tmp_path: Path) -> None:
    outcome = python(tmp_path, "pass", replace(LIMITS, network=True))
    assert "network" not in outcome.guards and outcome.failure == ""
