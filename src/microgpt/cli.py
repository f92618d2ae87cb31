"""The command: its streams, its errors, its exit codes. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module

from .errors import MicrogptError
from .options import build_parser
from .terminal import Style, visible

# verb -> module in commands/ and function in it, imported only when it is called
VERBS = {
    "train": "train.train",
    "sample": "strings.sample",
    "score": "strings.score",
    "eval": "evaluate.evaluate",
    "info": "inspect.info",
    "explain": "inspect.explain",
    "bench": "bench.bench",
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
        print(text)

    def say(self, text: str) -> None:
        """A remark, on stderr."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def shown(self, text: str) -> str:
        """A string from a list or a model, safe on a terminal, as it is elsewhere."""
        return visible(text) if sys.stdout.isatty() else text


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see docs/reliability.md)."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    warnings.showwarning = lambda message, *_: print(f"microgpt: {message}", file=sys.stderr)
    try:
        args = build_parser().parse_args(argv)
        module, function = VERBS[args.verb].split(".")
        code: int = getattr(import_module(f".commands.{module}", __package__), function)(args, Face(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: nothing left to flush
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        return _report(error)


def _report(error: Exception) -> int:
    """Print an error in three parts, without a traceback unless MICROGPT_DEBUG is set."""
    if os.environ.get("MICROGPT_DEBUG"):
        traceback.print_exc()
    if isinstance(error, MicrogptError):
        print(f"microgpt: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"microgpt: internal error: {type(error).__name__}: {error}", file=sys.stderr)
    print("  fix: MICROGPT_DEBUG=1 shows where; please report it", file=sys.stderr)
    return MicrogptError.exit_code
