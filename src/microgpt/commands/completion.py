"""Print a completion script for a shell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ..errors import MissingPartError
from ..face import Face

EXAMPLES = """\
  microgpt completion bash > ~/.local/share/bash-completion/completions/microgpt
  microgpt completion zsh > ~/.zfunc/_microgpt
"""


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of `microgpt completion`."""
    parser.add_argument(
        "shell",
        metavar="SHELL",
        choices=["bash", "zsh", "fish"],
        help="The shell that reads the script: bash, zsh or fish.",
    )


def run(args: Namespace, face: Face) -> int:
    """Print the script. Needs the package shtab."""
    try:
        import shtab
    except ImportError as error:
        raise MissingPartError(
            "completion needs the package shtab, which is not installed", fix="pip install shtab"
        ) from error
    from ._parser import whole_parser

    face.data(shtab.complete(whole_parser(), args.shell))
    return 0
