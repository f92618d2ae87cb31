"""Promise R29: whatever the program does, `verify` answers in time, and nothing of it survives."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import skip_or_fail
from zoo.base import DATA, small_reference

from microgpt.verify.cases import cases_for
from microgpt.verify.programs import Program
from microgpt.verify.sandbox import Limits
from microgpt.verify.verdict import render
from microgpt.verify.verifier import Verifier

LIMITS = Limits(seconds=3.0, memory=1 << 30, output=8 << 20, files=16 << 20, processes=32)
CASES = cases_for([("twelve names", DATA)])

HOSTILE = {
    "endless loop": ("while True:\n    pass\n", "time"),
    "a list of 20 GB": ("x = [0.0] * (20 << 27)\n", "MemoryError"),
    "memory in many processes": (
        "import os, time\nfor _ in range(3):\n    os.fork()\n"
        "x = bytearray(300 << 20)\ntime.sleep(60)\n",
        "memory",
    ),
    "fork bomb": ("import os\nwhile True:\n    os.fork()\n", "processes"),
    "children in sessions of their own": (
        "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        if os.fork():\n            os._exit(0)\n        time.sleep(600)\n"
        "        os._exit(0)\ntime.sleep(600)\n",
        "time",
    ),
    "daemon left behind": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n"
        "print('done')\n",
        "not the same",
    ),
    "deaf to every signal": (
        "import signal, time\n"
        "for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN)\nwhile True:\n    time.sleep(1)\n",
        "time",
    ),
    "a gigabyte to stdout": ("for _ in range(1 << 14):\n    print('x' * (1 << 16))\n", "output"),
    "a gigabyte to stderr": (
        "import sys\nfor _ in range(1 << 14):\n    print('x' * (1 << 16), file=sys.stderr)\n",
        "output",
    ),
    "fills the disk": (
        "for i in range(10 ** 6):\n    open(f'file{i}', 'wb').write(b'x' * (1 << 20))\n",
        "files",
    ),
    "writes one file without end": (
        "f = open('file', 'wb')\nwhile True:\n    f.write(b'x' * (1 << 20))\n",
        "",
    ),
    "deletes its folder and the one above": (
        "import os, shutil\nshutil.rmtree(os.getcwd(), True)\nshutil.rmtree('..', True)\n"
        "print('done')\n",
        "",
    ),
    "kills its parents": (
        "import os, signal, time\nfor number in (os.getppid(), 1):\n"
        "    try:\n        os.kill(number, signal.SIGKILL)\n"
        "    except OSError:\n        pass\nos.kill(0, signal.SIGKILL)\n",
        "signal 9",
    ),
    "crashes": ("import ctypes\nctypes.string_at(0)\n", "signal 11"),
    "closes every descriptor": ("import os\nos.closerange(0, 256)\n", ""),
    "garbage in the record": (
        "import os, time\nfor fd in range(3, 256):\n    try:\n"
        "        os.write(fd, b'\\xff' * 4096)\n    except OSError:\n        pass\n",
        "",
    ),
}


# One for each way to end: by an exception, by each limit, by a signal, with a broken record.
QUICK = {
    "a list of 20 GB",
    "fork bomb",
    "deaf to every signal",
    "daemon left behind",
    "a gigabyte to stdout",
    "writes one file without end",
    "kills its parents",
    "garbage in the record",
}
assert set(HOSTILE) >= QUICK


def survivors(marker: str) -> list[int]:
    """Processes whose environment holds the marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    verifier = Verifier(Program("the small reference", small_reference()))
    verifier.verify(
        Program("itself", small_reference()), CASES
    )  # so that the times below are the variant's alone
    return verifier


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.proof) for n in HOSTILE],
)
def test_a_hostile_program_ends_with_an_answer_in_time_and_leaves_nothing(
    verifier: Verifier, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, says = HOSTILE[name]
    marker = f"verify-marker-{os.getpid()}-{abs(hash(name))}"
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/{marker}")
    started = time.monotonic()
    verdict = verifier.verify(Program(name, source, limits=LIMITS), CASES)
    took = time.monotonic() - started
    assert verdict.answer != "same"
    limits = ("time", "memory", "processes", "output", "files")
    expected = [f"over its limit of {says}" if says in limits else says]
    if says == "memory":  # on a busy machine the time is over before the memory is full
        expected.append("over its limit of time")
    assert any(words in render(verdict) for words in expected)
    assert (
        took <= LIMITS.seconds + 1.0 + 0.5
    )  # half a second more: two runs beside other tests on two cores
    assert survivors(marker) == []


def test_a_program_cannot_reach_the_network(verifier: Verifier) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    address = ("127.0.0.1", listening.getsockname()[1])
    source = f"import socket\nsocket.create_connection({address}, 2)\nprint('in')\n"
    verdict = verifier.verify(Program("opens a socket", source, limits=LIMITS), CASES)
    if "network" in verdict.missing_guards:
        skip_or_fail("sandbox", "this system grants no network namespace")
    listening.settimeout(0.1)
    with pytest.raises(TimeoutError):
        listening.accept()
    assert verdict.answer == "failed"


def test_a_program_cannot_read_or_write_the_users_files(verifier: Verifier, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    source = f"""
secret, new = {str(secret)!r}, {str(tmp_path / "new")!r}
for path, mode in ((secret, "r"), (secret, "a"), (new, "w")):
    try:
        open(path, mode).read()
        print('could', mode)
    except PermissionError:
        print('no')
raise SystemExit(9)
"""
    verdict = verifier.verify(Program("looks around", source, limits=LIMITS), CASES)
    if "files" in verdict.missing_guards:
        pytest.skip("this kernel has no Landlock")
    assert secret.read_text() == "secret"
    assert not (tmp_path / "new").exists()


def test_a_program_cannot_find_the_output_it_should_give(verifier: Verifier) -> None:
    """It searches the memory, arguments and open files of its parents, and every folder."""
    source = """
import glob, os
found = []
for name in ('environ', 'cmdline', 'fd/*'):
    for path in glob.glob('/proc/[0-9]*/' + name):
        try:
            if os.path.isfile(path) and b'hallucinated' in open(path, 'rb').read(1 << 20):
                found.append(path)
        except OSError:
            pass
for folder in ('/tmp', '..', '.', '/dev/shm'):
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            try:
                if name != 'program.py' and b'hallucinated' in open(path, 'rb').read(1 << 20):
                    found.append(path)
            except OSError:
                pass
raise SystemExit(f'found {found}')
"""
    verdict = verifier.verify(Program("reads the expected output", source, limits=LIMITS), CASES)
    assert "found []" in render(verdict)


def test_a_program_that_learnt_the_output_by_heart_fails_at_a_fresh_data_set(
    verifier: Verifier,
) -> None:
    cases = cases_for([("twelve names", DATA)], fresh=1)
    memory = subprocess.run(
        [sys.executable, "-c", small_reference(), "/dev/stdin"],
        input=DATA,
        capture_output=True,
        check=True,
    ).stdout
    source = f"import sys\nsys.stdout.write({memory.decode()!r})\n"
    printed = Verifier(verifier.original, "printed")
    assert printed.verify(Program("by heart", source, limits=LIMITS), cases[:1]).answer == "same"
    verdict = printed.verify(Program("by heart", source, limits=LIMITS), cases)
    assert verdict.answer == "different"
    assert "--fresh-seed" in verdict.cases[1].case


def test_an_interrupted_verify_takes_its_programs_with_it(tmp_path: Path) -> None:
    marker = f"verify-marker-killed-{os.getpid()}"
    (tmp_path / "loop.py").write_text("while True:\n    pass\n")
    code = (
        "from microgpt.verify.cases import Settings\n"
        "from microgpt.verify.programs import python_program\n"
        "python_program('loop.py').run(Settings(b''), 0, None)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/{marker}"},
    )
    deadline = time.monotonic() + 20
    while len(survivors(marker)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(survivors(marker)) >= 4  # the caller, the cage, its first process, the program
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 2
    while survivors(marker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert survivors(marker) == []
