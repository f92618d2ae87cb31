"""Shared by tests: a model small enough for the scalar engine, model files, child processes.

Holds no test.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Golden

from microgpt import checkpoint, corpus, files, reference
from microgpt.config import Config
from microgpt.engines import State
from microgpt.training import Session

NAMES = ["anna", "bob", "carla", "dora", "emil", "fritz"]
TINY = {"n_embd": 4, "n_head": 2, "block_size": 4, "num_steps": 4}
TINY_FLAGS = ["--engine", "scalar", "--n-embd", "4", "--n-head", "2", "--block-size", "4"]


OLD = b"old" * 700
BLOCK = 768
NEW = bytes(range(1, 256)) * 24 + b"the end"  # 6,127 bytes, no zero among them: 8 blocks
CALLS = ("open", "write", "fsync", "close", "replace", "unlink")


class Watched(files.System):
    """Real calls, with short writes of one block. Each call is shown to `before` and `after`."""

    def __init__(self) -> None:
        self.count = 0
        for name in CALLS:
            setattr(self, name, self._watched(name))

    def _watched(self, name):
        real = getattr(os, name)

        def call(*args):
            number = self.count
            self.count += 1
            self.before(number, name)
            if name == "write":
                args = (args[0], args[1][:BLOCK])
            result = real(*args)
            self.after(number, name, args, result)
            return result

        return call

    def before(self, number, name):
        """Nothing."""

    def after(self, number, name, args, result):
        """Nothing."""


def session(names: list[str] = NAMES, **changes: float) -> Session:
    """A run of the tiny model, before its first step."""
    config = Config(**(TINY | changes))
    return Session.start(config, corpus.from_iterable(names), "scalar")


def checkpoint_after(
    steps: int, names: list[str] = NAMES, **changes: float
) -> checkpoint.Checkpoint:
    """A checkpoint of the tiny model after some steps."""
    run = session(names, **changes)
    while run.step < steps:
        next(run.run(lambda: False, every=1))
    return run.checkpoint()


def sealed(header: bytes, payload: bytes) -> bytes:
    """A file with this header, in which the SHA-256 is replaced by the right one."""
    start, before = 8, b'"sha256":"'
    data = bytearray(len(header).to_bytes(8, "little") + header + payload)
    at = data.find(before, start) + len(before)
    data[at : at + 64] = b"0" * 64
    data[at : at + 64] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and payload of a file."""
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def forged(data: bytes, /, **entries: str) -> bytes:
    """The file with other entries in its metadata, and a hash that fits."""
    header, payload = opened(data)
    header["__metadata__"] |= entries
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return sealed(text + b" " * (-len(text) % 8), payload)


def command(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
    """`microgpt ARGS` in a process of its own, without input unless given."""
    options = {"input": ""} | options
    words = [sys.executable, "-m", "microgpt", *map(str, args)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def start(*args: object, folder: Path) -> subprocess.Popen[str]:
    """`microgpt ARGS`, running beside the test, with the default handler for Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", "microgpt", *map(str, args)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def recorded_start(expected: Golden) -> tuple[list[list[int]], list[str], State, random.Random]:
    """A recorded run before its first step: shuffled tokens, alphabet, state, random generator."""
    documents = reference.read_documents(expected.data.read_text(encoding="utf-8"))
    rng = random.Random(expected.config.seed)
    rng.shuffle(documents)
    alphabet = reference.alphabet_of(documents)
    count = expected.config.parameter_count(len(alphabet) + 1)
    weights = array("d", [rng.gauss(0, expected.config.init_std) for _ in range(count)])
    return (
        [reference.encode(document, alphabet) for document in documents],
        alphabet,
        State.initial(weights),
        rng,
    )


def in_child(work: Callable[[], int]) -> int:
    """Run `work` in a forked process; its exit code, or minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def data_entry(
    source: object, fingerprint: object = "", documents: object = 1, column: object = None
) -> dict[str, object]:
    """The entry "data" of a header."""
    origin = {"sources": [source], "column": column, "dedupe": False}
    return {"origin": origin, "fingerprint": fingerprint, "documents": documents}
