"""An edition as a folder ready to be published and, on request, as a GitHub gist.

The folder holds the edition and a README with its certificate and how to verify it. Only `publish`
sends anything, and it needs a token from the environment. REST API of gists, version 2022-11-28.
"""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError, DataError, MissingPartError, quote
from ..verify.verdict import Verdict, render
from .form import size_of

TOKEN = "GITHUB_TOKEN"  # the variable's name
TIMEOUT = 30.0  # seconds for one request


@dataclass(frozen=True)
class Gist:
    """What would be published: a description, and texts by file name."""

    description: str
    files: Mapping[str, str]


def prepare(edition: Path, verdict: Verdict) -> Gist:
    """The edition with its certificate. DataError where the verdict is not "same"."""
    if verdict.answer != "same":
        raise DataError(
            f"{edition.name} is not shown to be the same as {verdict.original}",
            where=quote(str(edition)),
            fix=f"microgpt verify {edition}",
        )
    source = edition.read_text(encoding="utf-8")
    size = size_of(source)
    readme = f"""# {edition.name}

The whole of a tiny GPT in {size.lines} lines ({size.code_lines} of code), {size.bytes:,} bytes.
It reads `input.txt`, one document a line, trains on it, and prints twenty samples:

    python {edition.name}

## Certificate

SHA-256 of {edition.name}: `{hashlib.sha256(source.encode()).hexdigest()}`

    {render(verdict).strip().replace(chr(10), chr(10) + "    ")}

## Verify it yourself

    pip install microgpt-exact
    microgpt verify {edition.name} --steps 20

`verify` runs both programs. It compares every loss, every weight after every step and the
output, bit for bit. The answer "the same on N cases" says what was compared; it is not a proof.
"""
    description = f"microgpt: {edition.name}, {size.lines} lines, level {verdict.level}"
    return Gist(description, {edition.name: source, "README.md": readme})


def publish(
    gist: Gist, api: str, environment: Mapping[str, str], update: str = "", secret: bool = False
) -> str:
    """Create a gist, or change the one with the id `update`; returns its address.

    Raises MissingPartError without a token, ConfigError for an address that is not https, DataError
    where the server refuses.
    """
    token = environment.get(TOKEN, "")
    if not token:
        raise MissingPartError(
            f"publishing needs a token in the environment variable {TOKEN}",
            where="option --publish",
            fix=f"export {TOKEN}=... (a token that may write gists), or leave --publish out",
        )
    parts = urlsplit(api)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigError(
            "the token is only sent over https", where="option --api", fix="https://api.github.com"
        )
    body: dict[str, Any] = {
        "description": gist.description,
        "files": {name: {"content": text} for name, text in gist.files.items()},
    }
    if not update:
        body["public"] = not secret
    request = urllib.request.Request(
        f"{api.rstrip('/')}/gists{f'/{update}' if update else ''}",
        data=json.dumps(body).encode(),
        method="PATCH" if update else "POST",
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "User-Agent": "microgpt-journey",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    answer = _send(request, token)
    address = answer.get("html_url")
    if not isinstance(address, str):
        raise DataError("the server's answer names no address of the gist", where=quote(api))
    return address


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would carry the token to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _send(request: urllib.request.Request, token: str) -> dict[str, Any]:
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT) as response:
            answer: dict[str, Any] = json.loads(response.read(1 << 22))
            return answer
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode(errors="replace").replace(token, "***")
        fix = {
            401: f"a valid token in {TOKEN}",
            403: "a token that may write gists",
            404: "the id of a gist of yours",
        }
        raise DataError(
            f"the server refused the gist: {error.code} {quote(said)}",
            where=request.full_url,
            fix=fix.get(error.code, ""),
        ) from None
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise DataError(
            f"the server cannot be understood: {error}", where=request.full_url
        ) from error
