"""Documents, from a file, standard input, an iterable or the built-in list. What is a document is the
reference's rule: a line without its surrounding white space, unless nothing is left of it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from typing import NamedTuple

from . import files, reference
from .errors import ConfigError, DataError, InputError, quote, reason

BUILTIN, PYTHON = "builtin:names", "python"


@dataclass(frozen=True)
class Origin:
    """How documents were read, so that they can be read again: the arguments of `read`.

    sources is ("python",) for documents that were handed over as strings.
    """

    sources: tuple[str, ...] = (BUILTIN,)
    column: str | None = None
    dedupe: bool = False

    def __str__(self) -> str:
        return "built-in names" if self.sources == (BUILTIN,) else ", ".join(self.sources)

    @property
    def repeatable(self) -> bool:
        """Whether the documents can be read again: neither standard input nor Python's memory can."""
        return not {"-", PYTHON} & set(self.sources)


@dataclass
class Corpus:
    """Documents in their original order, and where they came from."""

    documents: list[str]
    origin: Origin

    def fingerprint(self) -> str:
        """SHA-256 of the documents, one a line, as UTF-8."""
        return hashlib.sha256("\n".join(self.documents).encode()).hexdigest()


def builtin() -> Corpus:
    """32,257 first names given in the USA in 2018 (see data/README.md)."""
    text = (package_files(__package__) / "data" / "names.txt").read_text("utf-8")
    return Corpus(reference.read_documents(text), Origin())


def read(sources: Sequence[str], column: str | None = None, dedupe: bool = False) -> Corpus:
    """Documents of these files in order; "-" is standard input, "builtin:names" or nothing the built-in list.

    column: take one column of a CSV, TSV or JSON-lines file instead of its lines.
    Raises DataError when there is no document, or when the text is not UTF-8.
    """
    documents: list[str] = []
    origin = Origin(tuple(sources) or (BUILTIN,), column, dedupe)
    for source in origin.sources:
        if source == BUILTIN and column is not None:
            raise ConfigError(
                "the built-in list has no columns", where="option column", fix="name a file"
            )
        if source == BUILTIN:
            documents += builtin().documents
        else:
            name = "standard input" if source == "-" else source
            text = decode(_standard_input() if source == "-" else files.read(source), name)
            documents += (
                reference.read_documents(text) if column is None else _column(text, column, name)
            )
    return _finished(documents, origin)


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise InputError("standard input is closed", fix="name a file, or redirect one")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        words = f"cannot read standard input: {reason(error)}"
        raise InputError(words, fix="redirect a file or a pipe") from error


def from_iterable(items: Iterable[str] | os.PathLike[str]) -> Corpus:
    """Documents of a path, or of an iterable of strings (a list, a pandas Series, a generator).

    A str is a TypeError, because it could mean either. Each string is one document: line breaks
    within it count as blanks.
    """
    if isinstance(items, (str, bytes)):
        raise TypeError(
            "documents must be an iterable of strings or a pathlib.Path, not a single string"
        )
    if isinstance(items, os.PathLike):
        return read([os.fspath(items)])
    documents = []
    for i, item in enumerate(items):
        if not isinstance(item, str):
            raise TypeError(f"document {i} is {type(item).__name__}, not str: {quote(repr(item))}")
        documents.append(one_line(item))
    return _finished([document for document in documents if document], Origin((PYTHON,)))


def one_line(text: str) -> str:
    """The text without surrounding white space; line breaks within it become blanks."""
    text = text.strip()
    return " ".join(text.split()) if "\n" in text or "\r" in text else text


# What a file that is not UTF-8 begins with; UTF-32's first, because one of them begins with one of UTF-16's.
_MARKS = {
    BOM_UTF32_LE: "UTF-32",
    BOM_UTF32_BE: "UTF-32",
    BOM_UTF16_LE: "UTF-16",
    BOM_UTF16_BE: "UTF-16",
}


def decode(data: bytes, where: str) -> str:
    """UTF-8 to text as Python's text mode reads it: every line break is \\n. A leading BOM is dropped."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        before = (
            max(data.rfind(b"\n", 0, at), data.rfind(b"\r", 0, at)) + 1
        )  # where its line begins
        line = data[:before].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
        encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "LATIN1")
        raise DataError(
            f"the text is not UTF-8: {error.reason} 0x{data[at]:02x}",
            where=f"{where}, line {line}, byte {at - before + 1} of the line, byte {at + 1} of the file",
            fix=f"convert it: iconv -f {encoding} -t UTF-8",
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _column(text: str, column: str, where: str) -> list[str]:
    """The values of one column: JSON lines if the text begins with a brace, else a table with a header (tab , ;)."""
    if text.lstrip().startswith("{"):
        values = [
            _json_value(line, column, where, i)
            for i, line in enumerate(text.split("\n"), 1)
            if line.strip()
        ]
    else:
        head = text.split("\n", 1)[0]
        delimiter = next((mark for mark in "\t,;" if mark in head), ",")
        csv.field_size_limit(
            max(len(text), csv.field_size_limit())
        )  # a cell may be as long as a line of text
        rows = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
        values, line = [], 1  # where the row begins: a cell in quotes may go on over many lines
        try:
            if column not in (rows.fieldnames or []):
                _no_column(column, f"{where}, line 1", list(rows.fieldnames or []))
            line = rows.line_num + 1
            for row in rows:
                values.append(row[column] or "")
                line = rows.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"the table cannot be read: {error}",
                where=f"{where}, line {line}",
                fix='a cell that begins with " ends with one; those within it are doubled',
            ) from error
    return [document for document in map(one_line, values) if document]


def _json_value(line: str, column: str, where: str, number: int) -> str:
    place = f"{where}, line {number}"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the line is not JSON: {error}", where=place) from None
    if not isinstance(record, dict) or column not in record:
        _no_column(column, place, list(record) if isinstance(record, dict) else [])
    if not isinstance(record[column], str):
        raise DataError(
            f"{quote(column)} must be a string, not {quote(json.dumps(record[column]))}",
            where=place,
        )
    return str(record[column])


def _no_column(column: str, place: str, found: list[str]) -> None:
    names = ", ".join(quote(name) for name in found[:20]) or "none"
    raise DataError(
        f"there is no column {quote(column)}", where=place, fix=f"--column with one of: {names}"
    )


_GIVE = "give the list: --novel FILE, or --data FILE where a model is verified"


def again(origin: Origin, fingerprint: str) -> Corpus:
    """The documents that were read before, and are still the same.

    Raises DataError when they changed or cannot be read a second time, InputError when they are gone.
    """
    if not origin.repeatable:
        raise DataError("the model does not keep the list it was trained on", fix=_GIVE)
    source = read(origin.sources, origin.column, origin.dedupe)
    if source.fingerprint() != fingerprint:
        raise DataError(
            "the list the model was trained on has changed", where=str(origin), fix=_GIVE
        )
    return source


def _finished(documents: list[str], origin: Origin) -> Corpus:
    if origin.dedupe:
        documents = list(dict.fromkeys(documents))
    if not documents:
        raise DataError(
            "there are no documents: the text is empty or blank",
            where=str(origin),
            fix="one string a line",
        )
    try:
        "".join(set("".join(documents))).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "a document holds a lone surrogate, which is no character", where=str(origin)
        ) from error
    return Corpus(documents, origin)


def split(documents: list[str], val: float) -> tuple[list[str], list[str]]:
    """(to train on, held out): the last share `val` of the shuffled documents is held out, at least one.

    Without a share, the very list, not a copy. Raises ConfigError when nothing would be left to train on.
    """
    if not val:
        return documents, []
    held_out = max(1, round(val * len(documents)))
    if held_out >= len(documents):
        raise ConfigError(
            f"holding out {val:g} of {len(documents):,} documents leaves nothing to train on",
            where="option val (of eval: holdout)",
            fix="a smaller share, or more documents",
        )
    return documents[:-held_out], documents[-held_out:]


class Window(NamedTuple):
    """A piece of a document: the tokens that a block predicts from token `start` on."""

    document: str
    start: int

    def text(self, block_size: int) -> str:
        """Its characters."""
        return self.document[max(self.start - 1, 0) : self.start + block_size]


def windows(document: str, block_size: int) -> Iterator[Window]:
    """Pieces of at most block_size + 1 tokens, each beginning with the last token of the one before, so that every
    token after the first is predicted once, from what its piece holds before it.
    """
    return (Window(document, start) for start in range(0, len(document) + 1, block_size))
