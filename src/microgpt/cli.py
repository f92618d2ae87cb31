"""The command `microgpt`: runs one verb, reports errors, chooses the exit code.

Results go to stdout, everything else to stderr. docs/reliability.md lists the exit codes.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper

from .errors import MicrogptError, visible
from .face import Face, discard_output, writing_output
from .parser import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code."""
    _prepare_streams()
    warnings.showwarning = lambda message, *_: print(f"microgpt: {message}", file=sys.stderr)
    try:
        args, verb = parse(list(sys.argv[1:] if argv is None else argv))
        code: int = verb.run(args, Face(args))
        with writing_output():
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        discard_output()
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        return _report(error)


class _Remarks(TextIOWrapper):
    """stderr. What cannot be written there is lost, and nothing else is."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _prepare_streams() -> None:
    """Use UTF-8 in every locale. A stream that was closed becomes /dev/null."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - stays open as the stream
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if type(sys.stderr) is TextIOWrapper:  # the interpreter's own, not one that a caller put there
        sys.stderr = _Remarks(sys.stderr.detach(), "utf-8", "backslashreplace", line_buffering=True)


def _report(error: Exception) -> int:
    """Print what is wrong, where, and how to fix it. A traceback only if MICROGPT_DEBUG is set."""
    if os.environ.get("MICROGPT_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exc()
    code = MicrogptError.exit_code
    if isinstance(error, MicrogptError):
        text, code = f"error: {error}", error.exit_code
    elif isinstance(error, MemoryError):
        text = "error: there is not enough memory\n  fix: use a smaller model or a shorter list"
    else:
        text = (
            f"internal error: {type(error).__name__}: {visible(str(error))}\n"
            "  fix: set MICROGPT_DEBUG=1 to see where, and please report it"
        )
    print(f"microgpt: {text}", file=sys.stderr)
    return code
