"""Reads untrusted files, and writes the files that users keep.

Reading returns a whole regular file or raises an error; a pipe or a device never blocks. Writing
leaves the old file or the new one, and never a part, even if the process is killed or power fails.
The writer's order is: lock, temporary file, fsync, replace, fsync of the folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from .errors import (
    BusyError,
    DataError,
    InputError,
    MicrogptError,
    OutputError,
    PermissionDeniedError,
    StorageError,
    quote,
    reason,
)

try:
    import fcntl
except ImportError:  # not a POSIX system: there are no locks
    fcntl = None  # type: ignore[assignment]

StrPath = str | os.PathLike[str]


class System:
    """The system calls of the writer, so that tests can count them and let each of them fail."""

    open = staticmethod(os.open)
    write = staticmethod(os.write)
    fsync = staticmethod(os.fsync)
    close = staticmethod(os.close)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)


SYSTEM = System()


def read(path: StrPath) -> bytes:
    """All bytes of a regular file. Raises InputError at once for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        _fail_to_read(path, error)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        fix = (
            "name a file"
            if stat.S_ISDIR(mode)
            else "read it through standard input, with the file name -"
        )
        raise InputError(f"expected a regular file, found {kind}", where=os.fspath(path), fix=fix)
    with os.fdopen(descriptor, "rb") as file:
        try:
            return file.read()
        except MemoryError:
            size = os.fstat(descriptor).st_size
            raise InputError(
                f"the file's {size:,} bytes do not fit into memory", where=os.fspath(path)
            ) from None
        except OSError as error:
            raise StorageError(
                f"cannot read the file: {reason(error)}", where=os.fspath(path)
            ) from error


def read_text(path: StrPath, what: str) -> str:
    """The text of a regular file in UTF-8. Raises DataError, which names `what`, for other text."""
    try:
        return read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{what} is not UTF-8 text", where=f"{quote(os.fspath(path))}, byte {error.start}"
        ) from error


def _fail_to_read(path: StrPath, error: OSError | ValueError) -> NoReturn:
    where = quote(os.fspath(path), 400)
    if isinstance(error, PermissionError):
        raise PermissionDeniedError(
            "no permission to read the file", where=where, fix="chmod +r"
        ) from error
    words = reason(error) if isinstance(error, OSError) else str(error)
    raise InputError(f"cannot open the file: {words}", where=where, fix="check the path") from error


def first_bytes(path: StrPath, count: int = 65_536) -> bytes:
    """The first bytes of a regular file; no bytes of anything else."""
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            return file.read(count) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except (OSError, ValueError):
        return b""


@contextmanager
def lock(path: StrPath) -> Iterator[None]:
    """Hold the exclusive right to write `path` while the block runs.

    The lock is on a file beside the target that contains the owner's process id. The operating
    system releases it when the process ends. Raises BusyError at once if another process holds it,
    and OutputError if `path` cannot be a regular file.
    """
    _mode(path)
    beside = _sibling(path, ".lock")
    descriptor = _acquire(beside, path)
    try:
        pid = str(os.getpid()).encode()
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, pid)
        except OSError as error:
            _fail_to_write(path, error, len(pid))
        yield
    finally:
        with suppress(OSError):
            os.unlink(beside)
        os.close(descriptor)


def _acquire(beside: str, path: StrPath) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    while True:
        try:
            descriptor = os.open(beside, flags, 0o666)
        except OSError as error:
            _fail_to_write(path, error, 0)
        if fcntl is None:
            return descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):  # a file system without locks
                os.close(descriptor)
                _fail_to_write(path, error, 0)
            owner = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise BusyError(
                f"another process (pid {owner}) is writing this file",
                where=os.fspath(path),
                fix="wait for it, or choose another path with -o",
            ) from error
        # If the last owner removed the file between our open and our lock, lock the new one.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(beside), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def write(path: StrPath, data: bytes, *, system: System = SYSTEM) -> None:
    """Replace the file at `path` by one with these bytes, or leave it unchanged.

    The caller must hold `lock(path)`. A failed fsync is not repeated; the temporary file is
    removed.
    """
    mode = _mode(path)
    target, temporary = os.path.realpath(path), _sibling(path, ".tmp")
    exists = False  # the temporary file
    try:
        # One may be left by a run that was killed, or be a trap: it is never opened or followed.
        with suppress(FileNotFoundError):
            system.unlink(temporary)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        descriptor = system.open(temporary, flags, mode)
        exists = True
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[system.write(descriptor, rest) :]
            system.fsync(descriptor)
        finally:
            system.close(descriptor)
        system.replace(temporary, target)
        exists = False
        _sync_folder(os.path.dirname(target), system)
    except OSError as error:
        _fail_to_write(path, error, len(data))
    finally:
        if exists:
            with suppress(OSError):
                system.unlink(temporary)


def save(path: StrPath, data: bytes) -> None:
    """Lock the path and `write`."""
    with lock(path):
        write(path, data)


def _create(folder: str) -> str:
    import shlex  # only this error needs it

    return f"create it: mkdir -p {shlex.quote(folder)}"


def require_replaceable(path: StrPath, is_ours: Callable[[bytes], bool], force: bool) -> None:
    """Raise OutputError if `path` is a file that this program did not write, unless forced.

    is_ours: decides from the first 64 KiB of the file.
    """
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise OutputError("the folder does not exist", where=folder, fix=_create(folder))
    if force or not os.path.lexists(path) or (os.path.isfile(path) and is_ours(first_bytes(path))):
        return
    raise OutputError(
        "the file exists and was not written by microgpt in this form",
        where=os.fspath(path),
        fix="choose another path, or overwrite it with --force",
    )


class Log:
    """A text file that is written line by line and can be read meanwhile; `close` syncs it to disk.

    keep: number of bytes of an existing file to keep; new lines follow them.
    """

    def __init__(self, path: StrPath, keep: int = 0, *, system: System = SYSTEM) -> None:
        _require_path(path)
        self._path, self._system = path, system
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if keep else os.O_TRUNC)
        try:
            if keep:
                os.truncate(path, keep)
            self._descriptor = system.open(os.fspath(path), flags, 0o666)
        except OSError as error:
            _fail_to_write(path, error, 0)

    def write(self, text: str) -> None:
        """Append text, which must end with a line break."""
        rest = memoryview(text.encode())
        try:
            while rest:
                rest = rest[self._system.write(self._descriptor, rest) :]
        except OSError as error:
            _fail_to_write(self._path, error, len(rest))

    def close(self) -> None:
        """Sync to disk and close."""
        try:
            self._system.fsync(self._descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a device or a pipe cannot be synced
                _fail_to_write(self._path, error, 0)
        finally:
            self._system.close(self._descriptor)


def _sync_folder(folder: str, system: System) -> None:
    descriptor = system.open(folder, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
    try:
        system.fsync(descriptor)
    finally:
        system.close(descriptor)


def _require_path(path: StrPath) -> None:
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise OutputError(
            "this is not a valid path of a file",
            where=quote(os.fspath(path)),
            fix="choose another path",
        )


def _mode(path: StrPath) -> int:
    """Permissions of the new file at `path`: not wider than those of the file it replaces."""
    _require_path(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return 0o666
    except OSError as error:
        _fail_to_write(path, error, 0)
    if not stat.S_ISREG(mode):
        raise OutputError(
            "the output is not a regular file", where=os.fspath(path), fix="choose another path"
        )
    return stat.S_IMODE(mode) & 0o666


def _sibling(path: StrPath, suffix: str) -> str:
    """A hidden file beside the target. Symbolic links to the target are followed."""
    folder, name = os.path.split(os.path.realpath(path))
    return os.path.join(folder, f".{name}{suffix}")


def _fail_to_write(path: StrPath, error: OSError, size: int) -> NoReturn:
    where = quote(os.fspath(path), 400)
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        raise PermissionDeniedError(
            f"no permission to write here: {reason(error)}",
            where=where,
            fix="choose another folder with -o",
        ) from error
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    kind: type[MicrogptError] = StorageError if full or error.errno == errno.EIO else OutputError
    words = f"cannot write the file: {reason(error)}"
    if full:
        words += f"; it needs {size:,} bytes, and {_free_bytes(path):,} are free"
    fix = "make room, or choose another folder with -o" if full else "choose another path with -o"
    raise kind(words, where=where, fix=fix) from error


def _free_bytes(path: StrPath) -> int:
    try:
        system = os.statvfs(os.path.dirname(os.path.realpath(path)))
    except OSError:
        return 0
    return system.f_bavail * system.f_frsize
