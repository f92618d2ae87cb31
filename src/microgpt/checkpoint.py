"""A model in one safetensors file: weights, optimiser, and in the header everything to go on from.

The file is written here rather than by the safetensors package because its hash covers the header
too, its bytes are the same for the same model, and reading it trusts nothing: size, header, offsets
and hash are checked before a tensor is made. The official reader opens it; a test says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
from array import array
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, NoReturn

from . import files
from .config import Config
from .corpus import Corpus, Origin
from .engines import State
from .errors import CheckpointError, ConfigError, DataError, DivergedError
from .randomness import Draws
from .tokenizer import Tokenizer

FORMAT_VERSION = "1"
HEADER_LIMIT = 4 << 20  # bytes of JSON
ITEMS_LIMIT = 100_000  # of its values; 256 layers have 28,000
_KEYS = {"format", "format_version", "config", "alphabet", "rng_state", "data", "step", "sha256"}
_UNHASHED = "0" * 64  # stands in the hash's place while the hash is taken
_LOWER = "lower the learning rate"
_STATE = {"": "parameters", "m.": "m", "v.": "v"}  # tensor name prefix -> field of State


@dataclass(frozen=True)
class Data:
    """What a model was trained on: where it was read, SHA-256 of the documents, how many they are."""

    origin: Origin
    fingerprint: str
    documents: int

    @classmethod
    def of(cls, source: Corpus) -> Data:
        """The entry for these documents."""
        return cls(source.origin, source.fingerprint(), len(source.documents))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Data:
        """The inverse of `asdict`. Raises ValueError or TypeError on anything else."""
        origin = values.pop("origin")
        sources = tuple(origin.pop("sources"))
        self = cls(Origin(sources, **origin), **values)
        types = [
            type(value)
            for value in (*sources, self.origin.dedupe, self.fingerprint, self.documents)
        ]
        if not sources or types != [str] * len(sources) + [bool, str, int]:
            raise ValueError("the data's entries are not where, hash and number")
        if not isinstance(self.origin.column, str | None):
            raise ValueError("the data's column is not a name")
        return self


@dataclass
class Checkpoint:
    """A training run at rest."""

    config: Config
    tokenizer: Tokenizer
    state: State
    draws: Draws
    data: Data


def save(path: files.StrPath, checkpoint: Checkpoint, *, locked: bool = False) -> None:
    """Write the checkpoint, all or nothing; `locked` says that the caller holds the path's lock."""
    (files.write if locked else files.save)(path, to_bytes(checkpoint))


def load(path: files.StrPath) -> Checkpoint:
    """Read a checkpoint; any byte changed since it was written is a CheckpointError."""
    try:
        start = files.first_bytes(path, 8 + HEADER_LIMIT)
        if start:
            _header(start)  # a large file of another kind is refused before it is read whole
        return from_bytes(files.read(path))
    except CheckpointError as error:
        raise CheckpointError(error.what, where=os.fspath(path), fix=error.fix) from error.__cause__


def is_ours(start: bytes) -> bool:
    """Whether these first bytes of a file are a checkpoint's."""
    return b'"format":"microgpt"' in start[8:200]


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The file's content. The same checkpoint gives the same bytes.

    Raises DivergedError when a number is not finite: such a model is never written.
    """
    state = checkpoint.state
    if not _finite(state):
        raise DivergedError(
            f"the model of step {state.step} is not finite, so it is not saved", fix=_LOWER
        )
    metadata = {
        "format": "microgpt",
        "format_version": FORMAT_VERSION,
        "sha256": _UNHASHED,
        "step": str(state.step),
        "config": json.dumps(checkpoint.config.to_dict()),
        "alphabet": json.dumps("".join(checkpoint.tokenizer.alphabet), ensure_ascii=False),
        "data": json.dumps(asdict(checkpoint.data)),
        "rng_state": checkpoint.draws.state(),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    header |= _layout(checkpoint.config, checkpoint.tokenizer.vocab_size)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format wants the payload aligned
    payload = b"".join(map(little_endian, (state.parameters, state.m, state.v)))
    unhashed = struct.pack("<Q", len(text)) + text
    digest = hashlib.sha256(unhashed + payload).hexdigest().encode()
    return unhashed.replace(_UNHASHED.encode(), digest, 1) + payload


def _layout(config: Config, vocab_size: int) -> dict[str, dict[str, Any]]:
    """The tensors' part of the header: the weights, then Adam's moments, without gaps."""
    layout, start = {}, 0
    for prefix in _STATE:
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
    """The inverse of `to_bytes`. Anything that it did not write is a CheckpointError."""
    header, start = _header(data)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != "microgpt":
        _fail("this is not a microgpt model", "train one: microgpt train FILE")
    if metadata.get("format_version") != FORMAT_VERSION:
        _fail(
            "the model was written by a version of microgpt this one cannot read",
            "upgrade microgpt",
        )
    if set(metadata) != _KEYS or not all(isinstance(value, str) for value in metadata.values()):
        _fail("the header's entries are not those of a model")
    if not _intact(data, start, metadata["sha256"]):
        _fail(
            "the file was changed or damaged: its SHA-256 does not fit",
            "use a copy, or train again",
        )
    try:
        config = Config.from_dict(_parsed(metadata["config"]))
        tokenizer = _tokenizer(_parsed(metadata["alphabet"]))
        draws = Draws.from_state(metadata["rng_state"])
        source = Data.from_dict(_parsed(metadata["data"]))
        step = int(metadata["step"])
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
        _fail("the header's tensors are not those of its configuration")
    return Checkpoint(
        config, tokenizer, _state(data, start, config, tokenizer, step), draws, source
    )


def _intact(data: bytes, start: int, claimed: str) -> bool:
    """Whether this is the SHA-256 of the file with zeros in its place."""
    if len(claimed) != 64 or not claimed.isascii():
        return False
    found = hashlib.sha256(data[:start].replace(claimed.encode(), _UNHASHED.encode(), 1))
    found.update(memoryview(data)[start:])
    return found.hexdigest() == claimed


def _tokenizer(alphabet: Any) -> Tokenizer:
    if not isinstance(alphabet, str) or not alphabet or len(set(alphabet)) < len(alphabet):
        raise ValueError("the alphabet is not a string of different characters")
    alphabet.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return Tokenizer(alphabet)


def _finite(state: State) -> bool:
    # A sum is quick; it may overflow where no number does.
    return all(
        isfinite(sum(part)) or all(map(isfinite, part))
        for part in (state.parameters, state.m, state.v)
    )


def _state(data: bytes, start: int, config: Config, tokenizer: Tokenizer, step: int) -> State:
    size = 8 * config.parameter_count(tokenizer.vocab_size)
    if len(data) - start != size * len(_STATE):
        _fail(f"expected {size * len(_STATE):,} bytes of tensors, found {len(data) - start:,}")
    payload = memoryview(data)[start:]
    parameters, m, v = (
        _from_little_endian(payload[i * size : (i + 1) * size]) for i in range(len(_STATE))
    )
    state = State(parameters, m, v, step)
    if not _finite(state):
        _fail("the model's numbers are not finite", "train again")
    return state


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The JSON header and where the tensors begin."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        _fail(
            "this is not a safetensors file, or it was cut short",
            "train a model: microgpt train FILE",
        )
    if length > HEADER_LIMIT:
        _fail(f"the header is {length:,} bytes long; at most {HEADER_LIMIT:,} are read")
    try:
        text = data[8 : 8 + length].decode()
        if (
            sum(map(text.count, ",[{")) > ITEMS_LIMIT
        ):  # a value may take 30 times its text in memory
            _fail(f"the header has more than {ITEMS_LIMIT:,} values")
        header = _parsed(text)
    except (ValueError, RecursionError) as error:
        _fail(f"the header is not JSON: {error}")
    if not isinstance(header, dict):
        _fail("the header is not a JSON object")
    return header, 8 + length


def _parsed(text: str) -> Any:
    """Strict JSON: no name twice, no NaN or infinity."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, object_pairs_hook=once, parse_constant=refuse)


def little_endian(numbers: array[float]) -> bytes:
    """The numbers as they stand in files, whatever this machine's byte order."""
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
