"""The command `microgpt`: finds the verb, runs it, reports errors, chooses the exit code.

Results go to stdout, everything else to stderr. docs/reliability.md lists the exit codes.
Each file in commands/ is a verb, and only the verb that is named is imported.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from io import TextIOWrapper

from . import __version__, commands
from .errors import ConfigError, MicrogptError, quote, visible
from .face import Face, WritingOutput, discard_output, write_page

TYPE_CHECKING = False  # that of typing would import typing, which takes milliseconds
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from typing import Any

_PAGE = """\
usage: microgpt COMMAND [OPTION ...] [ARGUMENT ...]

Train a tiny GPT on a list of short strings, and generate new ones.

examples:
  microgpt train                               train on 32,257 first names, print 20 new ones
  microgpt train cities.txt --preset good      train a better model on your own list
  microgpt sample cities.safetensors -n 50 -p San --novel --unique
  microgpt score cities.safetensors < candidates.txt
  microgpt eval cities.txt                     compare the model with n-gram models

commands:
{commands}
options:
  -h, --help     Show this page and exit.
  -V, --version  Show the version and exit.

To see the options of a command: microgpt help COMMAND
"""
_SIGINT, _SIGPIPE = 2, 13  # the module signal takes a millisecond, and Windows has no SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code."""
    _prepare_streams()
    warnings.showwarning = lambda message, *_: print(
        f"microgpt: {visible(str(message))}", file=sys.stderr
    )
    words = list(sys.argv[1:] if argv is None else argv)
    if words in ([], ["--"]):
        print(overview(), file=sys.stderr, end="")
        return ConfigError.exit_code
    try:
        args, verb = _parsed(words)
        code: int = verb.run(args, Face(args))
        with WritingOutput():
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        discard_output()
        return 128 + _SIGPIPE
    except KeyboardInterrupt:
        return 128 + _SIGINT
    except Exception as error:
        return _report(error)


def _parsed(words: list[str]) -> tuple[Namespace, Any]:
    """The arguments, and the module in commands/ whose `run` takes them.

    Prints and exits for --help and --version. Raises ConfigError for what cannot be parsed.
    """
    if words[:1] == ["--"]:
        del words[0]
    if words[0] == "help":
        words = [*words[1:], "--help"]
    verb = words[0]
    if verb in ("-h", "--help", "-V", "--version"):
        write_page(overview() if verb in ("-h", "--help") else f"microgpt {__version__}\n")
        raise SystemExit(0)
    if verb in commands.names():
        module = import_module(f".{verb}", commands.__name__)
        from .commands._parser import verb_parser

        return verb_parser(verb, module).parse_args(words[1:]), module
    if verb.startswith("-"):
        raise ConfigError(
            f"there is no option {quote(verb)} before a command",
            where="argument COMMAND",
            fix="microgpt --help",
        )
    raise ConfigError(
        f"there is no command {quote(verb)}", where="argument COMMAND", fix=_meant(verb)
    )


def overview() -> str:
    """The page of `microgpt --help`, which says what each verb is for. Imports no verb."""
    names = commands.names()
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {commands.summary(name)}\n" for name in names]
    return _PAGE.format(commands="".join(lines))


def _meant(word: str) -> str:
    """The command that a misspelt word may have meant, else all commands."""
    from difflib import get_close_matches

    close = get_close_matches(word, [*commands.names(), "help"], n=1)
    return f"microgpt {close[0]}" if close else f"one of {', '.join(commands.names())}"


class _Remarks(TextIOWrapper):
    """stderr. What cannot be written there is lost, and nothing else is."""

    def write(self, text: str) -> int:
        try:
            super().write(text)
        except OSError:
            pass
        return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            pass


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
