"""The documents of a dataset, read from files, standard input, an iterable or the built-in list.

A document is one string of the list. In a text file, as in the reference, each line is a document;
surrounding white space is removed, and empty lines are left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from . import files
from .errors import ConfigError, DataError, InputError, counted, quote, reason

BUILTIN, PYTHON = "builtin:names", "python"
_IN_WORDS = {
    BUILTIN: "built-in names",
    PYTHON: "the documents that were passed",
    "-": "standard input",
}


class Origin(NamedTuple):
    """The arguments of `read`, so that the documents can be read again.

    sources is ("python",) for documents that were passed as strings.
    """

    sources: tuple[str, ...] = (BUILTIN,)
    column: str | None = None
    dedupe: bool = False

    def __str__(self) -> str:
        return ", ".join(_IN_WORDS.get(source, source) for source in self.sources)

    @property
    def repeatable(self) -> bool:
        """Whether the documents can be read again, unlike standard input and Python strings."""
        return not {"-", PYTHON} & set(self.sources)


class Corpus(NamedTuple):
    """A dataset: its documents in their original order, and where they came from."""

    documents: list[str]
    origin: Origin

    def fingerprint(self) -> str:
        """SHA-256 of the documents, one per line, as UTF-8."""
        return hashlib.sha256("\n".join(self.documents).encode()).hexdigest()


def builtin() -> Corpus:
    """32,257 first names that were given in the USA in 2018 (see data/README.md).

    >>> builtin().documents[:3]
    ['emma', 'olivia', 'ava']
    """
    from importlib.resources import files as package_files  # takes milliseconds, rarely needed

    text = (package_files(__package__) / "data" / "names.txt").read_text("utf-8")
    return Corpus(read_documents(text), Origin())


def read(sources: Sequence[str], column: str | None = None, dedupe: bool = False) -> Corpus:
    """The documents of these files, in order.

    sources: "-" is standard input; "builtin:names", or no source, is the built-in list.
    column: read this column of a CSV, TSV or JSON-lines file instead of its lines.
    dedupe: keep the first of equal documents.
    Raises DataError if there are no documents, or if the text is not UTF-8.
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
            documents += read_documents(text) if column is None else _column(text, column, name)
    return _checked(documents, origin)


def read_documents(text: str) -> list[str]:
    """What `reference.read_documents` returns, in half the time: each line is stripped once."""
    return list(filter(None, map(str.strip, text.split("\n"))))


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise InputError(
            "standard input is closed", fix="name a file, or redirect one to standard input"
        )
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise InputError(
            f"cannot read standard input: {reason(error)}", fix="redirect a file or a pipe to it"
        ) from error


def from_iterable(items: Iterable[str] | os.PathLike[str]) -> Corpus:
    """The documents of a path, or of an iterable of strings (a list, a pandas Series, a generator).

    Each string is one document; line breaks in it become spaces. A single str is a TypeError,
    because it could be a path or a document.

    >>> from_iterable([" anna ", "", "bob\\nb"]).documents
    ['anna', 'bob b']
    """
    if isinstance(items, (str, bytes)):
        raise TypeError(
            "documents must be an iterable of strings or a pathlib.Path, not a single string"
        )
    if isinstance(items, os.PathLike):
        return read([os.fspath(items)])
    documents = []
    if not isinstance(items, Iterable):
        raise TypeError(
            "documents must be an iterable of strings or a pathlib.Path, "
            f"not {quote(repr(items))[1:-1]}"
        )
    for i, item in enumerate(items):
        if not isinstance(item, str):
            raise TypeError(f"document {i} is {type(item).__name__}, not str: {quote(repr(item))}")
        documents.append(one_line(item))
    return _checked([document for document in documents if document], Origin((PYTHON,)))


def one_line(text: str) -> str:
    """The text without surrounding white space; line breaks in it become spaces."""
    text = text.strip()
    return " ".join(text.split()) if "\n" in text or "\r" in text else text


# Byte order marks of other encodings. UTF-32 comes first, because its little-endian mark begins
# with that of UTF-16.
_MARKS = {
    BOM_UTF32_LE: "UTF-32",
    BOM_UTF32_BE: "UTF-32",
    BOM_UTF16_LE: "UTF-16",
    BOM_UTF16_BE: "UTF-16",
}


# How files of other kinds begin.
_BINARY = {
    b"\x1f\x8b": ("compressed with gzip", "decompress it with gunzip"),
    b"PK\x03\x04": ("a ZIP archive, or a document that is stored as one", "export it as text"),
    b"\x89PNG": ("a PNG image", ""),
    b"%PDF": ("a PDF document", "export it as text"),
    b"SQLite format 3\x00": ("an SQLite database", "export it as CSV"),
    b"PAR1": ("a Parquet table", "export it as CSV"),
}


def _refuse_binary(data: bytes, where: str) -> None:
    """Raise DataError if these bytes are no text in any encoding."""
    kind, fix = next((_BINARY[mark] for mark in _BINARY if data.startswith(mark)), ("", ""))
    if data[8:10] == b'{"' and int.from_bytes(data[:8], "little") < len(data):
        kind, fix = "a safetensors file, such as a model", "microgpt info shows what is in it"
    elif not kind and b"\0" in data and not data.startswith(tuple(_MARKS)):
        kind = "binary data"
    if kind:
        raise DataError(
            f"the file is not text: it is {kind}",
            where=where,
            fix=fix or "name a text file with one string per line",
        )


def _redirected(where: str) -> str:
    """The rest of a command that reads this file and writes another."""
    import shlex  # only this error needs it

    return "" if where == "standard input" else f" {shlex.quote(where)} > converted.txt"


def decode(data: bytes, where: str) -> str:
    """Decode UTF-8 as Python's text mode does: line breaks become \\n, a leading BOM is dropped."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse_binary(data, where)
        at = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line_start = max(data.rfind(b"\n", 0, at), data.rfind(b"\r", 0, at)) + 1
        line = data[:line_start].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
        encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "LATIN1")
        raise DataError(
            f"the text is not UTF-8: {error.reason} 0x{data[at]:02x}",
            where=f"{where}, line {line}, byte {at - line_start + 1} of the line, "
            f"byte {at + 1} of the file",
            fix=f"convert it: iconv -f {encoding} -t UTF-8{_redirected(where)}",
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _column(text: str, column: str, where: str) -> list[str]:
    """The values of one column: of JSON lines if the text begins with {, else of a table.

    A table has a header line, and its delimiter is a tab, a comma or a semicolon.
    """
    if text.lstrip().startswith("{"):
        values = [
            _json_value(line, column, where, i)
            for i, line in enumerate(text.split("\n"), 1)
            if line.strip()
        ]
    else:
        import csv
        import io

        head = text.split("\n", 1)[0]
        delimiter = next((mark for mark in "\t,;" if mark in head), ",")
        csv.field_size_limit(max(len(text), csv.field_size_limit()))  # a cell may be the whole text
        rows = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
        values, line = [], 1  # the line on which a row begins: a quoted cell may span many lines
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
                fix='a cell that begins with " must end with "; a " inside it is written twice',
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


def _no_column(column: str, place: str, columns: list[str]) -> None:
    names = ", ".join(quote(name) for name in columns[:20]) or "none"
    raise DataError(
        f"there is no column {quote(column)}", where=place, fix=f"--column with one of: {names}"
    )


_NAME_DATASET = "name the dataset: sample --novel FILE, verify --data FILE"


def read_again(origin: Origin, fingerprint: str) -> Corpus:
    """The documents, read once more from where they were read before.

    Raises DataError if they have changed or cannot be read twice, InputError if they are gone.
    """
    if not origin.repeatable:
        raise DataError(
            "the model file does not contain the documents it was trained on", fix=_NAME_DATASET
        )
    source = read(origin.sources, origin.column, origin.dedupe)
    if source.fingerprint() != fingerprint:
        raise DataError(
            "the dataset the model was trained on has changed", where=str(origin), fix=_NAME_DATASET
        )
    return source


def _checked(documents: list[str], origin: Origin) -> Corpus:
    """The dataset of these documents, deduplicated if `origin` says so. Raises DataError."""
    if origin.dedupe:
        documents = list(dict.fromkeys(documents))
    if not documents:
        raise DataError(
            "there are no documents: the text is empty or blank",
            where=str(origin),
            fix="write one string per line" if origin.sources != (PYTHON,) else "pass one or more",
        )
    text = "".join(documents)
    try:
        if not text.isascii():
            "".join(set(text)).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "a document contains a lone surrogate, which is not a character", where=str(origin)
        ) from error
    return Corpus(documents, origin)


def split(documents: list[str], held_out: float) -> tuple[list[str], list[str]]:
    """(training set, held-out set) of shuffled documents: the last ones are held out.

    held_out: their share; unless it is 0, at least one document is held out. For 0 the training set
    is the list itself, not a copy. Raises ConfigError if the training set would be empty.

    >>> split(["a", "b", "c", "d"], 0.25)
    (['a', 'b', 'c'], ['d'])
    """
    if not held_out:
        return documents, []
    count = max(1, round(held_out * len(documents)))
    if count >= len(documents):
        raise ConfigError(
            f"holding out {held_out:g} of {counted(len(documents), 'document')} leaves nothing "
            "to train on",
            where="option held_out",
            fix="a smaller share, or more documents",
        )
    return documents[:-count], documents[-count:]


class Window(NamedTuple):
    """A piece of a document: the tokens that one block predicts, from token `start` on."""

    document: str
    start: int

    def text(self, block_size: int) -> str:
        """The characters of the piece."""
        return self.document[max(self.start - 1, 0) : self.start + block_size]


def windows(document: str, block_size: int) -> Iterator[Window]:
    """The pieces of a document, each of at most block_size + 1 tokens.

    A piece begins with the last token of the one before. So every token after the first is
    predicted exactly once, from the tokens before it in its piece.

    >>> [window.start for window in windows("abcdefgh", 4)]
    [0, 4, 8]
    """
    return (Window(document, start) for start in range(0, len(document) + 1, block_size))
