"""A checkpoint: a training run saved in one safetensors file, which is also called a model file.

The tensors are the weights and the optimizer's two moments. The header's metadata holds the rest
that training needs to continue: configuration, alphabet, random state, step, and what the data was.

This module writes the file itself, without the safetensors package, for three reasons. The SHA-256
covers the header too. The same model gives the same bytes. And reading trusts nothing: size,
header, offsets and SHA-256 are checked before a tensor is made. A test opens the files with the
official reader.

Format versions, in the order in which they were introduced:

    1   the share of held-out documents is called "val" in the configuration; no entry "made_by"
    2   it is called "held_out"; "made_by" says which engine trained the model, and where
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
from array import array
from math import isfinite
from typing import Any, NamedTuple, NoReturn

from . import files
from .config import Config
from .corpus import Corpus, Origin
from .engines import State
from .errors import CheckpointError, ConfigError, DataError, DivergedError, counted
from .made_by import MadeBy
from .randomness import Draws
from .tokenizer import Tokenizer

FORMAT_VERSION = "2"
HEADER_LIMIT = 4 << 20  # bytes of JSON
ITEMS_LIMIT = 100_000  # values in that JSON; a model of 256 layers has 28,000
_KEYS = {"format", "format_version", "config", "alphabet", "rng_state", "data", "step", "sha256"}
_KEYS_OF = {"1": _KEYS, "2": _KEYS | {"made_by"}}  # format version -> entries of the metadata
_UNHASHED = "0" * 64  # in place of the SHA-256 while it is computed
_TENSORS = {"": "parameters", "m.": "m", "v.": "v"}  # prefix of a tensor's name -> field of State


class Data(NamedTuple):
    """What a model was trained on.

    origin: where the documents were read. fingerprint: SHA-256 of all of them. documents: how many.
    """

    origin: Origin
    fingerprint: str
    documents: int

    @classmethod
    def of(cls, source: Corpus) -> Data:
        """The entry for these documents."""
        return cls(source.origin, source.fingerprint(), len(source.documents))

    def require(self, source: Corpus, where: str, fix: str) -> None:
        """Raise DataError unless these are the documents that the model was trained on."""
        if source.fingerprint() == self.fingerprint:
            return
        here = len(source.documents)
        why = f"{counted(here, 'document')} here, {self.documents:,} there"
        if here == self.documents:
            why = "the same number, but other ones or in another order"
        raise DataError(
            f"these are not the documents the model was trained on: {why}", where=where, fix=fix
        )

    def to_dict(self) -> dict[str, Any]:
        """The entry as it is in a model file."""
        return {**self._asdict(), "origin": self.origin._asdict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Data:
        """The inverse of `to_dict`. Raises ValueError or TypeError on anything else."""
        origin = values.pop("origin")
        sources = tuple(origin.pop("sources"))
        self = cls(Origin(sources, **origin), **values)
        types = [
            type(value)
            for value in (*sources, self.origin.dedupe, self.fingerprint, self.documents)
        ]
        if not sources or types != [str] * len(sources) + [bool, str, int]:
            raise ValueError("the entry data must hold sources, a fingerprint and a number")
        if not isinstance(self.origin.column, str | None):
            raise ValueError("the column of the entry data must be a string")
        return self


class Checkpoint(NamedTuple):
    """A training run between two steps. draws: the stream of random numbers as it stands there."""

    config: Config
    tokenizer: Tokenizer
    state: State
    draws: Draws
    data: Data
    made_by: MadeBy = MadeBy()

    def weights_sha256(self) -> str:
        """SHA-256 of the weights alone, as little-endian float64 in file order.

        Two models with the same weights have the same one, whatever made them.
        """
        return hashlib.sha256(little_endian(self.state.parameters)).hexdigest()


def save(path: files.StrPath, checkpoint: Checkpoint, *, locked: bool = False) -> None:
    """Write all of the checkpoint or nothing. locked: the caller already holds `files.lock`."""
    (files.write if locked else files.save)(path, to_bytes(checkpoint))


def load(path: files.StrPath) -> Checkpoint:
    """Read a checkpoint. Raises CheckpointError if any byte has changed since it was written."""
    try:
        start = files.first_bytes(path, 8 + HEADER_LIMIT)
        if start:
            _header(start)  # refuses a large file of another kind before all of it is read
        return from_bytes(files.read(path))
    except CheckpointError as error:
        raise CheckpointError(error.what, where=os.fspath(path), fix=error.fix) from error.__cause__


def is_ours(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a checkpoint."""
    return b'"format":"microgpt"' in start[8:200]


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The content of the file. The same checkpoint gives the same bytes.

    Raises DivergedError if a number is not finite: such a model is never saved. Raises
    CheckpointError if an entry of made_by is one that `from_bytes` would refuse.
    """
    state, made_by = checkpoint.state, checkpoint.made_by._asdict()
    try:
        MadeBy.from_dict(made_by)
    except ValueError as error:
        _fail(f"the model cannot be saved: {error}")
    if not _finite(state):
        raise DivergedError(
            f"the model of step {state.step} is not finite, so it is not saved",
            fix="lower the learning rate",
        )
    metadata = {
        "format": "microgpt",
        "format_version": FORMAT_VERSION,
        "sha256": _UNHASHED,
        "step": str(state.step),
        "config": json.dumps(checkpoint.config.to_dict()),
        "alphabet": json.dumps("".join(checkpoint.tokenizer.alphabet), ensure_ascii=False),
        "data": json.dumps(checkpoint.data.to_dict()),
        "made_by": json.dumps(made_by),
        "rng_state": checkpoint.draws.state(),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    header |= _layout(checkpoint.config, checkpoint.tokenizer.vocab_size)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    payload = b"".join(map(little_endian, (state.parameters, state.m, state.v)))
    unhashed = struct.pack("<Q", len(text)) + text
    digest = hashlib.sha256(unhashed + payload).hexdigest().encode()
    return unhashed.replace(_UNHASHED.encode(), digest, 1) + payload


def _layout(config: Config, vocab_size: int) -> dict[str, dict[str, Any]]:
    """The header's entries for the tensors: the weights, then the two moments, without gaps."""
    layout, start = {}, 0
    for prefix in _TENSORS:
        for name, shape in config.shapes(vocab_size).items():
            end = start + 8 * shape[0] * shape[1]
            layout[prefix + name] = {
                "dtype": "F64",
                "shape": list(shape),
                "data_offsets": [start, end],
            }
            start = end
    return layout


def from_bytes(data: bytes) -> Checkpoint:
    """The inverse of `to_bytes`; also reads format version 1. Raises CheckpointError."""
    header, start = _header(data)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != "microgpt":
        _fail("this is not a microgpt model", "train one: microgpt train FILE")
    version = metadata.get("format_version")
    if not isinstance(version, str) or version not in _KEYS_OF:
        _fail(
            "the model file was written by a newer version of microgpt, which this one cannot read",
            "upgrade microgpt",
        )
    keys = _KEYS_OF[version]
    if set(metadata) != keys or not all(isinstance(value, str) for value in metadata.values()):
        _fail("the header's entries are not those of a model")
    if not _intact(data, start, metadata["sha256"]):
        _fail(
            "the file was changed or damaged: its SHA-256 does not match",
            "use a copy of the file, or train again",
        )
    try:
        config = _config(strict_json(metadata["config"]), version)
        tokenizer = _tokenizer(strict_json(metadata["alphabet"]))
        draws = Draws.from_state(metadata["rng_state"])
        source = Data.from_dict(strict_json(metadata["data"]))
        made_by = MadeBy.from_dict(strict_json(metadata.get("made_by", _UNKNOWN)))
        step = _step(metadata["step"])
        config.check_memory(tokenizer.vocab_size)
    except (ConfigError, DataError) as error:
        _fail(f"the header is wrong: {error.what}")
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        _fail(f"the header is wrong: {error}")
    if header != _layout(config, tokenizer.vocab_size) or not 0 <= step <= config.num_steps:
        _fail("the header's tensors do not match its configuration")
    state = _state(data, start, config, tokenizer, step)
    return Checkpoint(config, tokenizer, state, draws, source, made_by)


_UNKNOWN = json.dumps(MadeBy()._asdict())


def _step(text: str) -> int:
    """The number that `to_bytes` writes as this text, and only that."""
    step = int(text)
    if str(step) != text:
        raise ValueError("the step must be a number in ASCII digits")
    return step


def _config(values: Any, version: str) -> Config:
    if version == "1":
        if "held_out" in values:
            raise ValueError("the configuration has a name of a later version, held_out")
        values["held_out"] = values.pop("val")
    return Config.from_dict(values)


def _intact(data: bytes, start: int, claimed: str) -> bool:
    """Whether `claimed` is the SHA-256 of the file with zeros in place of `claimed`."""
    if len(claimed) != 64 or not claimed.isascii():
        return False
    actual = hashlib.sha256(data[:start].replace(claimed.encode(), _UNHASHED.encode(), 1))
    actual.update(memoryview(data)[start:])
    return actual.hexdigest() == claimed


def _tokenizer(alphabet: Any) -> Tokenizer:
    if not isinstance(alphabet, str) or not alphabet or len(set(alphabet)) < len(alphabet):
        raise ValueError("the alphabet must be a string of different characters")
    alphabet.encode()  # raises UnicodeEncodeError, a ValueError, for a lone surrogate
    return Tokenizer(alphabet)


def _finite(state: State) -> bool:
    # A sum is quick, but it may overflow although every number is finite.
    return all(
        isfinite(sum(part)) or all(map(isfinite, part))
        for part in (state.parameters, state.m, state.v)
    )


def _state(data: bytes, start: int, config: Config, tokenizer: Tokenizer, step: int) -> State:
    size = 8 * config.parameter_count(tokenizer.vocab_size)
    if len(data) - start != size * len(_TENSORS):
        _fail(f"the file has {len(data) - start:,} bytes of tensors, not {size * len(_TENSORS):,}")
    payload = memoryview(data)[start:]
    parameters, m, v = (
        _from_little_endian(payload[i * size : (i + 1) * size]) for i in range(len(_TENSORS))
    )
    state = State(parameters, m, v, step)
    if not _finite(state):
        _fail("the model's numbers are not finite", "train again")
    return state


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The JSON header, and the offset of the tensors."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        _fail(
            "this is not a safetensors file, or it was cut short",
            "train a model: microgpt train FILE",
        )
    if length > HEADER_LIMIT:
        _fail(f"the header is {length:,} bytes long; the limit is {HEADER_LIMIT:,}")
    try:
        text = data[8 : 8 + length].decode()
        # Checked before parsing: a value may take 30 times the memory of its text.
        if sum(map(text.count, ",[{")) > ITEMS_LIMIT:
            _fail(f"the header has more than {ITEMS_LIMIT:,} values")
        header = strict_json(text)
    except (ValueError, RecursionError) as error:
        _fail(f"the header is not JSON: {error}")
    if not isinstance(header, dict):
        _fail("the header is not a JSON object")
    return header, 8 + length


def strict_json(text: str) -> Any:
    """Parse strict JSON: no duplicate names, no NaN and no infinity. Raises ValueError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            raise ValueError("an object has a duplicate name")
        return values

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)


def little_endian(numbers: array[float]) -> bytes:
    """The numbers' bytes as in a file, whatever this machine's byte order is."""
    if sys.byteorder == "big":
        numbers = array("d", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _from_little_endian(data: memoryview) -> array[float]:
    numbers = array("d")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _fail(what: str, fix: str = "") -> NoReturn:
    raise CheckpointError(what, fix=fix)
