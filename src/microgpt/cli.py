"""The command: its streams, its errors, its exit codes. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from io import TextIOWrapper

from .errors import MicrogptError, StorageError, reason, visible
from .options import build_parser
from .terminal import Style

# verb -> module in commands/ and function in it, imported only when it is called
VERBS = {
    "train": "train.train",
    "sample": "strings.sample",
    "score": "strings.score",
    "eval": "evaluate.evaluate",
    "info": "inspect.info",
    "explain": "inspect.explain",
    "bench": "bench.bench",
    "export": "export.export",
    "serve": "serve.serve",
    "completion": "inspect.completion",
    "verify": "verify.verify",
    "journey": "journey.journey",
}


class Face:
    """The two streams, and how much to say on them."""

    def __init__(self, args: Namespace) -> None:
        self.quiet, self.verbose = args.quiet, args.verbose
        self.out, self.err = Style(args.color, sys.stdout), Style(args.color, sys.stderr)

    def data(self, text: str) -> None:
        """A result, on stdout."""
        with _output():
            print(text)

    def say(self, text: str) -> None:
        """A remark, on stderr."""
        if not self.quiet:
            print(visible(text), file=sys.stderr, flush=True)

    def shown(self, text: str) -> str:
        """A string from a list or a model, safe on a terminal, as it is elsewhere."""
        return visible(text) if sys.stdout.isatty() else text


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see docs/reliability.md)."""
    _prepare_streams()
    warnings.showwarning = lambda message, *_: print(f"microgpt: {message}", file=sys.stderr)
    try:
        args = build_parser().parse_args(argv)
        module, function = VERBS[args.verb].split(".")
        code: int = getattr(import_module(f".commands.{module}", __package__), function)(
            args, Face(args)
        )
        with _output():
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_output()
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        return _report(error)


class _Remarks(TextIOWrapper):
    """stderr: what cannot be written there is lost, and nothing else."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _prepare_streams() -> None:
    """UTF-8 whatever the locale; a stream that was closed swallows what is written to it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - stays open as the stream
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if type(sys.stderr) is TextIOWrapper:  # the interpreter's own, not one that a caller put there
        sys.stderr = _Remarks(sys.stderr.detach(), "utf-8", "backslashreplace", line_buffering=True)


@contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise StorageError(
            f"cannot write to standard output: {reason(error)}", fix="make room"
        ) from error


def _discard_output() -> None:
    """Nobody takes what is left in the buffer of stdout: let the interpreter's own last flush succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    """Print an error in three parts, without a traceback unless MICROGPT_DEBUG is set."""
    if os.environ.get("MICROGPT_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    if isinstance(error, MicrogptError):
        print(f"microgpt: error: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, MemoryError):
        print(
            "microgpt: error: there is not enough memory\n  fix: a smaller model or list",
            file=sys.stderr,
        )
        return MicrogptError.exit_code
    print(
        f"microgpt: internal error: {type(error).__name__}: {visible(str(error))}", file=sys.stderr
    )
    print("  fix: MICROGPT_DEBUG=1 shows where; please report it", file=sys.stderr)
    return MicrogptError.exit_code
