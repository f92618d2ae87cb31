"""Reading and writing files (promises R2, R4, R8): old or new, never torn, nothing left behind.

Every system call of a save is failed and killed in turn. Power loss: see test_power_loss.py.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import sizes
from helpers import NAMES, NEW, OLD, TINY_FLAGS, Watched, in_child, start

from microgpt import cli, files
from microgpt.errors import (
    BusyError,
    InputError,
    MicrogptError,
    OutputError,
    PermissionDeniedError,
    StorageError,
)


class Failing(Watched):
    """The call of this number fails, and, if `forever`, all later ones of its name."""

    def __init__(self, at, error, forever):
        super().__init__()
        self.at, self.error, self.forever, self.failed = at, error, forever, ""

    def before(self, number, name):
        if number == self.at or (self.forever and name == self.failed):
            self.failed = name
            raise OSError(self.error, os.strerror(self.error))


class Killing(Watched):
    """The process dies right before the call with this number."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def before(self, number, name):
        if number == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def calls_of_a_save(folder: Path) -> int:
    system = Watched()
    files.write(folder / "counted", NEW, system=system)
    return system.count


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file with the old content, alone in its folder."""
    folder = tmp_path / "kept"
    folder.mkdir()
    path = folder / "model"
    path.write_bytes(OLD)
    return path


# ---- R2: an error or a kill at every call
# ---------------------------------------------------------


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EINTR, errno.EACCES])
def test_an_error_at_any_call_leaves_old_or_new_and_nothing_else(target, tmp_path, error, forever):
    for at in range(calls_of_a_save(tmp_path)):
        target.write_bytes(OLD)
        system = Failing(at, error, forever)
        raised = None
        try:
            files.write(target, NEW, system=system)
        except MicrogptError as found:
            raised = found
        content = target.read_bytes()
        assert content in (OLD, NEW), f"torn at call {at}"
        assert system.failed, f"call {at} was never made"
        assert raised is not None, f"the error at call {at} was swallowed"
        assert str(target) in str(raised)
        assert [p.name for p in target.parent.iterdir()] == ["model"], f"left behind at call {at}"


def test_a_kill_at_any_call_leaves_old_or_new_and_the_next_save_cleans_up(target, tmp_path):
    def save(at: int) -> int:
        with files.lock(target):
            files.write(target, NEW, system=Killing(at))
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    contents = []
    for at in range(calls_of_a_save(tmp_path) + 1):
        target.write_bytes(OLD)
        assert in_child(lambda at=at: save(at)) == -signal.SIGKILL
        contents.append(target.read_bytes())
        files.save(target, b"next")
        assert target.read_bytes() == b"next"
        assert [p.name for p in target.parent.iterdir()] == ["model"], f"left behind at call {at}"
    assert set(contents) == {OLD, NEW}
    assert contents == sorted(contents, key=lambda content: content == NEW), "new, then old again"


# ---- R4: no room, no permission
# -------------------------------------------------------------------


def test_a_full_disk_keeps_the_old_file_and_says_what_is_missing(tmp_path):
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        path = disk / "model"
        files.save(path, OLD)
        with pytest.raises(StorageError) as raised:
            files.save(path, bytes(100_000))
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        assert raised.value.exit_code == 74
        for part in (str(path), "100,000 bytes", "No space left", "are free", "make room"):
            assert part in str(raised.value)
        assert path.read_bytes() == OLD
        assert [p.name for p in disk.iterdir()] == ["model"]
        (disk / "filler").write_bytes(bytes(free))
        with pytest.raises(StorageError), files.lock(path):
            pytest.fail("there was no room to note who holds the lock")
        assert sorted(p.name for p in disk.iterdir()) == ["filler", "model"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_size_limit_keeps_the_old_file(target):
    def limited() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            files.save(target, NEW)
        except StorageError as error:
            return 0 if "6,127 bytes" in str(error) else 1
        return 2

    assert in_child(limited) == 0
    assert target.read_bytes() == OLD
    assert [p.name for p in target.parent.iterdir()] == ["model"]


def test_a_log_on_a_full_device_is_a_storage_error():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    log = files.Log("/dev/full")
    with pytest.raises(StorageError, match="No space left"):
        log.write("line\n")
    log.close()


def test_a_read_only_folder_is_a_permission_error(target):
    target.parent.chmod(0o555)

    def as_nobody() -> int:
        if os.getuid() == 0:
            os.setresuid(65534, 65534, 65534)
        try:
            files.save(target, NEW)
        except PermissionDeniedError as error:
            return error.exit_code
        return 0

    # A folder of root's own, which the user in the child can enter: pytest's is closed to it.
    for parent in list(target.parents)[1:4]:
        parent.chmod(parent.stat().st_mode | 0o055)
    try:
        assert in_child(as_nobody) == 77
    finally:
        target.parent.chmod(0o755)
    assert target.read_bytes() == OLD


# ---- what may stand where a file is to be
# ---------------------------------------------------------


def test_links_are_followed_and_a_private_file_stays_private(target):
    link = target.with_name("link")
    link.symlink_to(target)
    target.chmod(0o600)
    files.save(link, NEW)
    assert link.is_symlink()
    assert target.read_bytes() == NEW
    assert target.stat().st_mode & 0o777 == 0o600


def test_traps_under_the_temporary_name_are_neither_opened_nor_followed(target):
    temporary, victim = target.with_name(".model.tmp"), target.with_name("victim")
    victim.write_bytes(OLD)
    for trap in (
        lambda: temporary.symlink_to(victim),
        lambda: temporary.hardlink_to(victim),
        lambda: os.mkfifo(temporary),
    ):
        trap()
        files.save(target, NEW)
        assert target.read_bytes() == NEW
        assert victim.read_bytes() == OLD
        assert not temporary.exists()


@pytest.mark.parametrize(
    "where", ["folder", "fifo", "loop", "missing/file", "", "nul\0byte", "/", "/dev/null"]
)
def test_what_cannot_be_a_file_is_refused_before_anything_is_made(tmp_path, where):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    path = os.path.join(tmp_path, where) if where else ""
    with pytest.raises(OutputError) as raised:
        files.save(path, NEW)
    assert raised.value.exit_code == 73
    assert sorted(tmp_path.iterdir()) == before


def test_special_files_are_refused_for_reading_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero", tmp_path / "none", "nul\0byte"):
        with pytest.raises(InputError) as raised:
            files.read(path)
        assert raised.value.exit_code == 66
    assert files.first_bytes(tmp_path / "fifo") == b""


def test_a_file_larger_than_memory_is_an_input_error(tmp_path):
    huge = tmp_path / "huge"
    huge.touch()
    try:
        os.truncate(huge, 1 << 43)
    except OSError as error:
        pytest.skip(f"no sparse files of 8 TiB here: {error}")
    with pytest.raises(InputError, match="8,796,093,022,208 bytes do not fit"):
        files.read(huge)


# ---- R8: locks, readers
# ---------------------------------------------------------------------------


def test_the_second_trainer_exits_75_naming_the_first_and_a_killed_one_holds_nothing(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("\n".join(NAMES))
    arguments = ["train", "list.txt", *TINY_FLAGS, "-q", "--steps"]
    first = start(*arguments, 1_000_000, folder=tmp_path)
    try:
        lock, deadline = Path(".list.safetensors.lock"), time.monotonic() + 20
        while not (lock.exists() and lock.read_text()):
            assert first.poll() is None, first.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        began = time.monotonic()
        assert cli.main([*arguments, "2"]) == 75
        assert time.monotonic() - began < 1.0
        assert f"pid {first.pid}" in capsys.readouterr().err
    finally:
        first.kill()
        first.communicate()
    assert cli.main([*arguments, "2"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["list.safetensors", "list.txt"]


def test_a_lock_excludes_this_process_too_and_names_the_path(target):
    with (
        files.lock(target),
        pytest.raises(BusyError, match=f"pid {os.getpid()}") as raised,
        files.lock(target),
    ):
        pytest.fail("locked twice")
    assert raised.value.where == str(target)
    with files.lock(target):
        assert target.with_name(".model.lock").read_text() == str(os.getpid())


@pytest.mark.parametrize("loads", sizes(100, 1_000, 10_000))
def test_readers_beside_a_writer_never_see_a_torn_file(target, loads):
    versions = [bytes([byte]) * 200_000 for byte in (1, 2)]
    files.save(target, versions[0])
    writer = os.fork()
    if writer == 0:
        while True:
            for version in versions:
                files.save(target, version)
    try:
        seen = {files.read(target) for _ in range(loads)}
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    assert seen <= set(versions)
