"""Runs engine work for the server: a few threads, a bounded queue, and a stop.

A stop takes effect within milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from starlette.requests import Request

from ..engines import Stop
from ..errors import StoppedError

Result = TypeVar("Result")
WAITING = 128  # jobs that may wait for a thread
SECONDS = 30.0  # the longest that one job may compute


class OverloadedError(Exception):
    """All threads are busy and the queue is full, or a job took too long."""


class Jobs:
    """Runs functions in threads; each takes a `Stop`.

    They stop when the client disconnects, when their time is up, or when the server ends.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        count = min(4, os.cpu_count() or 1)
        self._slots = asyncio.Semaphore(count)
        self._threads = ThreadPoolExecutor(count)  # few: each thread has memory of its own
        self._waiting = 0

    async def run(
        self, request: Request, work: Callable[[Stop], Result], seconds: float = SECONDS
    ) -> Result:
        """The function's result. Raises OverloadedError when the queue is full or time is up."""
        async with self.place(), self.watch(request, seconds) as stop:
            with suppress(StoppedError):
                result = await asyncio.get_running_loop().run_in_executor(self._threads, work, stop)
                if not stop.late():
                    return result
            raise OverloadedError(
                f"the request took more than {seconds:g} s" if stop.late() else "the server ends"
            )

    def require_place(self) -> None:
        """Raise OverloadedError when too many wait."""
        if self._waiting >= WAITING:
            raise OverloadedError("too many requests are waiting")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One of the threads, after waiting for it. Raises OverloadedError when too many wait."""
        self.require_place()
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    @asynccontextmanager
    async def watch(self, request: Request, seconds: float) -> AsyncIterator[Watch]:
        """A `Stop` that is true when the client has left, the server ends, or time is up."""
        watch = Watch(self.stopping, time.monotonic() + seconds)
        task = asyncio.create_task(_until_gone(request, watch))
        try:
            yield watch
        finally:
            watch.gone.set()
            task.cancel()


class Watch:
    """Says whether work should stop; engines call it as their `Stop`."""

    def __init__(self, stopping: threading.Event, until: float) -> None:
        self.gone = threading.Event()
        self._stopping, self._until = stopping, until

    def late(self) -> bool:
        """Whether time is up."""
        return time.monotonic() > self._until

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.gone.is_set() or self._stopping.is_set() or self.late()


async def _until_gone(request: Request, watch: Watch) -> None:
    message: dict[str, Any] = {"type": ""}
    while message["type"] != "http.disconnect":
        message = dict(await request.receive())
    watch.gone.set()
