"""Runs the interface under uvicorn: one process, one port, and an end within two seconds of being asked."""

from __future__ import annotations

import errno
import socket
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from ..errors import BusyError, ConfigError, InputError, PermissionDeniedError, quote, reason
from .guard import DeadlineProtocol, Guard, is_loopback

END_SECONDS = 1  # that open streams get to finish
SEND_BUFFER = (
    64 << 10
)  # bytes that the kernel keeps for a client that does not read; of its own choice up to 4 MiB


class Server(uvicorn.Server):
    """uvicorn's server; asked to end, it also stops the engines."""

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
        """SIGINT or SIGTERM."""
        self._jobs.stopping.set()
        super().handle_exit(sig, frame)


def listen(host: str, port: int, allow_remote: bool) -> socket.socket:
    """A socket that listens. Raises ConfigError for an address beyond this machine without allow_remote,

    BusyError for a port in use, PermissionDeniedError, InputError for an address that is none.
    """
    if not 0 <= port <= 65_535:
        raise ConfigError(
            f"port must be from 0 to 65535, not {port}", where="option port", fix="port 8000"
        )
    if not allow_remote and not is_loopback(host):
        raise ConfigError(
            f"{quote(host)} can be reached from other machines",
            where="option host",
            fix="leave --host out, or decide with --allow-remote",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns off Nagle's delay (40 ms an answer) only for sockets that name it.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        found.bind((host, port))
        found.listen(256)
    except OSError as error:
        found.close()
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
    return found
