"""The options of training, made from the fields of `Config`, and the configuration they give."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection
from typing import Any

from ..config import FIELDS, Config, Field, kind
from ..engines import AUTO
from ..recipes import PRESETS, recipe
from ..training import settle_block_size
from ._arguments import number


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
    one = group.add_mutually_exclusive_group()
    for name, hidden in names.items():
        one.add_argument(name, dest="held_out", type=read, metavar="SHARE", help=hidden or says)


def _field_option(group: Any, item: Field) -> None:
    says = item.says.replace("%", "%%")
    if item.name == "held_out":
        held_out_option(group, number(item.name), f"{says} [default: {item.default:g}]")
    elif kind(item.name) is bool:
        group.add_argument(flag(item), dest=item.name, action="store_true", default=None, help=says)
    else:
        also = " auto: fit the longest document." if item.name == "block_size" else ""
        group.add_argument(
            flag(item),
            dest=item.name,
            type=number(item.name),
            metavar="N" if kind(item.name) is int else "X",
            help=f"{says}{also} [default: {item.default:g}]",
        )


def flag(item: Field) -> str:
    """The command-line option of a field of Config."""
    return item.flag or "--" + item.name.replace("_", "-")


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
