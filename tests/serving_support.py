"""What the tests of the HTTP interface share: a tiny model, and servers in and beside this process.

Holds no test. Importing it skips where the serve extra is not installed.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, TINY_DOCUMENTS, skip_or_fail

from microgpt import MicroGPT

try:
    import fastapi  # noqa: F401

    from microgpt.serving import app as app_module
    from microgpt.serving import server
except ImportError:
    skip_or_fail("serve", "the serve extra is not installed")

JSON = {"Content-Type": "application/json"}


@cache
def tiny_model() -> MicroGPT:
    """A model that the scalar engine runs."""
    return MicroGPT(**TINY, engine="scalar").fit(TINY_DOCUMENTS)


class Live:
    """A server in a thread of this process."""

    def __init__(self, model: MicroGPT | None) -> None:
        self.app = app_module.create_app(model, "<title>page</title>")
        self.socket = server.listen("127.0.0.1", 0, False)
        self.port: int = self.socket.getsockname()[1]
        self.server = server.Server(self.app, self.port, None)
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] = JSON
    ) -> tuple[int, Any, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text.startswith("{") else text, answer.headers

    def raw(self, data: bytes, timeout: float = 20) -> bytes:
        """Everything the server answers to these bytes until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            try:
                connection.sendall(data)
                return b"".join(iter(lambda: connection.recv(65_536), b""))
            except ConnectionError:
                return b""

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@contextmanager
def live(model: MicroGPT | None) -> Iterator[Live]:
    found = Live(model)
    try:
        yield found
    finally:
        found.stop()


def post_head(port: int, path: str) -> str:
    """The first lines of a POST request with a JSON body; more headers may follow."""
    first = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    return first + "Content-Type: application/json\r\n"


def serve(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "microgpt", "serve", "--no-open", "--port", "0", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"serving http://[^/]*:(\d+)/", line)
        if found:
            return int(found[1])
    raise AssertionError(f"the server ended with {process.wait()}")


@pytest.fixture(scope="module")
def model() -> MicroGPT:
    return tiny_model()


@pytest.fixture(scope="module")
def here(model: MicroGPT) -> Iterator[Live]:
    with live(model) as server_here:
        yield server_here


@pytest.fixture(scope="module")
def model_path(model: MicroGPT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    model.save(path)
    return path
