"""Checks that come before every handler: who may ask, how much, and for how long. Knows no model.

A port on this machine does not protect itself: any web page can make a browser send requests to
it. So a request passes only if it names this server as its host, and if it comes from this server's
own page or from no page at all. Nothing here ever sends an Access-Control header.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
from typing import Any, cast
from urllib.parse import parse_qs

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

BODY_LIMIT = 1 << 20  # bytes of one body
# Bytes of all bodies and answers at one time: many clients must not fill memory.
HELD_LIMIT = 4 << 20
# Bytes read at a time, and sent at a time. The next are sent when the client has taken these.
PIECE = 16 << 10
DEADLINE = 10.0  # seconds for a whole request to arrive, and for a client to take an answer
CONNECTIONS = 512  # open at one time; further ones are closed
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


def new_token() -> str:
    """128 random bits as hexadecimal digits, for a server that other machines can reach."""
    return secrets.token_hex(16)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address. Names are not looked up."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class Guard:
    """ASGI middleware: refuses before any handler runs, reads bodies up to the limit, adds headers.

    token: required as `Authorization: Bearer`, or for the page as `?token=`; None on loopback.
    """

    def __init__(self, app: ASGIApp, port: int, token: str | None = None) -> None:
        self._app, self._token = app, token
        self._held = 0  # bytes of bodies not answered yet, and of answers not taken yet
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = {f"{name}:{port}".encode() for name in names}
        if port == 80:  # browsers leave this port out
            self._hosts |= {name.encode() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or read its body and pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # a websocket: refused by not accepting
        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        body = bytearray()
        try:
            refusal = await self._read_body(receive, body)
            if refusal is not None:
                await _answer(send, *refusal)
                return
            await self._app(scope, _replay(bytes(body), receive), self._sender(send))
        finally:
            self._held -= len(body)

    async def _read_body(self, receive: Receive, body: bytearray) -> tuple[int, str] | None:
        """Fill `body`. Returns a refusal when it is too large.

        A body that arrives too slowly is ended by the protocol's deadline.
        """
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None  # the client left; the handler will see that too
            piece = message.get("body", b"")
            body += piece
            self._held += len(piece)
            if len(body) > BODY_LIMIT:
                return 413, f"the body is larger than {BODY_LIMIT:,} bytes"
            if piece and self._held > HELD_LIMIT:
                return 503, "too many large requests at once"
            if not message.get("more_body", False):
                return None

    def _sender(self, send: Send) -> Send:
        """The function that a handler sends with: adds our headers, and sends in pieces.

        The next piece is sent when the client has taken the last. Where too many bytes wait for
        clients already, an answer of known length becomes a refusal.
        """
        start: Message | None = None
        refused = False

        async def send_on(message: Message) -> None:
            nonlocal start, refused
            if message["type"] == "http.response.start":
                start = {**message, "headers": [*message.get("headers", []), *HEADERS]}
                if any(name == b"content-length" for name, _ in start["headers"]):
                    return  # until its body is there; a stream begins at once
                message = {"type": "http.response.body", "more_body": True}
            body = message.get("body", b"")
            if start is not None:
                refused = len(body) > PIECE and self._held > max(BODY_LIMIT, HELD_LIMIT - len(body))
                if refused:
                    await _answer(send, 503, "too many answers wait for their clients")
                else:
                    await send(start)
                start = None
            if not refused:
                await self._hand_on(body, message.get("more_body", False), send)

        return send_on

    async def _hand_on(self, body: bytes | memoryview, more: bool, send: Send) -> None:
        self._held += len(body)
        try:
            for at in range(0, len(body) or 1, PIECE):
                piece = bytes(body[at : at + PIECE])
                await send(
                    {
                        "type": "http.response.body",
                        "body": piece,
                        "more_body": more or at + PIECE < len(body),
                    }
                )
                await asyncio.sleep(0)  # lets others run, and a lost connection be noticed
        finally:
            self._held -= len(body)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason of a refusal, or None for a request that may pass."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or (self._token is None and hosts[0] not in self._hosts):
            return 421, "this server answers only to its own name"
        if any(origin != b"http://" + hosts[0] for origin in headers.get(b"origin", [])):
            return 403, "the request comes from another page"
        if any(
            site not in (b"same-origin", b"none") for site in headers.get(b"sec-fetch-site", [])
        ):
            return 403, "the request comes from another site"
        if self._token is not None and not self._has_token(scope, headers):
            return 401, "a token is required: Authorization: Bearer TOKEN"
        if scope["method"] == "POST":
            types = [
                value.split(b";")[0].strip().lower() for value in headers.get(b"content-type", [])
            ]
            if types != [b"application/json"]:
                return 415, "the body must be application/json"
        lengths = headers.get(b"content-length", [b"0"])
        if len(lengths[0]) > 12 or (lengths[0].isdigit() and int(lengths[0]) > BODY_LIMIT):
            return 413, f"the body is larger than {BODY_LIMIT:,} bytes"
        return None

    def _has_token(self, scope: Scope, headers: dict[bytes, list[bytes]]) -> bool:
        given = [value.removeprefix(b"Bearer ") for value in headers.get(b"authorization", [])]
        if scope["path"] == "/":
            query = parse_qs(scope["query_string"].decode("latin-1"))
            given += [value.encode("latin-1", "replace") for value in query.get("token", [])]
        wanted = cast(str, self._token).encode()
        return any(hmac.compare_digest(value, wanted) for value in given)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives a handler the body that was read. After it only a disconnect can come."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay


async def _answer(send: Send, status: int, what: str) -> None:
    body = json.dumps({"error": {"what": what, "where": "", "fix": ""}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close"), *HEADERS]  # the rest of the request is not read
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class DeadlineProtocol(H11Protocol):
    """uvicorn's HTTP protocol with two deadlines: to send a request, and to take an answer."""

    _arrival: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline, or close at once when too many are connected."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(PIECE)
        # How much asyncio reads at once; by default 256 KiB.
        transport.max_size = PIECE  # type: ignore[attr-defined]
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._arrival = self._after_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop both deadlines."""
        self._stop("_arrival")
        self._stop("_reading")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop the deadline when a request has arrived whole."""
        super().data_received(data)
        if self.conn.their_state is h11.DONE:
            self._stop("_arrival")

    def on_response_complete(self) -> None:
        """Start the deadline for the next request on this connection."""
        super().on_response_complete()
        self._stop("_arrival")
        if not self.transport.is_closing():
            self._arrival = self._after_deadline()

    def pause_writing(self) -> None:
        """The client takes nothing more: it has until the deadline."""
        super().pause_writing()
        self._reading = self._after_deadline()

    def resume_writing(self) -> None:
        """The client takes the answer again."""
        super().resume_writing()
        self._stop("_reading")

    def _after_deadline(self) -> asyncio.TimerHandle:
        return self.loop.call_later(DEADLINE, self.transport.abort)

    def _stop(self, name: str) -> None:
        timer: Any = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)
