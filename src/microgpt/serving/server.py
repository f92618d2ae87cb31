"""Runs the HTTP interface with uvicorn: one process, one port, and an end within two seconds."""

from __future__ import annotations

import errno
import socket
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from ..errors import BusyError, ConfigError, InputError, PermissionDeniedError, quote, reason
from .guard import DeadlineProtocol, Guard, is_loopback

END_SECONDS = 1  # that open streams have to finish
# Bytes that the kernel keeps for a client that does not read; by default up to 4 MiB.
SEND_BUFFER = 64 << 10


class Server(uvicorn.Server):
    """uvicorn's server. When it is asked to end, it also stops the engines."""

    def __init__(self, app: Starlette, port: int, token: str | None) -> None:
        config = uvicorn.Config(
            Guard(app, port, token),
            http=DeadlineProtocol,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=END_SECONDS,
        )
        super().__init__(config)
        self._jobs = app.state.jobs

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop the engines on SIGINT or SIGTERM, then end as uvicorn does."""
        self._jobs.stopping.set()
        super().handle_exit(sig, frame)


def listen(host: str, port: int, allow_remote: bool) -> socket.socket:
    """A listening socket.

    Raises ConfigError for an address that other machines can reach, unless allow_remote is true.
    Raises BusyError for a port in use, PermissionDeniedError, or InputError for a bad address.
    """
    if not 0 <= port <= 65_535:
        raise ConfigError(
            f"port must be from 0 to 65535, not {port}", where="option port", fix="port 8000"
        )
    if not allow_remote and not is_loopback(host):
        raise ConfigError(
            f"{quote(host)} can be reached from other machines",
            where="option host",
            fix="leave --host out, or allow it with --allow-remote",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's delay (40 ms per answer) only for a socket that names its protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listener.bind((host, port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        where = f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                "the port is in use", where=where, fix="--port 0 takes any free one"
            ) from error
        if error.errno == errno.EACCES:
            raise PermissionDeniedError(
                "no permission for this port", where=where, fix="--port 8000"
            ) from error
        raise InputError(
            f"cannot listen there: {reason(error)}", where=where, fix="--host 127.0.0.1"
        ) from error
    return listener
