"""What a verb of the command line prints on: results go to stdout, remarks to stderr."""

from __future__ import annotations

import os
import sys

from .errors import StorageError, reason, visible
from .terminal import Style

TYPE_CHECKING = False  # that of typing would import typing, which takes milliseconds
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any


class Face:
    """The two streams of a command, and how much it says on them.

    quiet, verbose: whether -q or -v was given. out, err: the styles of stdout and stderr.
    """

    def __init__(self, args: Namespace) -> None:
        self.quiet, self.verbose = args.quiet, args.verbose
        self.out, self.err = Style(args.color, sys.stdout), Style(args.color, sys.stderr)

    def data(self, text: str) -> None:
        """Print a result on stdout."""
        with WritingOutput():
            print(text)

    def json(self, record: dict[str, Any]) -> None:
        """Print one JSON object on one line of stdout. A number that is not finite becomes null."""
        import json

        self.data(json.dumps(_finite(record), ensure_ascii=False, allow_nan=False))

    def say(self, text: str) -> None:
        """Print a remark on stderr, unless --quiet was given."""
        if not self.quiet:
            print(visible(text), file=sys.stderr, flush=True)

    def shown(self, text: str) -> str:
        """A document, its control characters escaped if stdout is a terminal."""
        return visible(text) if sys.stdout.isatty() else text


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    is_finite = not isinstance(value, float) or value - value == 0
    return value if is_finite else None


class WritingOutput:
    """While it writes to stdout, an OSError becomes a StorageError. A broken pipe stays one."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            discard_output()
            raise StorageError(
                f"cannot write to standard output: {reason(error)}", fix="free some space"
            ) from error


def write_page(text: str) -> None:
    """Write a page to stdout now: the caller may exit right after it."""
    with WritingOutput():
        sys.stdout.write(text)
        sys.stdout.flush()


def discard_output() -> None:
    """Drop what is left in stdout's buffer, so that the interpreter's last flush succeeds."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
