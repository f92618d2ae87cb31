"""The parsers of the verbs: argparse with short help pages, and errors that are raised."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

from .. import commands
from ..errors import ConfigError, quote
from ..face import write_page


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse's help, with wider columns and without its import of shutil."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_columns() - 2)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Lines of a help text, with no break after "[default:" or a hyphen."""
        import textwrap

        words = " ".join(text.split()).replace("[default: ", "[default:\0")
        lines = textwrap.wrap(words, width, break_on_hyphens=False)
        return [line.replace("\0", " ") for line in lines]


def _columns() -> int:
    """The width of the terminal, at most 100: longer lines are hard to read."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        try:
            columns = os.get_terminal_size(sys.stdout.fileno()).columns or 80
        except (ValueError, OSError):
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

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's. An unknown option is a ConfigError that names the closest one there is."""
        namespace, rest = self.parse_known_args(args, namespace)
        if not rest:
            return namespace
        word = rest[0].partition("=")[0]
        if not word.startswith("-"):
            self.error(f"there is no place for the argument {quote(word)}")
        from difflib import get_close_matches

        close = get_close_matches(word, self._shown_options(), n=1)
        raise ConfigError(
            f"there is no option {quote(word)}",
            where=self.prog,
            fix=close[0] if close else f"{self.prog} --help",
        )

    def _shown_options(self) -> list[str]:
        """The options that --help shows, those of the stages under this parser included."""
        options: list[str] = []
        for action in self._actions:
            if action.help != argparse.SUPPRESS:
                options += action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for stage in action.choices.values():
                    options += stage._shown_options()
        return options

    def format_usage(self) -> str:
        """One line: argparse's own lists every option."""
        return f"usage: {self._usage_line()}\n"

    def format_help(self) -> str:
        """argparse's help under the short usage line."""
        self.usage = self._usage_line()
        return super().format_help()

    def print_help(self, file: Any = None) -> None:
        """Print the page on stdout. argparse would ignore that it cannot be written."""
        write_page(self.format_help())

    def _usage_line(self) -> str:
        if self.usage is not None:
            return self.usage
        words = [self.prog, "[OPTION ...]"]
        for action in self._get_positional_actions():
            name = str(action.metavar or action.dest)
            if isinstance(action, argparse._SubParsersAction):
                name += " ..."
            elif action.choices and action.metavar is None:
                name = "{" + ",".join(action.choices) + "}"
            shapes = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ..."}
            words.append(shapes.get(str(action.nargs), name))
        return " ".join(words)

    def error(self, message: str) -> NoReturn:
        """Raise a ConfigError with argparse's message."""
        raise ConfigError(message, fix=f"{self.prog} --help")


def verb_parser(verb: str, module: Any) -> Parser:
    """The parser of one verb, whose module is given."""
    parser = Parser(prog=f"microgpt {verb}")
    _fill(parser, verb, module)
    return parser


def whole_parser() -> Parser:
    """The parser of the whole command line, every verb imported: for completion scripts."""
    parser = Parser(prog="microgpt")
    add_help(parser)
    parser.add_argument("-V", "--version", action="store_true", help="Show the version and exit.")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    for verb in commands.names():
        module = import_module(f".{verb}", commands.__name__)
        _fill(verbs.add_parser(verb, help=commands.summary(verb)), verb, module)
    return parser


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
