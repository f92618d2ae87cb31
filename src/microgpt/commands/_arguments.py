"""Arguments that several verbs share, and the reading of numbers within their ranges.

The hyper-parameters' options, their help and their ranges are made from the fields of `Config`.
"""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import Field, fields
from typing import Any

from ..config import OPTIONS, Config, check_range, checked
from ..engines import AUTO
from ..errors import ConfigError
from ..recipes import PRESETS, recipe
from ..training import settle_block_size

FIELDS = {item.name: item for item in fields(Config)}
HELD_OUT = "held_out" if "held_out" in FIELDS else "val"


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


def training_options(parser: ArgumentParser, leave_out: Collection[str] = ()) -> None:
    """A preset, each field of Config, an engine. A field that is not given is None."""
    group = parser.add_argument_group("hyper-parameters")
    group.add_argument(
        "--preset",
        choices=PRESETS,
        help="Start from these values; the options below override them. [default: reference]",
    )
    for item in FIELDS.values():
        if item.name not in leave_out:
            _field_option(group, item)
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine",
        default=AUTO,
        metavar="NAME",
        help="What computes: auto, exact, fast, scalar, or another engine that `microgpt info "
        "--engine` shows. [default: %(default)s]",
    )
    group.add_argument(
        "--threads",
        type=number("threads"),
        default=0,
        metavar="N",
        help="Maximum number of threads; 0: the engine chooses. [default: %(default)s]",
    )


def held_out_option(group: Any, read: Callable[[str], Any], says: str) -> None:
    """--held-out, and its older names, which --help does not show."""
    names = {"--held-out": None, "--val": argparse.SUPPRESS, "--holdout": argparse.SUPPRESS}
    for name, hidden in names.items():
        group.add_argument(name, dest=HELD_OUT, type=read, metavar="SHARE", help=hidden or says)


def _field_option(group: Any, item: Field[Any]) -> None:
    says = str(item.metadata["says"]).replace("%", "%%")
    if item.name == HELD_OUT:
        held_out_option(group, number(item.name), f"{says} [default: {item.default:g}]")
    elif isinstance(item.default, bool):
        group.add_argument(flag(item), dest=item.name, action="store_true", default=None, help=says)
    else:
        also = " auto: fit the longest document." if item.name == "block_size" else ""
        group.add_argument(
            flag(item),
            dest=item.name,
            type=number(item.name),
            metavar="N" if isinstance(item.default, int) else "X",
            help=f"{says}{also} [default: {item.default:g}]",
        )


def flag(item: Field[Any]) -> str:
    """The command-line option of a field of Config."""
    if item.name == HELD_OUT:
        return "--held-out"
    return str(item.metadata["flag"] or "--" + item.name.replace("_", "-"))


def number(name: str) -> Callable[[str], Any]:
    """For argparse: text to a number in the range of this field of Config or other option."""
    whole = OPTIONS[name][0] if name in OPTIONS else isinstance(FIELDS[name].default, int)
    read = _reader(name, whole, lambda value: checked(name, value))
    if name != "block_size":
        return read
    return lambda text: text if text == "auto" else read(text)


def share(name: str, high: float) -> Callable[[str], Any]:
    """For argparse: text to a number above 0 and at most `high`."""
    return _reader(name, False, lambda value: check_range(name, value, False, 0.0, high, True))


def _reader(name: str, whole: bool, check: Callable[[object], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        with suppress(ValueError):  # of the conversion, or the ConfigError of the range
            return check(int(text) if whole else float(text))
        try:
            return check(text)  # a text is in no range, so the error shows it as it was typed
        except ConfigError as error:
            raise argparse.ArgumentTypeError(error.what) from None

    read.__name__ = name
    return read


def settings(args: Namespace, documents: list[str]) -> dict[str, Any]:
    """The fields of Config that the command line sets, and those that its preset sets."""
    values = {name: getattr(args, name, None) for name in FIELDS}
    given = {name: value for name, value in values.items() if value is not None}
    if "block_size" in given:
        given["block_size"] = settle_block_size(given["block_size"], documents)
    if args.preset == "reference":
        # A new run has these values anyway. A run to resume must have been made with them.
        return {
            name: FIELDS[name].default
            for preset in PRESETS.values()
            if preset
            for name in preset.fields
        } | given
    return (recipe(args.preset, documents, given.get("num_steps")) if args.preset else {}) | given


def config_from(args: Namespace, documents: list[str]) -> Config:
    """The configuration that the command line asks for."""
    return Config(**settings(args, documents))
