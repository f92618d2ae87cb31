"""The queue of engine work: places come back, and work stops for each reason (R22, R23)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from serving_support import tiny_model  # skips where the serve extra is missing

from microgpt.errors import StoppedError
from microgpt.serving import jobs

assert tiny_model


class Client:
    """A request whose client leaves when told."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.left.wait()
        return {"type": "http.disconnect"}


def run(scenario: Callable[[jobs.Jobs], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        await asyncio.wait_for(scenario(jobs.Jobs()), 20)

    asyncio.run(within())


def until_stopped(stop: Callable[[], bool]) -> str:
    while not stop():
        time.sleep(0.001)
    raise StoppedError


def test_more_jobs_than_places_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WAITING", 2)

    async def scenario(queue: jobs.Jobs) -> None:
        for number in range(20):
            assert await queue.run(Client(), lambda stop, number=number: number) == number  # type: ignore[arg-type]

    run(scenario)


def test_places_come_back_after_work_that_raised_and_work_that_was_stopped() -> None:
    async def scenario(queue: jobs.Jobs) -> None:
        def fail(stop: Any) -> None:
            raise ValueError("broken")

        for _ in range(10):
            with pytest.raises(ValueError, match="broken"):
                await queue.run(Client(), fail)  # type: ignore[arg-type]
            with pytest.raises(jobs.OverloadedError):
                await queue.run(Client(), until_stopped, 0.01)  # type: ignore[arg-type]
        assert await queue.run(Client(), lambda stop: "done") == "done"  # type: ignore[arg-type]

    run(scenario)


def test_a_full_queue_refuses_and_has_room_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WAITING", 1)
    monkeypatch.setattr(jobs.os, "cpu_count", lambda: 1)

    async def scenario(queue: jobs.Jobs) -> None:
        release = threading.Event()
        first, second = (
            asyncio.create_task(queue.run(Client(), lambda stop: release.wait(10)))  # type: ignore[arg-type]
            for _ in range(2)
        )
        await asyncio.sleep(0.05)  # one computes, one waits
        with pytest.raises(jobs.OverloadedError, match="waiting"):
            queue.require_place()
        with pytest.raises(jobs.OverloadedError, match="waiting"):
            await queue.run(Client(), lambda stop: None)  # type: ignore[arg-type]
        release.set()
        assert await first and await second
        queue.require_place()

    run(scenario)


def test_work_stops_when_its_client_leaves() -> None:
    async def scenario(queue: jobs.Jobs) -> None:
        client = Client()
        work = asyncio.create_task(queue.run(client, until_stopped))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        assert not work.done()
        client.left.set()
        with pytest.raises(jobs.OverloadedError):
            await asyncio.wait_for(work, 2)

    run(scenario)


def test_work_stops_when_the_server_ends() -> None:
    async def scenario(queue: jobs.Jobs) -> None:
        work = asyncio.create_task(queue.run(Client(), until_stopped))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        queue.stopping.set()
        with pytest.raises(jobs.OverloadedError, match="ends"):
            await asyncio.wait_for(work, 2)

    run(scenario)


def test_work_stops_at_its_limit_of_time_and_a_late_result_is_none() -> None:
    async def scenario(queue: jobs.Jobs) -> None:
        with pytest.raises(jobs.OverloadedError, match=r"more than 0\.05 s"):
            await asyncio.wait_for(queue.run(Client(), until_stopped, 0.05), 2)  # type: ignore[arg-type]
        with pytest.raises(jobs.OverloadedError, match=r"more than 0\.05 s"):
            await queue.run(Client(), lambda stop: time.sleep(0.1), 0.05)  # type: ignore[arg-type]

    run(scenario)
