"""The header of a model file is read strictly (promise R6), even where its hash is right."""

from __future__ import annotations

import json

import pytest
from helpers import checkpoint_after, forged, opened, sealed

from microgpt.checkpoint import HEADER_LIMIT, from_bytes, to_bytes
from microgpt.errors import CheckpointError


@pytest.fixture(scope="module")
def data() -> bytes:
    return to_bytes(checkpoint_after(1, names=["ab"], n_embd=1, n_head=1, block_size=2))


def with_header(data: bytes, old: str, new: str) -> bytes:
    """The file with that change in its header's text, and a hash that fits."""
    header, payload = opened(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    assert text.count(old) == 1
    encoded = text.replace(old, new).encode()
    return sealed(encoded + b" " * (-len(encoded) % 8), payload)


def test_a_name_that_occurs_twice_in_the_header_is_refused(data: bytes) -> None:
    assert from_bytes(with_header(data, '"step":"1"', '"step":"1"'))
    with pytest.raises(CheckpointError):
        from_bytes(with_header(data, '"step":"1"', '"step":"0","step":"1"'))
    with pytest.raises(CheckpointError):
        from_bytes(with_header(data, '"step":"1"', '"step":"1","step":"1"'))


def test_a_name_that_occurs_twice_in_an_entry_is_refused(data: bytes) -> None:
    config = opened(data)[0]["__metadata__"]["config"]
    with pytest.raises(CheckpointError):
        from_bytes(forged(data, config=config.replace("{", '{"n_embd": 1, ', 1)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_only_pythons_json_knows_is_refused(data: bytes, number: str) -> None:
    config = json.loads(opened(data)[0]["__metadata__"]["config"])
    assert "learning_rate" in config
    text = json.dumps(config | {"learning_rate": "X"}).replace('"X"', number)
    with pytest.raises(CheckpointError, match="not JSON"):
        from_bytes(forged(data, config=text))


def test_a_lone_surrogate_in_an_alphabet_of_the_right_size_is_refused(data: bytes) -> None:
    assert json.loads(opened(data)[0]["__metadata__"]["alphabet"]) == "ab"
    assert from_bytes(forged(data, alphabet='"ac"')).tokenizer.alphabet == ("a", "c")
    with pytest.raises(CheckpointError):
        from_bytes(forged(data, alphabet='"a\\ud800"'))


@pytest.mark.parametrize("step", ["-1", "13", "1.0", ""])
def test_a_step_outside_the_run_is_refused(data: bytes, step: str) -> None:
    assert json.loads(opened(data)[0]["__metadata__"]["config"])["num_steps"] < 13
    with pytest.raises(CheckpointError):
        from_bytes(forged(data, step=step))


@pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 65, "é" * 64])
def test_a_hash_of_another_form_is_refused(data: bytes, sha256: str) -> None:
    header, payload = opened(data)
    header["__metadata__"]["sha256"] = sha256
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with pytest.raises(CheckpointError, match="SHA-256"):
        from_bytes(len(text).to_bytes(8, "little") + text + payload)


def test_a_header_longer_than_the_limit_is_refused(data: bytes) -> None:
    header, payload = opened(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    assert from_bytes(sealed(text.ljust(HEADER_LIMIT), payload))
    with pytest.raises(CheckpointError, match="header"):
        from_bytes(sealed(text.ljust(HEADER_LIMIT + 8), payload))


@pytest.mark.parametrize("change", [8, -8, 1])
def test_a_payload_of_another_size_is_refused_though_its_hash_fits(
    data: bytes, change: int
) -> None:
    header, payload = opened(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    changed = payload + bytes(change) if change > 0 else payload[:change]
    with pytest.raises(CheckpointError):
        from_bytes(sealed(text + b" " * (-len(text) % 8), changed))


@pytest.mark.parametrize("names", [["a"], ["ab"], ["abc"], ["abcd", "efgh"], ["é" * 3 + "ö"]])
def test_the_tensors_begin_at_a_multiple_of_eight_bytes(names: list[str]) -> None:
    data = to_bytes(checkpoint_after(1, names=names, n_embd=1, n_head=1, block_size=2))
    assert int.from_bytes(data[:8], "little") % 8 == 0
