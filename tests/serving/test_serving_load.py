"""The HTTP interface under load: slow and greedy clients, clients that leave (R22 to R24)."""

from __future__ import annotations

import http.client
import itertools
import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import has_engine, skip_or_fail
from serving_support import (  # noqa: F401
    Live,
    here,
    live,
    model,
    model_path,
    port_of,
    post_head,
    serve,
)

from microgpt import MicroGPT
from microgpt.serving import app as app_module
from microgpt.serving import guard, jobs

# ---- R22: slow and greedy clients ----


@pytest.fixture
def hasty(model: MicroGPT, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setattr(guard, "DEADLINE", 1.0)
    with live(model) as found:
        yield found


def trickle(here: Live, pieces: list[bytes]) -> float:
    """Seconds until the server closes on a client that sends a piece each 0.2 s."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", here.port), 20) as connection:
        connection.settimeout(0.2)
        for piece in itertools.chain(pieces, itertools.repeat(b"")):
            assert time.monotonic() - began < 15, "the connection stays open"
            try:
                connection.sendall(piece)
                if not connection.recv(65_536):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    return time.monotonic() - began


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["silent", "headers", "body", "second request"])
def test_slow_clients_are_closed_at_the_deadline(hasty: Live, kind: str) -> None:
    head = post_head(hasty.port, "/v1/score").encode()
    first = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{hasty.port}\r\n\r\n".encode()
    pieces = {
        "silent": [],
        "headers": [head, *[b"X: y\r\n"] * 60],
        "body": [head + b"Content-Length: 500\r\n\r\n", *[b" "] * 60],
        "second request": [first, *[b"G"] + [b"E"] * 60],
    }[kind]
    assert trickle(hasty, pieces) < 5


@pytest.mark.soak
@pytest.mark.parametrize("pieces", [[], [b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 100]])
def test_the_deadline_is_ten_seconds(here: Live, pieces: list[bytes]) -> None:
    assert 9 < trickle(here, pieces) < 11


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 300000000",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
    ],
)
def test_bodies_above_1_mib_are_413(here: Live, framing: bytes) -> None:
    head = post_head(here.port, "/v1/score").encode()
    body = (
        b"100000\r\n" + b" " * 0x100000 + b"\r\n10\r\n" + b" " * 16 + b"\r\n"
        if b"chunked" in framing
        else b""
    )
    with socket.create_connection(("127.0.0.1", here.port), 20) as connection:
        connection.sendall(head + framing + b"\r\n\r\n" + body)
        assert connection.recv(1000).split()[1] in (b"413", b"400")


@pytest.mark.proof
def test_health_answers_beside_200_silent_connections(here: Live) -> None:
    silent = [socket.create_connection(("127.0.0.1", here.port), 20) for _ in range(200)]
    try:
        assert all(here.ask("GET", "/healthz")[0] == 200 for _ in range(20))
    finally:
        for connection in silent:
            connection.close()


# A server of its own, so that its memory can be seen; its deadline is the first argument.
CHILD = """import sys
from microgpt.cli import main
from microgpt.serving import guard
guard.DEADLINE = float(sys.argv[1])
sys.exit(main(["serve", "--no-open", "--port", "0", sys.argv[2]]))"""

ANSWERS = 40  # that a client asks for in one go and does not read


def memory(pid: int, kind: str) -> float:
    """MB of a process: VmRSS now, VmHWM the most since `forget_peak`."""
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith(kind)
    )
    return int(line.split()[1]) / 1000


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def greedy(port: int, number: int, deadline: float, over: threading.Event) -> tuple[str, float]:
    """One client of the kinds in turn; its kind, and after how many seconds it was closed.

    One that reads nothing cannot see that; it stays until it is over.
    """
    kind = (
        "silent",
        "headers",
        "body",
        "lying length",
        "300 MB",
        "reads no page",
        "reads no scores",
    )[number % 7]
    name = f"Host: 127.0.0.1:{port}\r\n".encode()
    post = b"POST /v1/score HTTP/1.1\r\n" + name + b"Content-Type: application/json\r\n"
    scores = json.dumps({"strings": [""] * 10_000}).encode()
    first, piece = {
        "silent": (b"", b""),
        "headers": (b"GET / HTTP/1.1\r\n" + name, b"X: y\r\n"),
        "body": (post + b"Content-Length: 100000\r\n\r\n", b" "),
        "lying length": (post + b"Content-Length: 1000000\r\n\r\n{}", b""),
        "300 MB": (
            post + b"Transfer-Encoding: chunked\r\n\r\n",
            b"10000\r\n" + b" " * 65_536 + b"\r\n",
        ),
        "reads no page": ((b"GET / HTTP/1.1\r\n" + name + b"\r\n") * ANSWERS, b""),
        "reads no scores": (
            (post + f"Content-Length: {len(scores)}\r\n\r\n".encode() + scores) * ANSWERS,
            b"",
        ),
    }[kind]
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        began = time.monotonic()
        client.settimeout(0.1)
        with suppress(OSError):  # what does not fit, or is refused under way, is not sent
            client.sendall(first)
        if kind.startswith("reads no"):
            assert over.wait(60)
            return kind, 0.0
        for sent in itertools.count(1):
            try:
                assert sent * len(piece) < 300_000_000, "300 MB were taken"
                if kind != "300 MB":
                    time.sleep(0.2)
                client.sendall(piece)
                if not client.recv(65_536):
                    break
            except TimeoutError:
                pass
            except OSError:
                break
            assert time.monotonic() - began < deadline + 5, f"{kind}: the connection stays open"
        return kind, time.monotonic() - began


def hold_against(model_path: Path, deadline: float) -> None:
    """200 clients that give too little or take too much, at once; a healthy one beside them."""
    command = [sys.executable, "-c", CHILD, str(deadline), str(model_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            port = port_of(process)
            waits = [ask_health(port) for _ in range(5)]
            forget_peak(process.pid)
            before, files = memory(process.pid, "VmRSS"), open_files(process.pid)
            began, over = time.monotonic(), threading.Event()
            with ThreadPoolExecutor(200) as pool:
                clients = [
                    pool.submit(greedy, port, number, deadline, over) for number in range(200)
                ]
                while len(waits) < 150 or open_files(process.pid) > files:
                    waits.append(ask_health(port))
                    time.sleep(0.02)
                    assert time.monotonic() - began < 60, "connections stay open"
                closed_after = time.monotonic() - began
                over.set()
            closed = [client.result() for client in clients]
            grown = memory(process.pid, "VmHWM") - before
        finally:
            process.terminate()
            process.communicate(timeout=10)
    slowest = {
        kind: max(seconds for other, seconds in closed if other == kind) for kind, _ in closed
    }
    p99 = sorted(waits)[int(0.99 * len(waits))]
    told = f"grown by {grown:.1f} MB; p99 of /healthz {1000 * p99:.0f} ms; "
    told += f"all closed after {closed_after:.1f} s"
    print(told, slowest)
    assert max(slowest.values()) <= deadline + 1, told
    assert grown <= 20, told
    assert p99 <= 0.25, told


def ask_health(port: int) -> float:
    """Seconds until /healthz answers."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    return time.monotonic() - began


@pytest.mark.proof
def test_200_greedy_clients_are_closed_and_take_neither_memory_nor_time(model_path: Path) -> None:
    hold_against(model_path, 2.0)


@pytest.mark.soak
def test_200_greedy_clients_are_closed_within_11_s(model_path: Path) -> None:
    hold_against(model_path, guard.DEADLINE)


# ---- R23: many, and gone ----


@pytest.mark.proof
def test_32_parallel_seeded_requests_equal_the_command_line(here: Live, model_path: Path) -> None:
    def ask(seed: int) -> list[str]:
        status, found, _ = here.ask("POST", "/v1/sample", {"n": 5, "seed": seed})
        assert status == 200
        return found["strings"]  # type: ignore[no-any-return]

    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(ask, range(32)))
    for seed in (0, 31):
        command = [
            sys.executable,
            "-m",
            "microgpt",
            "sample",
            str(model_path),
            "-n",
            "5",
            "--seed",
            str(seed),
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert told == "".join(f"{text}\n" for text in found[seed])
    loaded = MicroGPT.load(model_path, engine="scalar")
    assert found == [loaded.sample(5, seed=seed) for seed in range(32)]


LETTERS = "abcdefgh"
LONG = [LETTERS * 7 + letter for letter in LETTERS]  # 57 characters each
SHAPE = {"n_layer": 2, "n_embd": 48, "n_head": 4, "block_size": 60}
# Route, the function of app.py that does its work, and a body that keeps it busy for seconds.
BUSY = {
    "sample": ("sample", "_sample", {"n": 1000, "max_len": 0, "unique": True}),
    "score": ("score", "_score", {"strings": LONG * 1200}),
    "train": ("train", "_train", {"documents": LONG, **SHAPE, "num_steps": 100_000}),
    "train, one large step": (
        "train",
        "_train",
        {"documents": LONG * 8, "n_embd": 128, "n_layer": 4, "block_size": 60, "batch_size": 64},
    ),
    "train, drawing weights": ("train", "_train", {"documents": LONG, "n_embd": 256, "n_layer": 8}),
}


@pytest.fixture(scope="module", params=["scalar", "exact"])
def busy(request: pytest.FixtureRequest) -> Iterator[Live]:
    if not has_engine(request.param):
        skip_or_fail("native", "the compiled engine was not built")
    shape = SHAPE if request.param == "exact" else {"n_embd": 4, "n_head": 2, "block_size": 12}
    with live(MicroGPT(**shape, num_steps=1, engine=request.param).fit(LONG)) as found:
        yield found


@pytest.mark.proof
@pytest.mark.parametrize("kind", BUSY)
def test_work_ends_within_100_ms_of_its_clients_leaving(
    busy: Live, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(busy, *BUSY[kind], monkeypatch)


READING = {
    "scalar": {"n_embd": 16, "block_size": 512},
    "exact": {"n_layer": 6, "n_embd": 256, "block_size": 512},
}


@pytest.fixture(scope="module", params=READING)
def reading(request: pytest.FixtureRequest) -> Iterator[Live]:
    if not has_engine(request.param):
        skip_or_fail("native", "the compiled engine was not built")
    model = MicroGPT(**READING[request.param], n_head=4, num_steps=1, engine=request.param)
    with live(model.fit([LETTERS])) as found:
        yield found


@pytest.mark.proof
@pytest.mark.parametrize(
    "work",
    [("next", "_next", {"prefix": LETTERS * 63}), ("explain", "_explain", {"text": LETTERS * 64})],
)
def test_reading_one_string_ends_within_100_ms_of_its_clients_leaving(
    reading: Live, work: tuple[str, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(reading, *work, monkeypatch)


def leave(busy: Live, route: str, work: str, wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client leaves; its work has ended 100 ms later in at least one of three tries."""
    before, begun, ended = getattr(app_module, work), threading.Event(), queue.SimpleQueue[float]()

    def timed(*arguments: Any) -> Any:
        begun.set()
        try:
            return before(*arguments)
        finally:
            ended.put(time.monotonic())

    monkeypatch.setattr(app_module, work, timed)
    body = json.dumps(wanted).encode()
    head = post_head(busy.port, f"/v1/{route}")
    delays: list[float] = []
    while len(delays) < 3 and min(delays, default=1.0) > 0.1:
        begun.clear()
        with socket.create_connection(("127.0.0.1", busy.port), 20) as connection:
            connection.sendall(
                head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
            )
            assert begun.wait(10)
            time.sleep(0.2)  # well into the work
            assert ended.empty(), "the work is too short to be left"
            left = time.monotonic()
        delays.append(ended.get(timeout=20) - left)
    assert min(delays) <= 0.1, delays


def test_a_full_queue_is_503_and_says_when_to_come_back(
    here: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WAITING", 0)
    for path, body in (("/v1/sample", {}), ("/v1/train", {"documents": ["a"]})):
        status, _, headers = here.ask("POST", path, body)
        assert (status, headers["retry-after"]) == (503, "1")


def test_bodies_together_are_bounded(here: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "HELD_LIMIT", 1000)
    head = post_head(here.port, "/v1/score")
    with socket.create_connection(("127.0.0.1", here.port), 20) as slow:
        slow.sendall(head.encode() + b"Content-Length: 1000\r\n\r\n" + b" " * 900)
        for _ in range(100):  # until the slow body has arrived
            status, _, headers = here.ask("POST", "/v1/score", {"strings": ["ab"] * 30})
            if status == 503:
                break
            time.sleep(0.02)
        assert (status, headers["retry-after"]) == (503, "1")
    for _ in range(100):  # the slow client is gone, and what it held with it
        if here.ask("POST", "/v1/score", {"strings": ["ab"] * 30})[0] == 200:
            break
        time.sleep(0.02)
    assert here.ask("POST", "/v1/score", {"strings": ["ab"] * 30})[0] == 200


def test_a_job_that_takes_too_long_is_given_up(here: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hasty(self: Any, request: Any, work: Any, seconds: float = 0.05) -> Any:
        return await before(self, request, work, seconds)

    def endless(model: Any, wanted: Any, seed: int, stop: Any) -> list[str]:
        while not stop():
            time.sleep(0.001)
        return []

    before = jobs.Jobs.run
    monkeypatch.setattr(jobs.Jobs, "run", hasty)
    monkeypatch.setattr(app_module, "_sample", endless)
    assert here.ask("POST", "/v1/sample", {})[0] == 503


# ---- R24: the end ----


@pytest.mark.proof
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("streaming", [False, True])
def test_signals_end_the_server_within_two_seconds(number: signal.Signals, streaming: bool) -> None:
    process = serve()
    port = port_of(process)
    with socket.create_connection(("127.0.0.1", port), 10) as stream:
        if streaming:
            body = json.dumps({"documents": ["abc", "bcd"], "num_steps": 100_000}).encode()
            head = post_head(port, "/v1/train")
            stream.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert b"200 OK" in stream.recv(1000)
        began = time.monotonic()
        process.send_signal(number)
        process.communicate(timeout=10)
        assert time.monotonic() - began < 2
    assert process.returncode in ((130,) if number == signal.SIGINT else (143, -signal.SIGTERM))
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_a_port_in_use_is_exit_75() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = serve("--port", str(taken.getsockname()[1]))
        _, error = process.communicate(timeout=60)
    assert process.returncode == 75 and "in use" in error
