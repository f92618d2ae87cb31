"""The lock when its file is removed meanwhile, and logs that reach the disk (promises R4, R8)."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from helpers import Watched, in_child

from microgpt import files
from microgpt.errors import BusyError, OutputError, StorageError

pytest.importorskip("fcntl", reason="this system has no file locks")


def held_by_another(path: Path) -> bool:
    """Whether a process that asks for the lock now is refused."""

    def ask() -> int:
        try:
            with files.lock(path):
                return 0
        except BusyError:
            return 75

    return in_child(ask) == 75


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last owner removes the lock file between our open and our flock."""
    path, beside = tmp_path / "model", tmp_path / ".model.lock"
    real, calls = files.fcntl.flock, []

    def late(descriptor: int, flags: int) -> None:
        if not calls:
            beside.unlink()
        calls.append(descriptor)
        real(descriptor, flags)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with files.lock(path):
        assert len(calls) == 2, "the lock of the removed file was kept"
        assert beside.read_text() == str(os.getpid())
        assert held_by_another(path)
    assert not held_by_another(path)


def test_a_lock_on_a_file_that_was_replaced_meanwhile_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before, and a third process has made a new lock file already."""
    path, beside = tmp_path / "model", tmp_path / ".model.lock"
    real, calls = files.fcntl.flock, []

    def late(descriptor: int, flags: int) -> None:
        if not calls:
            beside.unlink()
            beside.touch()
        calls.append(descriptor)
        real(descriptor, flags)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with files.lock(path):
        assert len(calls) == 2
        assert held_by_another(path)


def test_a_lock_names_its_owner_alone_whatever_a_killed_owner_left(tmp_path: Path) -> None:
    beside = tmp_path / ".model.lock"
    beside.write_text("4194304 and more that was left")
    with files.lock(tmp_path / "model"):
        assert beside.read_text() == str(os.getpid())


class Trap(Watched):
    """Puts a file in place of the temporary file after the writer has removed what was there."""

    def after(self, number: int, name: str, args: Any, result: Any) -> None:
        if name == "unlink" and not os.path.exists(args[0]):
            Path(args[0]).write_text("of others")


def test_a_file_that_appears_in_place_of_the_temporary_file_is_not_written_into(
    tmp_path: Path,
) -> None:
    path, temporary = tmp_path / "model", tmp_path / ".model.tmp"
    temporary.write_text("left by a killed run")
    system: Any = Trap()
    with pytest.raises(OutputError):
        files.write(path, b"data", system=system)
    assert temporary.read_text() == "of others"
    assert not path.exists()


class Calls(Watched):
    """Names of the calls, in order; fsync fails with `error` if it is given."""

    def __init__(self, error: int = 0) -> None:
        super().__init__()
        self.error, self.names = error, list[str]()

    def before(self, number: int, name: str) -> None:
        self.names.append(name)
        if name == "fsync" and self.error:
            raise OSError(self.error, os.strerror(self.error))


def test_a_log_is_on_disk_before_it_is_closed(tmp_path: Path) -> None:
    system: Any = Calls()
    log = files.Log(tmp_path / "log", system=system)
    log.write("line\n")
    log.close()
    assert system.names == ["open", "write", "fsync", "close"]


@pytest.mark.parametrize(("error", "kind"), [(errno.EIO, StorageError), (errno.EBADF, OutputError)])
def test_a_log_that_does_not_reach_the_disk_is_an_error_and_closed(
    tmp_path: Path, error: int, kind: type[Exception]
) -> None:
    system: Any = Calls(error)
    log = files.Log(tmp_path / "log", system=system)
    with pytest.raises(kind):
        log.close()
    assert system.names[-1] == "close"


def test_a_log_into_a_pipe_has_nothing_to_sync(tmp_path: Path) -> None:
    system: Any = Calls(errno.EINVAL)
    files.Log(tmp_path / "log", system=system).close()
    assert system.names == ["open", "fsync", "close"]


def test_a_new_log_begins_empty_and_one_that_goes_on_keeps_what_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntwo\nthree\n")
    log = files.Log(path, keep=len("one\ntwo\n"))
    log.write("four\n")
    log.close()
    assert path.read_text() == "one\ntwo\nfour\n"
    log = files.Log(path)
    log.write("five\n")
    log.close()
    assert path.read_text() == "five\n"


def test_only_files_of_ours_are_replaced_without_force(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def ours(start: bytes) -> bool:
        return start.startswith(b"ours")

    files.require_replaceable(path, ours, False)  # there is none
    path.write_text("ours, an older one")
    files.require_replaceable(path, ours, False)
    for content in ("", "of others"):
        path.write_text(content)
        files.require_replaceable(path, ours, True)
        with pytest.raises(OutputError, match="not written by microgpt"):
            files.require_replaceable(path, ours, False)
    with pytest.raises(OutputError):
        files.require_replaceable(tmp_path, ours, False)
