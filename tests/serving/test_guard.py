"""The guard: tokens, the limit on connections, addresses (promises R20 to R22)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from serving_support import Live, live

from microgpt.serving import guard

TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def here() -> Iterator[Live]:
    with live(None) as server:
        yield server


def answer_to(
    method: str,
    path: str,
    headers: list[tuple[bytes, bytes]],
    query: bytes = b"",
    token: str | None = None,
) -> int:
    """The status of a request to a guard on port 8000; 200 if it lets the request pass."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": query}
    asyncio.run(guard.Guard(app, 8000, token)(scope | {"headers": headers}, receive, send))
    return int(sent[0]["status"])


def status_of(path: str, query: bytes = b"", *authorization: bytes) -> int:
    """The status of a GET request to a guard that wants TOKEN."""
    headers = [(b"host", b"example.org"), *((b"authorization", value) for value in authorization)]
    return answer_to("GET", path, headers, query, TOKEN)


@pytest.mark.parametrize(
    "given",
    ["", TOKEN[:1], TOKEN[:-1], TOKEN + "0", TOKEN.upper(), " " + TOKEN, TOKEN + " ", "*"],
)
def test_only_the_whole_token_passes(given: str) -> None:
    assert status_of("/healthz", b"", b"Bearer " + given.encode()) == 401
    assert status_of("/", b"token=" + given.replace(" ", "%20").encode()) == 401


def test_the_token_passes_as_a_header_everywhere_and_as_a_query_only_for_the_page() -> None:
    assert status_of("/healthz", b"", b"Bearer " + TOKEN.encode()) == 200
    assert status_of("/", b"token=" + TOKEN.encode()) == 200
    assert status_of("/healthz", b"token=" + TOKEN.encode()) == 401
    assert status_of("/v1/sample", b"token=" + TOKEN.encode()) == 401
    assert status_of("/healthz") == status_of("/", b"token=") == status_of("/") == 401


@pytest.mark.parametrize("hosts", [[], ["localhost:8000", "evil.example"], ["localhost:8000"] * 2])
def test_a_request_names_exactly_one_host(hosts: list[str]) -> None:
    headers = [(b"host", host.encode()) for host in hosts]
    assert answer_to("GET", "/healthz", headers) == 421
    assert answer_to("GET", "/healthz", [(b"host", b"localhost:8000")]) == 200


def is_open(connection: socket.socket, wait: float) -> bool:
    """Whether the server still holds the connection after that many seconds."""
    connection.settimeout(wait)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def test_connections_beyond_the_limit_are_closed_at_once_and_places_come_back(
    here: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CONNECTIONS", 3)
    with ExitStack() as stack:
        for _ in range(3):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", here.port), 10))
            assert is_open(silent, 0.1)
        one_more = stack.enter_context(socket.create_connection(("127.0.0.1", here.port), 10))
        assert not is_open(one_more, 5)
        assert is_open(silent, 0.1)
    for _ in range(100):
        try:
            if here.ask("GET", "/healthz")[0] == 200:
                return
        except (ConnectionError, OSError):
            pass
        time.sleep(0.05)
    raise AssertionError("the places of closed connections did not come back")


def test_port_80_may_be_left_out_of_the_host_and_no_other() -> None:
    assert b"localhost" in guard.Guard(None, 80)._hosts  # type: ignore[arg-type]
    assert b"localhost" not in guard.Guard(None, 8080)._hosts  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_loopback_addresses_are_known_without_looking_names_up(
    address: str, loopback: bool
) -> None:
    assert guard.is_loopback(address) == loopback
