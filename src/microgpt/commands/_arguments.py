"""Arguments that several verbs share, and readers of numbers within a range."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..config import OPTIONS, TypedNumber, check_range, checked, kind
from ..errors import ConfigError


def model_argument(parser: ArgumentParser) -> None:
    """MODEL, which may be left out."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="The model file. [default: the only .safetensors file in this folder]",
    )


def corpus_options(parser: ArgumentParser) -> None:
    """How documents are read from their files."""
    column_option(parser)
    parser.add_argument("--dedupe", action="store_true", help="Remove duplicate documents.")


def column_option(parser: ArgumentParser) -> None:
    """--column."""
    parser.add_argument(
        "--column",
        metavar="NAME",
        help="Read this column of a CSV (, or ;), TSV or JSON Lines file.",
    )


def force_option(parser: ArgumentParser) -> None:
    """--force."""
    parser.add_argument(
        "--force", action="store_true", help="Overwrite files that microgpt did not write."
    )


def number(name: str) -> Callable[[str], Any]:
    """For argparse: text to a number in the range of this field of Config or other option."""
    whole = OPTIONS[name][0] if name in OPTIONS else kind(name) is int
    read = _reader(name, whole, lambda value: checked(name, value))
    if name != "block_size":
        return read
    return lambda text: text if text == "auto" else read(text)


def share(name: str, high: float) -> Callable[[str], Any]:
    """For argparse: text to a number above 0 and at most `high`."""
    return _reader(name, False, lambda value: check_range(name, value, False, 0.0, high, True))


def _typed(text: str) -> str:
    """The text; a TypedNumber if it is a number."""
    try:
        float(text)
    except ValueError:
        return text
    return TypedNumber(text)


def _reader(name: str, whole: bool, check: Callable[[object], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        with suppress(ValueError):  # of the conversion, or the ConfigError of the range
            return check(int(text) if whole else float(text))
        try:
            # A text is in no range, so the error shows it as it was typed.
            return check(_typed(text))
        except ConfigError as error:
            raise argparse.ArgumentTypeError(error.what) from None

    read.__name__ = name
    return read
