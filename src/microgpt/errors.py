"""The errors a user can see. Each says what is wrong, where, and how to fix it."""

from __future__ import annotations

import os


def visible(text: str) -> str:
    """The text, with characters that a terminal might interpret replaced by escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """A number and what it counts.

    >>> counted(1, "string"), counted(2018, "string")
    ('1 string', '2,018 strings')
    """
    return f"{number:,} {noun}" + "s" * (number != 1)


def plain(number: float) -> str:
    """A number without an exponent, unless it is too large to read.

    >>> plain(1e-06), plain(1000000.0), plain(0.5), plain(1e300)
    ('0.000001', '1,000,000', '0.5', '1e+300')
    """
    if abs(number) >= 1e21:
        return f"{number:g}"
    if number == int(number):
        return f"{int(number):,}"
    return f"{number:.17f}".rstrip("0") if abs(number) < 1e-4 else repr(number)


def quote(text: object, limit: int = 80) -> str:
    """Untrusted text for an error message: quoted, escaped, and cut to `limit` characters."""
    shown = visible(str(text))
    return f"'{shown}'" if len(shown) <= limit else f"'{shown[: limit - 3]}...'"


class MicrogptError(Exception):
    """Base class of the package's errors.

    what: one sentence. where: a path, line, byte, option or tensor. fix: a command or a change
    that solves the problem. exit_code: of the command.
    """

    exit_code = 70

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        parts = [visible(self.what)]
        if self.where:
            parts.append(f"  where: {visible(self.where)}")
        if self.fix:
            parts.append(f"  fix: {visible(self.fix)}")
        return "\n".join(parts)


class StoppedError(Exception):
    """Work was stopped by its own `stop` function and has no partial result. Users never see it."""


class ConfigError(MicrogptError, ValueError):
    """A hyper-parameter or option is out of its range, or two of them contradict each other."""

    exit_code = 2


class DivergedError(MicrogptError, ArithmeticError):
    """A loss or a gradient is not finite."""

    exit_code = 3


class DataError(MicrogptError, ValueError):
    """The text is wrong: its encoding, a character outside the alphabet, or no documents."""

    exit_code = 65


class CheckpointError(MicrogptError, ValueError):
    """The file is not a model file, or it was damaged."""

    exit_code = 65


class InputError(MicrogptError, OSError):
    """An input file is missing, or it is not a regular file."""

    exit_code = 66


class MissingPartError(MicrogptError, ImportError):
    """An optional part of the package is not installed."""

    exit_code = 69


class OutputError(MicrogptError, OSError):
    """The output file cannot be created, or must not be overwritten."""

    exit_code = 73


class StorageError(MicrogptError, OSError):
    """Reading or writing failed: an I/O error, or a full disk."""

    exit_code = 74


class BusyError(MicrogptError, OSError):
    """Another process uses the file or the port."""

    exit_code = 75


class PermissionDeniedError(MicrogptError, PermissionError):
    """The operating system does not allow this user to read or write there."""

    exit_code = 77


class NotFittedError(MicrogptError, ValueError, AttributeError):
    """The model is not trained yet."""

    exit_code = 2


def reason(error: OSError) -> str:
    """The operating system's message of an OSError, without path and number."""
    return os.strerror(error.errno) if error.errno else str(error)
