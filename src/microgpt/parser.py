"""The parser of the command line. It imports only the verb that is named, from commands/."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

from . import __version__, commands
from .errors import ConfigError, quote

_DESCRIPTION = "Train a tiny GPT on a list of short strings, and generate new ones."
_EXAMPLES = """\
  microgpt train                               train on 32,257 first names, print 20 new ones
  microgpt train cities.txt --preset good      train a better model on your own list
  microgpt sample cities.safetensors -n 50 -p San --novel --unique
  microgpt score cities.safetensors < candidates.txt
  microgpt eval cities.txt                     compare the model with n-gram models
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse's help, with wider columns and without its import of shutil."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_columns() - 2)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Lines of a help text, with no break after "[default:"."""
        lines = super()._split_lines(text.replace("[default: ", "[default:\0"), width)
        return [line.replace("\0", " ") for line in lines]


def _columns() -> int:
    """The width of the terminal, at most 100: longer lines are hard to read."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns or 80
        except (AttributeError, ValueError, OSError):
            columns = 80
    return max(30, min(columns, 100))


class Parser(argparse.ArgumentParser):
    """argparse whose errors are raised, so that one place prints them and chooses the exit code."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, add_help=False, **kwargs)
        self._positionals.title = "arguments"

    _intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but options may come between the arguments, unless there is a "--"."""
        if self._intermixed or self._subparsers is not None or "--" in (args or ()):
            return super().parse_known_args(args, namespace)
        self._intermixed = True  # parse_known_intermixed_args calls this method
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False

    def format_usage(self) -> str:
        """One line: argparse's own lists every option."""
        return f"usage: {self._usage_line()}\n"

    def format_help(self) -> str:
        """argparse's help under the short usage line."""
        self.usage = self._usage_line()
        return super().format_help()

    def _usage_line(self) -> str:
        if self.usage is not None:
            return self.usage
        words = [self.prog, "[OPTION ...]"]
        for action in self._get_positional_actions():
            name = str(action.metavar or action.dest)
            if isinstance(action, argparse._SubParsersAction):
                name += " ..."
            elif action.choices:
                name = "{" + ",".join(action.choices) + "}"
            shapes = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ..."}
            words.append(shapes.get(str(action.nargs), name))
        return " ".join(words)

    def error(self, message: str) -> NoReturn:
        """Raise a ConfigError with argparse's message."""
        raise ConfigError(message, fix=f"{self.prog} --help")


def parse(argv: list[str]) -> tuple[argparse.Namespace, Any]:
    """The arguments, and the module in commands/ whose `run` takes them.

    Prints and exits for --help and --version. Raises ConfigError for what cannot be parsed.
    """
    words = argv[1:] if argv[:1] == ["--"] else argv
    if words and not words[0].startswith("-"):
        verb = words[0]
        if verb not in commands.names():
            raise ConfigError(
                f"there is no command {quote(verb)}", where="argument COMMAND", fix=_meant(verb)
            )
        module = import_module(f".{verb}", commands.__name__)
        parser = Parser(prog=f"microgpt {verb}")
        _fill(parser, verb, module)
        return parser.parse_args(words[1:]), module
    overview().parse_args(argv)
    raise ConfigError("a command is missing", where="argument COMMAND", fix="microgpt --help")


def _meant(word: str) -> str:
    """The command that a misspelt word may have meant, else all commands."""
    from difflib import get_close_matches

    close = get_close_matches(word, commands.names(), n=1)
    return f"microgpt {close[0]}" if close else f"one of {', '.join(commands.names())}"


def overview() -> Parser:
    """The parser of `microgpt --help`, which says what each verb is for. Imports no verb."""
    names = commands.names()
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {commands.summary(name)}\n" for name in names]
    parser = Parser(
        prog="microgpt",
        usage="microgpt COMMAND [OPTION ...] [ARGUMENT ...]",
        description=f"{_DESCRIPTION}\n\nexamples:\n{_EXAMPLES}\ncommands:\n{''.join(lines)}",
        epilog="To see the options of a command: microgpt COMMAND --help",
    )
    _add_overview_options(parser)
    return parser


def whole() -> Parser:
    """The parser of the whole command line, every verb imported: for completion scripts."""
    parser = Parser(prog="microgpt", description=_DESCRIPTION)
    _add_overview_options(parser)
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    for verb in commands.names():
        module = import_module(f".{verb}", commands.__name__)
        _fill(verbs.add_parser(verb, help=commands.summary(verb)), verb, module)
    return parser


def _add_overview_options(parser: Parser) -> None:
    add_help(parser)
    version = f"microgpt {__version__}"
    parser.add_argument(
        "-V", "--version", action="version", version=version, help="Show the version and exit."
    )


def _fill(parser: Parser, verb: str, module: Any) -> None:
    """Give a verb's parser its description, its own arguments, and those of every verb."""
    parser.description = f"{commands.summary(verb)}\n\nexamples:\n{module.EXAMPLES}"
    module.add_arguments(parser)
    _add_common_options(parser)


def add_help(parser: argparse._ActionsContainer) -> None:
    """-h and --help, which argparse would put first."""
    parser.add_argument("-h", "--help", action="help", help="Show this page and exit.")


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("common options")
    add_help(group)
    group.add_argument(
        "-q", "--quiet", action="store_true", help="Print no progress and no remarks on stderr."
    )
    group.add_argument("-v", "--verbose", action="store_true", help="Print more remarks on stderr.")
    group.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="When to use colors. [default: %(default)s]",
    )
