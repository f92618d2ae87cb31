"""The HTTP interface: who may ask, and what is answered (promises R20, R21, R25)."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, TINY_DOCUMENTS
from serving_support import Live, here, live, model, model_path, port_of, serve  # noqa: F401

from microgpt import MicroGPT
from microgpt.config import Config
from microgpt.recipes import recipe
from microgpt.serving import app as app_module
from microgpt.serving import guard
from microgpt.serving.schemas import TrainRequest

ROUTES = [("GET", "/"), ("GET", "/healthz"), ("GET", "/openapi.json")]
ROUTES += [("POST", f"/v1/{name}") for name in ("sample", "score", "next", "explain", "train")]


# ---- answers ----


def test_same_seed_gives_the_strings_of_the_library(here: Live, model: MicroGPT) -> None:
    wanted = {"n": 7, "temperature": 0.9, "top_k": 3, "prefix": "a", "unique": True, "seed": 11}
    status, found, _ = here.ask("POST", "/v1/sample", wanted)
    assert (status, found) == (200, {"strings": model.sample(**wanted), "seed": 11})  # type: ignore[arg-type]


def test_score_next_and_explain_are_the_librarys(here: Live, model: MicroGPT) -> None:
    _, found, _ = here.ask("POST", "/v1/score", {"strings": ["ab", "abbaabba", ""]})
    assert [one["log_probability"] for one in found["scores"]] == model.score_samples(
        ["ab", "abbaabba", ""]
    )
    assert [one["cut"] for one in found["scores"]] == [False, True, False]
    _, found, _ = here.ask("POST", "/v1/next", {"prefix": "ab"})
    assert found == {"tokens": model.classes_, "probabilities": model.predict_proba("ab")}
    _, found, _ = here.ask("POST", "/v1/explain", {"text": "abba"})
    expected = model.explain("abba").to_dict()
    assert found == {name: value for name, value in expected.items() if name != "gradients"}


def test_train_streams_every_loss_and_the_references_samples(here: Live, model: MicroGPT) -> None:
    status, text, headers = here.ask("POST", "/v1/train", {"documents": TINY_DOCUMENTS, **TINY})
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    events = [
        dict(line.split(": ", 1) for line in block.split("\n"))
        for block in text.strip().split("\n\n")
    ]
    data = [json.loads(event["data"]) for event in events]
    losses = [
        loss
        for event, one in zip(events, data)
        if event["event"] == "step"
        for loss in one["losses"]
    ]
    assert losses == model.losses_
    assert events[-1]["event"] == "done" and len(data[-1]["samples"]) == 20


def test_train_takes_a_preset_and_what_it_sets_can_be_overridden(here: Live) -> None:
    documents = TINY_DOCUMENTS * 5
    wanted = {"preset": "good", "num_steps": 3, "n_embd": 8, "n_head": 2}
    status, text, _ = here.ask("POST", "/v1/train", {"documents": documents, **wanted})
    expected = MicroGPT(**recipe("good", documents, 3) | {"n_embd": 8, "n_head": 2}).fit(documents)
    steps = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert status == 200
    assert [loss for step in steps for loss in step.get("losses", [])] == expected.losses_


def test_a_training_request_knows_every_setting_but_val_with_its_default() -> None:
    defaults = {name: field.default for name, field in TrainRequest.model_fields.items()}
    settings = {name: value for name, value in Config().to_dict().items() if name != "held_out"}
    assert settings.items() <= defaults.items()
    assert set(defaults) - set(settings) == {"documents", "preset"}


def test_without_a_model_the_page_and_training_answer_and_the_rest_says_why() -> None:
    with live(None) as here:
        assert here.ask("GET", "/")[0] == 200
        assert here.ask("GET", "/healthz")[1] == {"status": "ok", "model": False}
        status, found, _ = here.ask("POST", "/v1/sample", {})
        assert status == 409 and "microgpt serve MODEL" in found["error"]["fix"]


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/sample", {"n": 0}, "body.n"),
        ("/v1/sample", {"n": "3"}, "body.n"),
        ("/v1/sample", {"temperature": 0}, "body.temperature"),
        ("/v1/sample", {"seed": 2**64}, "body.seed"),
        ("/v1/sample", {"match": "(a+)+$"}, "body.match"),
        ("/v1/sample", {"prefix": "xyz"}, "character 1 of 'xyz'"),
        ("/v1/sample", {"prefix": "ababa"}, "option prefix"),
        ("/v1/score", {"strings": ["a", 3]}, "body.strings.1"),
        ("/v1/explain", {"text": ""}, "body.text"),
        ("/v1/next", {"prefix": "\ud800"}, "body.prefix"),
        ("/v1/train", {"documents": []}, "body.documents"),
        ("/v1/train", {"documents": ["a"], "n_embd": 10, "n_head": 3}, "options n_embd and n_head"),
        ("/v1/train", {"documents": ["a"], "learning_rate": 0}, "body.learning_rate"),
        ("/v1/train", {"documents": ["a"], "preset": "better"}, "body.preset"),
        ("/v1/train", {"documents": ["a"], "muon": 1.0}, "body.muon"),
    ],
)
def test_values_out_of_range_are_refused_by_name(
    here: Live, path: str, body: Any, where: str
) -> None:
    status, found, _ = here.ask("POST", path, body)
    assert status == 422
    assert where in found["error"]["where"]


def test_a_list_that_is_gone_is_a_409_without_its_path(model_path: Path) -> None:
    with live(MicroGPT.load(model_path, engine="scalar")) as here:
        status, found, _ = here.ask("POST", "/v1/sample", {"novel": True})
        assert status == 409
        assert str(model_path.parent) not in json.dumps(found)


# ---- R20: who may ask ----


def test_guard_refuses_before_any_handler_and_never_allows_an_origin() -> None:
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(
        method: str, path: str, headers: list[tuple[bytes, bytes]]
    ) -> tuple[int, list[Any]]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": headers,
        }
        await guard.Guard(app, 8000)(scope, receive, send)
        return sent[0]["status"], sent[0]["headers"]

    hosts = [
        b"127.0.0.1:8000",
        b"localhost:8000",
        b"[::1]:8000",
        b"evil.example",
        b"127.0.0.1:8001",
        b"",
        None,
    ]
    origins = [
        None,
        b"same",
        b"null",
        b"http://evil.example",
        b"http://127.0.0.1:8001",
        b"https://127.0.0.1:8000",
    ]
    sites = [None, b"same-origin", b"none", b"cross-site", b"same-site", b"nonsense"]
    types = [
        b"application/json",
        b"application/json; charset=utf-8",
        b"text/plain",
        b"multipart/form-data",
        None,
    ]
    count = allowed = 0
    loop = asyncio.new_event_loop()
    for (method, path), host, origin, site, kind in itertools.product(
        ROUTES, hosts, origins, sites, types
    ):
        origin = b"http://" + (host or b"") if origin == b"same" else origin
        pairs = [
            (b"host", host),
            (b"origin", origin),
            (b"sec-fetch-site", site),
            (b"content-type", kind),
        ]
        headers = [(name, value) for name, value in pairs if value is not None]
        reached.clear()
        status, answered = loop.run_until_complete(ask(method, path, headers))
        ours = (
            host in hosts[:3] and origin in (None, b"http://" + (host or b"")) and site in sites[:3]
        )
        ours = ours and (method == "GET" or kind in types[:2])
        assert (status == 200) == ours == bool(reached), (method, path, headers)
        assert not any(name.startswith(b"access-control") for name, _ in answered)
        count, allowed = count + 1, allowed + ours
    assert count == len(ROUTES) * 7 * 6 * 6 * 5 and 0 < allowed < count


def test_two_hosts_are_refused(here: Live) -> None:
    name = f"127.0.0.1:{here.port}"
    answer = here.raw(
        f"GET /healthz HTTP/1.1\r\nHost: {name}\r\nHost: evil.example\r\n\r\n".encode()
    )
    assert answer.split()[1] in (b"400", b"421")


@pytest.mark.proof
def test_a_page_of_another_port_reaches_no_handler(here: Live, tmp_path: Path) -> None:
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    from page_support import chromium

    reached: list[str] = []
    before = app_module.scoring.score

    def count(*args: Any) -> Any:
        reached.append("score")
        return before(*args)

    (tmp_path / "evil.html").write_text("<title>evil</title><iframe name=box></iframe>")
    other = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    )
    threading.Thread(target=other.serve_forever, daemon=True).start()
    target = f"http://127.0.0.1:{here.port}"
    script = """async (target) => {
      const say = (promise) => promise.then((answer) => answer.type, () => "refused");
      const body = JSON.stringify({ strings: ["a"] }), found = [];
      const headers = { "content-type": "application/json" };
      found.push(await say(fetch(`${target}/v1/score`, { method: "POST", body, headers })));
      found.push(await say(fetch(`${target}/v1/score`, { method: "POST", body, mode: "no-cors" })));
      found.push(await say(fetch(`${target}/healthz`)));
      const event = (node, names) => new Promise((resolve) => {
        names.forEach((name) => node.addEventListener(name, () => resolve(name)));
      });
      const image = new Image();
      image.src = `${target}/healthz`;
      found.push(await event(image, ["load", "error"]));
      found.push(await event(new EventSource(`${target}/v1/train`), ["open", "error"]));
      const form = document.createElement("form"), input = document.createElement("input");
      Object.assign(form, { action: `${target}/v1/score`, method: "post" });
      Object.assign(form, { target: "box", enctype: "text/plain" });
      Object.assign(input, { name: '{"strings":["a"],"x":"', value: '"}' });
      form.append(input);
      document.body.append(form);
      const shown = event(document.querySelector("iframe"), ["load"]);
      form.submit();
      await shown;
      return found;
    }"""
    app_module.scoring.score = count  # type: ignore[assignment]
    try:
        with chromium() as browser:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{other.server_port}/evil.html")
            found = page.evaluate(script, target)
    finally:
        app_module.scoring.score = before
        other.shutdown()
    assert found[0] == found[2] == "refused" and found[3] == found[4] == "error"
    assert reached == []


# ---- R21: exposure ----


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org"])
def test_listening_beyond_this_machine_needs_a_decision(host: str) -> None:
    process = serve("--host", host)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--allow-remote" in error


def test_remote_servers_want_a_token_and_do_not_log_it() -> None:
    process = serve("--host", "0.0.0.0", "--allow-remote")
    port = port_of(process)
    assert process.stderr is not None
    token = process.stderr.readline().split("token: ")[1].split()[0]
    assert len(bytes.fromhex(token)) == 16

    def status(path: str, headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status

    assert [status("/healthz", {}), status("/", {}), status("/healthz?token=" + token, {})] == [
        401,
        401,
        401,
    ]
    assert status("/healthz", {"Authorization": "Bearer " + "0" * 32}) == 401
    assert (
        status("/healthz", {"Authorization": f"Bearer {token}"})
        == status(f"/?token={token}", {})
        == 200
    )
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=10)
    assert token not in out + error


# ---- R25: nonsense ----


def test_raw_nonsense_never_makes_an_error_of_ours(here: Live) -> None:
    name = f"Host: 127.0.0.1:{here.port}\r\n".encode()
    kind = b"Content-Type: application/json\r\n"
    close = b"Connection: close\r\n\r\n"
    bodies = [b"", b"{", b"[]", b"null", b"NaN", b'{"n":1e999}', b'{"n":' + b"9" * 5000 + b"}"]
    bodies += [b"[" * 100_000, b"\xff\xfe", b'"\\ud800"']
    requests = [b"\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n"]
    requests += [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"]
    requests += [
        b"GET /%00%ff/../../etc/passwd HTTP/1.1\r\n" + name + close,
        b"TRACE / HTTP/1.1\r\n" + name + close,
    ]
    requests += [
        b"GET / HTTP/1.1\r\n" + name + b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + close
    ]
    for body, path in itertools.product(bodies, (b"sample", b"score", b"train")):
        head = b"POST /v1/" + path + b" HTTP/1.1\r\n" + name + kind + b"Connection: close\r\n"
        requests.append(head + b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
    for request in requests:
        answer = here.raw(request)
        assert not answer.startswith(b"HTTP/1.1 5"), request[:80]
        assert os.fspath(Path.home()).encode() not in answer and b"Traceback" not in answer
    assert here.ask("GET", "/healthz")[0] == 200
