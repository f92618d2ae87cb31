"""Every error a user can meet: what is wrong, where, and how to mend it, with its exit code."""

from __future__ import annotations

import os


def visible(text: str) -> str:
    """Text with what a terminal might obey made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(text: object, limit: int = 80) -> str:
    """Untrusted text, fit for a terminal: quoted, control characters escaped, cut to `limit`."""
    shown = visible(str(text))
    return f"'{shown}'" if len(shown) <= limit else f"'{shown[: limit - 3]}...'"


class MicrogptError(Exception):
    """Root of the package's errors.

    what: one plain sentence, expected against found; where: path, line, byte, option or tensor;
    fix: a command or a change that works.
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
    """Work that has no part to give was stopped, as its caller wished: no user meets it."""


class ConfigError(MicrogptError, ValueError):
    """A hyper-parameter or option out of its range, or two that do not go together."""

    exit_code = 2


class DivergedError(MicrogptError, ArithmeticError):
    """Training met a loss or a gradient that is not finite."""

    exit_code = 3


class DataError(MicrogptError, ValueError):
    """The text is not what it should be: encoding, alphabet, no documents."""

    exit_code = 65


class CheckpointError(MicrogptError, ValueError):
    """The file is not a model of ours, or it was damaged."""

    exit_code = 65


class InputError(MicrogptError, OSError):
    """An input is missing or not a regular file."""

    exit_code = 66


class MissingPartError(MicrogptError, ImportError):
    """An optional part of the package is not installed."""

    exit_code = 69


class OutputError(MicrogptError, OSError):
    """The output cannot be created, or must not be overwritten."""

    exit_code = 73


class StorageError(MicrogptError, OSError):
    """Reading or writing failed midway: I/O error, full disk."""

    exit_code = 74


class BusyError(MicrogptError, OSError):
    """Somebody else holds the file or the port."""

    exit_code = 75


class PermissionDeniedError(MicrogptError, PermissionError):
    """The system does not let this user read or write there."""

    exit_code = 77


class NotFittedError(MicrogptError, ValueError, AttributeError):
    """A model was asked for something that only a trained one has."""

    exit_code = 2


def reason(error: OSError) -> str:
    """The system's own words for an OSError, without its path and number."""
    return os.strerror(error.errno) if error.errno else str(error)
