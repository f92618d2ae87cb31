"""`journey gist`: the folder, and publishing to a local server that speaks GitHub's API."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import EDITIONS, HERE
from zoo.base import DATA, changed, small_reference
from zoo.wrong import STACK_WALK

from microgpt.cli import main
from microgpt.commands import journey as commands
from microgpt.errors import ConfigError, DataError, MissingPartError
from microgpt.journey.gist import Gist, prepare, publish
from microgpt.verify.cases import cases_for
from microgpt.verify.programs import Program
from microgpt.verify.verifier import Verifier

PUBLISHED = json.loads((HERE / "data" / "github-gists.json").read_text(encoding="utf-8"))[
    "operations"
]


def json_schema(described: Any) -> Any:
    """An OpenAPI 3.0 schema as JSON Schema, which has no `nullable`. Unknown names are refused."""
    if isinstance(described, list):
        return [json_schema(one) for one in described]
    if not isinstance(described, dict):
        return described
    found = {
        name: json_schema(value)
        for name, value in described.items()
        if name not in ("nullable", "example")
    }
    if described.get("nullable"):
        found["type"] = [described["type"], "null"]
    if "properties" in described and "type" in described:
        found["additionalProperties"] = False
    return found


CREATE, UPDATE = (
    json_schema(PUBLISHED[name]) for name in ("POST /gists", "PATCH /gists/{gist_id}")
)
TOKEN = "secret-token"


class GistServer(ThreadingHTTPServer):
    """Keeps gists by id; remembers every request."""

    gists: dict[str, Any]
    requests: list[tuple[str, str]]


class Handler(BaseHTTPRequestHandler):
    server: GistServer

    def log_message(self, format: str, *args: object) -> None: ...

    def answer(self, status: int, body: dict[str, Any], **headers: str) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(raw)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def body(self, schema: dict[str, Any]) -> dict[str, Any] | None:
        """The request's body, None after an answer that refuses it."""
        self.server.requests.append((self.command, self.path))
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, {"message": f"Bad credentials {self.headers['Authorization']}"})
            return None
        assert self.headers["Accept"] == "application/vnd.github+json"
        assert self.headers["X-GitHub-Api-Version"] == "2022-11-28"
        assert self.headers["User-Agent"]
        try:
            body: dict[str, Any] = json.loads(raw)
            jsonschema.validate(body, schema)
        except (ValueError, jsonschema.ValidationError) as error:
            self.answer(422, {"message": f"Validation Failed: {error}"})
            return None
        return body

    def do_POST(self) -> None:
        if self.path == "/moved/gists":
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(307, {}, Location=f"http://127.0.0.1:{self.server.server_port}/gists")
        elif (body := self.body(CREATE)) is not None:
            name = f"id{len(self.server.gists)}"
            self.server.gists[name] = body
            self.answer(201, {"id": name, "html_url": f"https://gist.example/{name}"})

    def do_PATCH(self) -> None:
        if (body := self.body(UPDATE)) is not None:
            name = self.path.rpartition("/")[2]
            if name not in self.server.gists:
                self.answer(404, {"message": "Not Found"})
            else:
                self.server.gists[name] |= body
                self.answer(200, {"id": name, "html_url": f"https://gist.example/{name}"})


@pytest.fixture
def server() -> Iterator[GistServer]:
    found = GistServer(("127.0.0.1", 0), Handler)
    found.gists, found.requests = {}, []
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()


def address(server: GistServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


GIST = Gist("a description", {"short.py": "print('ü')\n", "README.md": "# short\n"})


def test_a_gist_is_created_and_changed(server: GistServer) -> None:
    assert publish(GIST, address(server), {"GITHUB_TOKEN": TOKEN}) == "https://gist.example/id0"
    assert server.gists["id0"]["files"]["short.py"]["content"] == "print('ü')\n"
    assert server.gists["id0"]["public"] is True
    publish(GIST, address(server), {"GITHUB_TOKEN": TOKEN}, secret=True)
    assert server.gists["id1"]["public"] is False
    changed_gist = Gist("another", {"short.py": "print(2)\n"})
    assert (
        publish(changed_gist, address(server), {"GITHUB_TOKEN": TOKEN}, update="id0")
        == "https://gist.example/id0"
    )
    assert server.gists["id0"]["description"] == "another"
    assert server.requests == [("POST", "/gists"), ("POST", "/gists"), ("PATCH", "/gists/id0")]


def test_without_a_token_nothing_is_sent(server: GistServer) -> None:
    with pytest.raises(
        MissingPartError, match="needs a token in the environment variable GITHUB_TOKEN"
    ):
        publish(GIST, address(server), {})
    assert server.requests == []


def test_a_refusal_names_its_reason_and_never_the_token(server: GistServer) -> None:
    with pytest.raises(DataError, match="refused the gist: 401") as caught:
        publish(GIST, address(server), {"GITHUB_TOKEN": "wrong-token"})
    assert "wrong-token" not in str(caught.value)
    with pytest.raises(DataError, match="404"):
        publish(GIST, address(server), {"GITHUB_TOKEN": TOKEN}, update="unknown")


def test_the_token_goes_to_no_other_server(server: GistServer) -> None:
    with pytest.raises(DataError, match="307"):
        publish(GIST, f"{address(server)}/moved", {"GITHUB_TOKEN": TOKEN})
    assert server.requests == []
    with pytest.raises(ConfigError, match="only sent over https"):
        publish(GIST, "http://example.org", {"GITHUB_TOKEN": TOKEN})


def test_a_program_that_is_not_the_same_gets_no_certificate(tmp_path: Path) -> None:
    edition = tmp_path / "walk.py"
    edition.write_text(changed(small_reference(), *STACK_WALK))
    original = Program("the small reference", small_reference())
    verdict = Verifier(original).verify(
        Program("walk.py", edition.read_text()), cases_for([("names", DATA)], steps=2)
    )
    with pytest.raises(DataError, match="not shown to be the same"):
        prepare(edition, verdict)


def test_the_command_writes_a_folder_whose_program_runs_and_publishes_only_when_told(
    server: GistServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    original = Program("the small reference", small_reference())
    monkeypatch.setattr(commands, "reference_program", lambda: original)
    edition, folder = tmp_path / "tiny.py", tmp_path / "gist"
    edition.write_text(small_reference())
    flags = ["journey", "gist", str(edition), "-o", str(folder), "--steps", "1"]
    flags += ["--api", address(server)]
    assert main(flags) == 0
    assert server.requests == []
    readme = (folder / "README.md").read_text()
    assert "the same on 1 case" in readme and "SHA-256" in readme
    assert (folder / "tiny.py").read_text() == edition.read_text()
    (folder / "input.txt").write_bytes(DATA)
    command = [sys.executable, "tiny.py"]
    assert "sample  6" in subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout
    capsys.readouterr()
    assert main([*flags, "--publish"]) == 0
    assert capsys.readouterr().out == "https://gist.example/id0\n"


@pytest.mark.proof
def test_an_edition_of_the_package_is_found_by_its_name(tmp_path: Path) -> None:
    assert main(["journey", "gist", "golf", "-o", str(tmp_path / "gist"), "--steps", "1"]) == 0
    golf = (EDITIONS / "golf.py").read_bytes()
    assert (tmp_path / "gist" / "golf.py").read_bytes() == golf
