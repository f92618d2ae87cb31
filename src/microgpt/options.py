"""The command line's parser: one sub-command a verb, training flags made from the fields of `Config`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import Field, fields
from typing import Any, NoReturn

from . import __version__
from .config import OPTIONS, Config, checked, kind
from .engines import AUTO, NAMES
from .errors import ConfigError
from .journey import options as journey_options
from .recipes import PRESETS

_EXAMPLES = """\
examples:
  microgpt train                               train on 32,257 first names, print 20 new ones
  microgpt train cities.txt --preset good      train a better model, on your own list, one string a line
  microgpt sample cities.safetensors -n 50 -p San --novel --unique
  microgpt score cities.safetensors < candidates.txt
  microgpt eval cities.txt                     is it better than counting? n-grams beside it
"""

_VERB_EXAMPLES = {
    "verify": journey_options.EXAMPLES["verify"],
    "journey": "examples:\n"
    + "".join(
        journey_options.EXAMPLES[stage].removeprefix("examples:\n")
        for stage in ("analyze", "ledger", "gist", "remind")
    ),
    "train": """\
examples:
  microgpt train names.txt                     writes names.safetensors, prints 20 samples
  microgpt train products.csv --column title --block-size auto -o products.safetensors
  microgpt train names.txt --preset best -o best.safetensors
  microgpt train plays.txt --windows --block-size 64 --preset good
  microgpt train names.txt --transcript        prints what the original script prints, byte for byte
  microgpt train names.txt --resume            goes on where an interrupted run stopped
""",
    "sample": """\
examples:
  microgpt sample names.safetensors -n 100 -t 0.8 --novel --unique
  microgpt sample names.safetensors --prefix ka --match '.*[aeiou]' --max-len 8
  microgpt sample names.safetensors --seed 7 --json
""",
    "score": """\
examples:
  microgpt score names.safetensors candidates.txt --sort
  printf 'emma\\nxqzv\\n' | microgpt score names.safetensors --bits
""",
    "eval": """\
examples:
  microgpt eval names.txt                      trains on 90 %, measures on the rest
  microgpt eval names.safetensors names.txt    measures a model you have
""",
    "info": "examples:\n  microgpt info names.safetensors --json\n  microgpt info --engine\n",
    "explain": """\
examples:
  microgpt explain names.safetensors karia
  microgpt explain names.safetensors karia --grad --json
""",
    "bench": "examples:\n  microgpt bench\n  microgpt bench --json --peer 'mine=./mine {data}' > figures.json\n",
    "export": """\
examples:
  microgpt export names.safetensors --to html  one page: the model, its list, everything inside it to look at
  microgpt export names.safetensors --to js    names.js and names.d.ts
""",
    "serve": """\
examples:
  microgpt serve                               the page on http://127.0.0.1:8000, training in the browser
  microgpt serve names.safetensors --port 8080 --no-open
""",
    "completion": "examples:\n  microgpt completion bash > ~/.local/share/bash-completion/completions/microgpt\n",
}


class Parser(argparse.ArgumentParser):
    """argparse, with errors as ours: raised, so that one place prints them and chooses the exit code."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs
        )

    _mixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but options may stand between a verb's arguments too, unless there is a --."""
        if self._mixed or self._subparsers is not None or "--" in (args or ()):
            return super().parse_known_args(args, namespace)
        self._mixed = True  # what follows calls this method
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixed = False

    def error(self, message: str) -> NoReturn:
        """Raise a ConfigError with argparse's message."""
        raise ConfigError(message, fix=f"{self.prog} --help")


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="microgpt", description=f"A tiny GPT for lists of short strings.\n\n{_EXAMPLES}"
    )
    parser.add_argument("-V", "--version", action="version", version=f"microgpt {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _train(_verb(verbs, "train", "learn a list, save the model, print samples"))
    _sample(_verb(verbs, "sample", "make new strings, one a line"))
    _score(_verb(verbs, "score", "log-probability TAB string, one a line"))
    _eval(_verb(verbs, "eval", "held-out loss beside n-gram baselines"))
    _info(_verb(verbs, "info", "what a model file holds"))
    _explain(_verb(verbs, "explain", "one string, position by position"))
    _bench(_verb(verbs, "bench", "every engine against the reference on this machine"))
    _export(_verb(verbs, "export", "a model as one HTML page or one JavaScript module"))
    _serve(_verb(verbs, "serve", "the page and an HTTP interface on this machine"))
    journey_options.add_verify(
        _verb(verbs, "verify", "is a program, an engine or a command the same as the reference?")
    )
    journey_options.add_journey(
        _verb(verbs, "journey", "shorter programs: what repeats, what editions weigh, publish")
    )
    shell = _verb(verbs, "completion", "print a shell's completion script")
    shell.add_argument("shell", choices=["bash", "zsh", "fish"])
    return parser


def _verb(verbs: Any, name: str, summary: str) -> Parser:
    description = f"{_VERB_EXAMPLES[name]}\n{summary[0].upper()}{summary[1:]}."
    parser: Parser = verbs.add_parser(name, help=summary, description=description)
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="no progress and no remarks on stderr"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="more remarks on stderr")
    parser.add_argument(
        "--color", choices=["auto", "always", "never"], default="auto", help="default: %(default)s"
    )
    return parser


def _train(p: Parser) -> None:
    p.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="documents, one a line; - is stdin; none: built-in names",
    )
    p.add_argument(
        "-o", "--output", metavar="PATH", help="the model's file (<stem of FILE>.safetensors)"
    )
    p.add_argument(
        "--force", action="store_true", help="overwrite output files that microgpt did not write"
    )
    p.add_argument(
        "--resume", action="store_true", help="go on from the output file, with its own settings"
    )
    save_every, samples, temperature = map(_reader, ("save_every", "samples", "temperature"))
    p.add_argument(
        "--save-every",
        type=save_every,
        default=0,
        metavar="N",
        help="also save after every N steps",
    )
    p.add_argument(
        "--samples",
        type=samples,
        default=20,
        metavar="N",
        help="strings printed at the end (%(default)s)",
    )
    p.add_argument(
        "--temperature",
        type=temperature,
        default=0.5,
        metavar="T",
        help="of those strings (%(default)s)",
    )
    _corpus_flags(p)
    _config_flags(p)
    p.add_argument(
        "--transcript", action="store_true", help="print on stdout what the original script prints"
    )
    p.add_argument(
        "--trace", metavar="PATH", help="JSON lines: step, loss, loss_hex, params_sha256"
    )
    p.add_argument("--log", metavar="PATH", help="JSON lines: step, loss, learning_rate, seconds")
    p.add_argument("--plot", metavar="PATH", help="the loss curve as SVG")


def _sample(p: Parser) -> None:
    _model_argument(p)
    p.add_argument("-n", type=_reader("n"), default=20, metavar="N", help="how many (%(default)s)")
    temperature, top_k, top_p = map(_reader, ("temperature", "top_k", "top_p"))
    p.add_argument(
        "-t",
        "--temperature",
        type=temperature,
        default=0.5,
        metavar="T",
        help="default %(default)s",
    )
    p.add_argument(
        "-k",
        "--top-k",
        type=top_k,
        default=0,
        metavar="K",
        help="only the K likeliest tokens (0: all)",
    )
    p.add_argument(
        "--top-p",
        type=top_p,
        default=1.0,
        metavar="P",
        help="only the likeliest that sum to P (1: all)",
    )
    p.add_argument("-p", "--prefix", default="", help="how each string begins")
    p.add_argument("--match", metavar="REGEX", help="only strings that match as a whole")
    p.add_argument(
        "--min-len", type=_reader("min_len"), default=0, metavar="N", help="at least N characters"
    )
    p.add_argument("--max-len", type=_reader("max_len"), metavar="N", help="at most N characters")
    p.add_argument(
        "--novel",
        nargs="?",
        const=True,
        metavar="FILE",
        help="none that stands in FILE (the training list)",
    )
    p.add_argument("--unique", action="store_true", help="none twice")
    p.add_argument("--seed", type=_reader("seed"), help="the same seed, the same strings (random)")
    p.add_argument(
        "--json", action="store_true", help="one object a line: text, log_probability, seed"
    )


def _score(p: Parser) -> None:
    _model_argument(p)
    p.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="strings, one a line (standard input)"
    )
    _column_flag(p)
    p.add_argument("--bits", action="store_true", help="in bits instead of nats")
    p.add_argument(
        "--per-char", action="store_true", help="a token's mean, the end mark counted, not the sum"
    )
    p.add_argument("--sort", action="store_true", help="most probable first")
    p.add_argument(
        "--min", type=_reader("min"), metavar="X", help="only strings that score at least X"
    )
    p.add_argument(
        "--unk", choices=["error", "skip"], default="error", help="unknown characters (%(default)s)"
    )
    p.add_argument(
        "--json", action="store_true", help="one object a line: text, log_probability, tokens, cut"
    )


def _eval(p: Parser) -> None:
    p.add_argument(
        "paths", nargs="+", metavar="[MODEL] FILE", help="a model to measure, and documents"
    )
    p.add_argument("--holdout", type=_reader("holdout"), metavar="SHARE", help="measured on (0.1)")
    _corpus_flags(p)
    _config_flags(p, leave_out=("held_out",))
    p.add_argument("--json", action="store_true", help="one object")


def _info(p: Parser) -> None:
    _model_argument(p)
    p.add_argument("--engine", action="store_true", help="the engines on this machine instead")
    p.add_argument("--json", action="store_true", help="one object")


def _explain(p: Parser) -> None:
    _model_argument(p)
    p.add_argument("text", metavar="TEXT")
    p.add_argument(
        "--head",
        type=_reader("head"),
        metavar="H",
        help="show only this attention head, counted from 0",
    )
    p.add_argument(
        "--grad", action="store_true", help="also the gradient of the loss by each weight"
    )
    p.add_argument("--json", action="store_true", help="one object with every number")


def _bench(p: Parser) -> None:
    p.add_argument(
        "--seconds",
        type=float,
        default=3.0,
        metavar="S",
        help="for each figure, about (%(default)s)",
    )
    p.add_argument(
        "--peer", action="append", default=[], metavar="NAME=COMMAND", help="also time this command"
    )
    p.add_argument("--json", action="store_true", help="machine, engines and figures as one object")


def _export(p: Parser) -> None:
    _model_argument(p)
    p.add_argument("--to", required=True, choices=["html", "js"], help="what to make")
    p.add_argument("-o", "--output", metavar="PATH", help="the file (<stem of MODEL>.html or .js)")
    p.add_argument(
        "--force", action="store_true", help="overwrite files that microgpt did not write"
    )
    p.add_argument("--no-check", action="store_true", help="do not read the result back")


def _serve(p: Parser) -> None:
    p.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a .safetensors file (none: the page trains its own)",
    )
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    p.add_argument("--port", type=int, default=8000, help="0: any free one (%(default)s)")
    p.add_argument("--no-open", action="store_true", help="open no browser")
    p.add_argument(
        "--allow-remote",
        action="store_true",
        help="listen beyond this machine; a token is then required",
    )


def _model_argument(p: Parser) -> None:
    p.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a .safetensors file (the only one in this folder)",
    )


def _column_flag(p: Parser) -> None:
    p.add_argument(
        "--column", metavar="NAME", help="take one column of a CSV (, or ;), TSV or JSON-lines file"
    )


def _corpus_flags(p: Parser) -> None:
    _column_flag(p)
    p.add_argument("--dedupe", action="store_true", help="each document once")


def _config_flags(p: Parser, leave_out: tuple[str, ...] = ()) -> None:
    """A flag for each field of Config; a flag not given leaves None, so that --resume can tell."""
    group = p.add_argument_group("hyper-parameters")
    group.add_argument(
        "--preset", choices=PRESETS, help="defaults of all that follow: reference, or better ones"
    )
    for item in fields(Config):
        if item.name in leave_out:
            continue
        if kind(item.name) is bool:
            says = item.metadata["says"]
            group.add_argument(
                flag(item), dest=item.name, action="store_true", default=None, help=says
            )
            continue
        also = " ('auto': the longest document)" if item.name == "block_size" else ""
        says = f"{item.metadata['says']}{also} ({item.default:g})".replace("%", "%%")
        group.add_argument(
            flag(item), dest=item.name, type=_reader(item.name), metavar=_metavar(item), help=says
        )
    if "held_out" not in leave_out:  # its name in earlier versions
        group.add_argument(
            "--val", dest="held_out", type=_reader("held_out"), help=argparse.SUPPRESS
        )
    group.add_argument(
        "--engine", choices=NAMES, default=AUTO, help="what does the arithmetic (%(default)s)"
    )
    threads = _reader("threads")
    group.add_argument(
        "--threads",
        type=threads,
        default=0,
        metavar="N",
        help="at most so many (0: as many as pay)",
    )


def flag(item: Field[Any]) -> str:
    """The command-line flag of a field of Config."""
    return str(item.metadata["flag"] or "--" + item.name.replace("_", "-"))


def _metavar(item: Field[Any]) -> str:
    return "N" if kind(item.name) is int else "X"


def _reader(name: str) -> Callable[[str], Any]:
    """Text to the number that this field of Config or other option wants, within its range."""
    whole = OPTIONS[name][0] if name in OPTIONS else kind(name) is int

    def read(text: str) -> Any:
        if name == "block_size" and text == "auto":
            return text
        with suppress(ValueError):  # of the conversion, or the ConfigError of a number out of range
            return checked(name, int(text) if whole else float(text))
        try:
            return checked(name, text)  # a text is in no range: the error shows it as it was typed
        except ConfigError as error:
            raise argparse.ArgumentTypeError(error.what) from None

    read.__name__ = name
    return read
