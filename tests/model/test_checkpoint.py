"""A model file (promises R5, R6, R7): read back bit for bit, or refused.

What is damaged, forged or of another kind is a CheckpointError, in bounded memory, and no code is
run.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import time
import zipfile
from array import array

import numpy
import pytest
import safetensors
import safetensors.numpy
from conftest import sizes
from helpers import checkpoint_after, data_entry, forged, in_child, opened, sealed
from hypothesis import given, settings
from hypothesis import strategies as st

from microgpt import checkpoint
from microgpt.checkpoint import Checkpoint, Data, from_bytes, to_bytes
from microgpt.config import Config
from microgpt.corpus import Origin
from microgpt.engines import State
from microgpt.errors import CheckpointError, DivergedError, InputError
from microgpt.randomness import Draws
from microgpt.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def model() -> Checkpoint:
    return checkpoint_after(3)


@pytest.fixture(scope="module")
def data(model) -> bytes:
    return to_bytes(model)


@pytest.fixture(scope="module")
def small() -> bytes:
    """The smallest file there is: one character, one number a vector."""
    return to_bytes(checkpoint_after(1, names=["a"], n_embd=1, n_head=1, block_size=1))


# ---- what is written is read
# ----------------------------------------------------------------------


def test_the_official_reader_finds_the_same_tensors_and_metadata(model, data, tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, model)
    assert path.read_bytes() == data
    tensors = safetensors.numpy.load_file(path)
    names = list(model.config.shapes(model.tokenizer.vocab_size))
    for prefix, numbers in (
        ("", model.state.parameters),
        ("m.", model.state.m),
        ("v.", model.state.v),
    ):
        flat = numpy.concatenate([tensors.pop(prefix + name).ravel() for name in names])
        assert flat.dtype == numpy.float64
        assert flat.tobytes() == numbers.tobytes()
    assert not tensors
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
    assert json.loads(metadata["config"]) == model.config.to_dict()
    assert json.loads(metadata["alphabet"]) == "".join(model.tokenizer.alphabet)
    assert metadata["step"] == "3"


FINITE = st.floats(allow_nan=False, allow_infinity=False)
CHARACTERS = st.characters(exclude_categories=["Cs"])


@st.composite
def checkpoints(draw) -> Checkpoint:
    alphabet = sorted(draw(st.sets(CHARACTERS, min_size=1, max_size=6)))
    n_head = draw(st.integers(1, 2))
    config = Config(
        n_layer=draw(st.integers(1, 2)),
        n_head=n_head,
        n_embd=n_head * draw(st.integers(1, 2)),
        block_size=draw(st.integers(1, 3)),
        learning_rate=draw(st.floats(1e-300, 1e12)),
        seed=draw(st.integers(0, 2**64 - 1)),
        held_out=draw(st.floats(0, 0.9)),
    )
    tokenizer = Tokenizer(alphabet)
    size = config.parameter_count(tokenizer.vocab_size)
    some = draw(st.lists(FINITE, min_size=1, max_size=20))
    parts = [array("d", [some[(i + k) % len(some)] for i in range(size)]) for k in range(3)]
    draws = Draws(config.seed)
    draws.weights([(1, draw(st.integers(0, 3)))], 1.0)  # an odd number leaves a Gaussian in store
    sources = tuple(draw(st.lists(st.text(), min_size=1, max_size=3)))
    origin = Origin(sources, draw(st.none() | st.text()), draw(st.booleans()))
    data = Data(origin, "f" * 64, draw(st.integers(1, 2**40)))
    return Checkpoint(config, tokenizer, State(*parts, draw(st.integers(0, 1000))), draws, data)


@settings(max_examples=100, deadline=None)
@given(checkpoints())
def test_a_round_trip_keeps_every_bit(before):
    data = to_bytes(before)
    after = from_bytes(data)
    assert (after.config, after.data) == (before.config, before.data)
    assert after.tokenizer.alphabet == before.tokenizer.alphabet
    for part in ("parameters", "m", "v"):
        assert getattr(after.state, part).tobytes() == getattr(before.state, part).tobytes()
    assert after.state.step == before.state.step
    assert to_bytes(after) == data
    assert after.draws.weights([(1, 3)], 1.0) == before.draws.weights([(1, 3)], 1.0)
    safetensors.numpy.load(data)


@pytest.mark.parametrize("count", sizes(2_000, 20_000, 600_000))
def test_an_alphabet_of_many_characters_still_fits_the_header(count):
    alphabet = [chr(c) for c in range(0x20, 0x110000) if not 0xD800 <= c < 0xE000][-count:]
    model = checkpoint_after(0, names=["a"], n_embd=1, n_head=1, block_size=1)
    zeros = array("d", bytes(8 * model.config.parameter_count(count + 1)))
    model = model._replace(tokenizer=Tokenizer(alphabet), state=State(zeros, zeros, zeros))
    assert from_bytes(to_bytes(model)).tokenizer.alphabet == tuple(alphabet)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["parameters", "m", "v"])
def test_numbers_that_are_not_finite_are_neither_saved_nor_loaded(
    model, data, tmp_path, part, value
):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    planted = from_bytes(data)
    getattr(planted.state, part)[5] = value
    with pytest.raises(DivergedError) as raised:
        checkpoint.save(path, planted)
    assert raised.value.exit_code == 3
    assert path.read_bytes() == data
    _, payload = opened(data)
    at = 8 * 5 + {"parameters": 0, "m": 1, "v": 2}[part] * len(payload) // 3
    payload = payload[:at] + struct.pack("<d", value) + payload[at + 8 :]
    with pytest.raises(CheckpointError, match="not finite"):
        from_bytes(sealed(data[8 : -len(payload)], payload))


# ---- what is damaged is noticed
# -------------------------------------------------------------------


@pytest.mark.parametrize("stride", sizes(13, 1))
def test_no_flip_of_a_single_bit_goes_unnoticed(small, stride):
    broken = bytearray(small)
    for at in range(0, len(small), stride):
        for bit in range(8):
            broken[at] ^= 1 << bit
            with pytest.raises(CheckpointError):
                from_bytes(bytes(broken))
            broken[at] ^= 1 << bit
    assert from_bytes(bytes(broken))


def test_no_truncation_goes_unnoticed_nor_does_anything_added(small):
    for length in range(len(small)):
        with pytest.raises(CheckpointError):
            from_bytes(small[:length])
    for more in (b"\0", b" ", small):
        with pytest.raises(CheckpointError):
            from_bytes(small + more)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The file after one accident to its bytes."""
    a, b = sorted(rng.sample(range(len(data)), 2))
    c = rng.randrange(len(data))
    return rng.choice(
        [
            lambda: data[:a] + rng.randbytes(rng.randint(1, 16)) + data[b:],
            lambda: data[:a] + data[b:],
            lambda: data[:c] + data[a:b] + data[c:],
            lambda: data[:a] + bytes(b - a) + data[b:],
            lambda: rng.randbytes(8) + data[8:],
            lambda: (
                struct.pack("<Q", rng.choice([0, 1, len(data), 2**32, 2**63, 2**64 - 1])) + data[8:]
            ),
        ]
    )()


NASTY = [
    "NaN", "Infinity", "-1", "0", "1e999", "1" * 400, "1" * 5000, "2.5", "true", "null", '""',
    '"\\ud800"', "[]", "{}",
    "[" * 50_000, '{"a":1,"a":1}', '"' + "x" * 1000 + '"', "18446744073709551616",
    '"%2000000000d"', "[[1,2],3]",
]  # fmt: skip


def tampered(rng: random.Random, data: bytes) -> bytes:
    """The file with a value of its header replaced by something nasty, and a hash that fits."""
    start = 8 + int.from_bytes(data[:8], "little")
    header, nasty = data[8:start].decode(), rng.choice(NASTY)
    ends = [i for i, c in enumerate(header) if c in ':,[]{}"']
    a = rng.choice(ends[:-1])
    b = rng.choice([end for end in ends if end > a][:6])
    within_string = rng.random() < 0.5 and header[:a].count('"') % 2
    text = header[: a + 1] + (json.dumps(nasty)[1:-1] if within_string else nasty) + header[b:]
    return sealed(text.encode(), data[start:])


@pytest.mark.parametrize("count", sizes(1_000, 10_000, 500_000))
@pytest.mark.parametrize("mutate", [damaged, tampered])
def test_mutants_are_checkpoint_errors_or_models_and_never_slow(data, mutate, count):
    rng = random.Random(20_261_121)
    slowest = 0.0
    for i in range(count):
        mutant = mutate(rng, data)
        began = time.process_time()
        try:
            found = from_bytes(mutant)
        except CheckpointError:
            found = None
        except Exception as error:
            raise AssertionError(f"mutant {i} of seed 20261121 is a {error!r}") from error
        slowest = max(slowest, time.process_time() - began)
        if found is not None:  # an edit that keeps the format, such as another source
            assert mutate is tampered or mutant == data
            assert to_bytes(found)
    assert slowest < 0.5


@pytest.mark.parametrize(
    "entries",
    [
        {"alphabet": '["a","b"]'},
        {"alphabet": '""'},
        {"alphabet": '"ba"'},
        {"alphabet": '"aab"'},
        {"alphabet": '"\\ud800"'},
        {"data": json.dumps(data_entry(5))},
        {"data": json.dumps(data_entry("x", documents="1"))},
        {"data": json.dumps(data_entry("x", column=3))},
        {"data": '{"fingerprint":"x","documents":1}'},
        {"step": "-1"},
        {"step": "5"},
        {"step": "x"},
        {"step": "0_3"},
        {"step": " 3 "},
        {"step": "03"},
        {"step": "+3"},
        {"step": "\u0663"},
        {"format": "other"},
        {"format_version": "3"},
        {"format_version": "1"},
        {"made_by": "{}"},
        {"made_by": "[]"},
        {"unknown": "x"},
        {"rng_state": json.dumps([2, ["%2000000000d"] * 625, None])},
        {"rng_state": json.dumps([3, [0] * 624 + [625], None])},
        {"rng_state": json.dumps([3, [0] * 625, float("nan")])},
        {"rng_state": json.dumps([3, [-1] * 625, None])},
        {"rng_state": "[" * 100_000},
        {"config": "[]"},
        {"config": "{}"},
    ],
    ids=lambda entries: (
        " ".join(f"{k}={v[:30]}" for k, v in entries.items()).encode("ascii", "replace").decode()
    ),
)
def test_a_forged_entry_with_a_fitting_hash_is_refused(data, entries):
    with pytest.raises(CheckpointError):
        from_bytes(forged(data, **entries))


@pytest.mark.parametrize("digest", ["\\ud800" * 64, "\\u00e9" * 64, "", "0" * 64, "A" * 64])
def test_what_is_no_hash_is_refused(data, digest):
    header, payload = opened(data)
    text = data[8 : -len(payload)].replace(
        header["__metadata__"]["sha256"].encode(), digest.encode()
    )
    with pytest.raises(CheckpointError, match="SHA-256"):
        from_bytes(len(text).to_bytes(8, "little") + text + payload)


def test_bad_offsets_with_a_fitting_hash_are_refused(data):
    for name, offsets in (
        ("wpe", [0, 8]),
        ("wte", [0, 2**63]),
        ("wte", [8, 0]),
        ("lm_head", [-8, 0]),
    ):
        header, payload = opened(data)
        header[name]["data_offsets"] = offsets
        with pytest.raises(CheckpointError):
            from_bytes(sealed(json.dumps(header, separators=(",", ":")).encode(), payload))


def test_nasty_headers_take_no_more_than_the_file_and_32_mb(data, tmp_path):
    full = checkpoint.HEADER_LIMIT
    headers = [
        (b"[" + b"[]," * (full // 3))[: full - 1] + b"]",
        b"[" * full,
        b'{"a":' * (full // 5),
        (b"[" + b"1e5," * (full // 4))[: full - 4] + b"1 ] ",
        b'{"__metadata__":"' + b"x" * (full - 30) + b'"}',
        b" " * full,
        b"1" * full,
    ]
    files = [len(h).to_bytes(8, "little") + h for h in headers]
    files += [
        forged(data, alphabet='"' + "a" * (3 << 20) + '"'),
        forged(data, config="[" * (3 << 20)),
    ]
    config = opened(data)[0]["__metadata__"]["config"]
    files += [
        forged(data, config=json.dumps(json.loads(config) | {"n_embd": 65_536, "n_layer": 256}))
    ]
    path = tmp_path / "model.safetensors"
    for i, content in enumerate(files):
        path.write_bytes(content)

        def load() -> int:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with pytest.raises(CheckpointError):
                checkpoint.load(path)
            return min(250, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

        assert in_child(load) <= len(content) / 1e6 + 32, f"file {i}"


# ---- what is no model of ours
# ---------------------------------------------------------------------


class Bomb:
    """Unpickled, it would make a file."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def others() -> dict[str, bytes]:
    """Files of other kinds."""
    archive, arrays = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model/data.pkl", pickle.dumps(Bomb()))
    numpy.savez(arrays, wte=numpy.zeros(3))
    return {
        "empty": b"",
        "text": b"anna\nbob\n" * 100,
        "pickle": pickle.dumps(Bomb()),
        "zip": archive.getvalue(),
        "npz": arrays.getvalue(),
        "gzip": gzip.compress(b"anna" * 100),
        "gguf": b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60) + bytes(100),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(2000),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(2000),
        "zeros": bytes(2000),
        "safetensors of another program": safetensors.numpy.save({"wte": numpy.zeros(3)}),
        "the same with metadata": safetensors.numpy.save({"wte": numpy.zeros(3)}, {"format": "pt"}),
    }


@pytest.mark.parametrize("kind", others())
def test_a_file_of_another_kind_is_refused_and_nothing_in_it_runs(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(others()[kind])
    with pytest.raises(CheckpointError) as raised:
        checkpoint.load(path)
    assert raised.value.exit_code == 65
    assert raised.value.where == str(path)
    assert os.listdir() == ["model.safetensors"]


def test_special_files_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero", tmp_path / "none"):
        with pytest.raises(InputError):
            checkpoint.load(path)


def test_loading_opens_this_file_alone_and_runs_no_code(model, data, tmp_path):
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    checkpoint.save(good, model)
    source = data_entry("/etc/passwd", "os.system")
    bad.write_bytes(forged(data, data=json.dumps(source)))
    script = """
import sys
from microgpt import checkpoint
events, on = [], True
sys.addaudithook(lambda name, args: events.append((name, args[:1])) if on else None)
for path in sys.argv[1:]:
    checkpoint.load(path)
on = False
harmless = {"builtins.id", "array.__new__"}  # of strict JSON, of the tensors
for name, args in events:
    if name in harmless:
        continue
    if not (name == "open" and (args[0] in sys.argv[1:] or isinstance(args[0], int))):
        print(name, args)
print(len(events))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, good, bad], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip().isdigit(), f"beside opening the file: {ran.stdout}"
    assert int(ran.stdout) >= 2, "the hook saw nothing"
