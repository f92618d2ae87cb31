"""Generate the pages of the site that describe the command and the HTTP interface.

MkDocs calls `on_files` before it builds. The pages are made from the parser's own help and from the
server's OpenAPI description, so they cannot be out of date. Nothing is written to the repository.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

COMMAND, HTTP = "api/command.md", "api/http-reference.md"
WIDTH = "96"  # columns of a help text


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to MkDocs' files."""
    from mkdocs.structure.files import File

    for path, text in ((COMMAND, command_page()), (HTTP, http_page())):
        files.append(File.generated(config, path, content=text))
    return files


# Run in a process of its own, because the command prepares its streams when it starts.
_PRINT_HELP = """
import contextlib, io, json, sys
from microgpt import cli
texts = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        cli.main([*words, "--help"])
    texts.append(out.getvalue())
print(json.dumps(texts))
"""


def help_of(*verbs: list[str]) -> list[str]:
    """What `microgpt VERB --help` prints, for each verb (a list of words, [] for none)."""
    environment = {**os.environ, "COLUMNS": WIDTH, "NO_COLOR": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", _PRINT_HELP, json.dumps(verbs)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    texts: list[str] = json.loads(ran.stdout)
    return texts


def verbs_in(text: str) -> list[str]:
    """The verbs that a help text lists, each in a line that begins with it."""
    return re.findall(r"^ {2,4}([a-z]+)(?: {2,}|$)", text, flags=re.MULTILINE)


def command_page() -> str:
    """A section for each verb, with its help."""
    [top] = help_of([])
    verbs = [[verb] for verb in verbs_in(top)]
    texts = help_of(*verbs)
    for i, text in reversed(list(enumerate(texts))):  # verbs of verbs, such as `journey analyze`
        inner = [[*verbs[i], verb] for verb in verbs_in(text)]
        verbs[i + 1 : i + 1] = inner
        texts[i + 1 : i + 1] = help_of(*inner) if inner else []
    names = ["microgpt", *(" ".join(["microgpt", *verb]) for verb in verbs)]
    return (
        "\n\n".join(
            [
                "# Command line",
                "This page is made from the parser. `microgpt VERB --help` prints the same text.",
                *map(_block, names, [top, *texts]),
            ]
        )
        + "\n"
    )


def _block(name: str, text: str) -> str:
    return f"## {name}\n\n```text\n{text.rstrip()}\n```"


def http_page() -> str:
    """A section for each route, with the fields of its request and of its answer."""
    from microgpt.serving.app import create_app

    description = json.loads(json.dumps(create_app(None, "").openapi()))
    schemas = description["components"]["schemas"]
    parts = [
        "# HTTP reference",
        "This page is made from the server's OpenAPI description, `/openapi.json`. "
        "[HTTP](http.md) explains how to use it.",
    ]
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            parts.append(f"## {method.upper()} {path}")
            request = route.get("requestBody", {}).get("content", {}).get("application/json")
            if request:
                parts += _fields("Request", request["schema"], schemas)
            for kind, answer in route["responses"]["200"].get("content", {}).items():
                parts += _fields(f"Answer ({kind})", answer.get("schema", {}), schemas)
    refusals = description["paths"]["/v1/sample"]["post"]["responses"]
    rows = [f"| {code} | {r['description']} |" for code, r in refusals.items() if code != "200"]
    parts += ["## Refusals", "\n".join(["| status | meaning |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _fields(title: str, schema: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    """A title, the sentence of a schema, and a table of its fields."""
    schema = _target(schema, schemas)
    rows = _rows(schema, schemas, "")
    table = ["\n".join(["| field | type | default | range |", "|---|---|---|---|", *rows])]
    says = schema.get("description", "").split("\n\n")[0]
    return [f"**{title}.** {says}".rstrip(), *(table if rows else [])]


def _rows(schema: dict[str, Any], schemas: dict[str, Any], prefix: str) -> list[str]:
    """A row for each field; the fields of a list's objects follow it as `list[].field`."""
    rows = []
    for name, field in schema.get("properties", {}).items():
        default = json.dumps(field["default"]) if "default" in field else ""
        rows.append(f"| `{prefix}{name}` | {_type(field)} | {default} | {_range(field)} |")
        inner = _target(field.get("items", {}), schemas)
        rows += _rows(inner, schemas, f"{prefix}{name}[].")
    return rows


def _target(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or the one that it refers to."""
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"])
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if "$ref" in field:
        return "object"
    return str(field.get("type", "any"))


def _range(field: dict[str, Any]) -> str:
    """The bounds of a number, or of a length, in words."""
    for choice in field.get("anyOf", []):
        if _range(choice):
            return _range(choice)
    words = {
        "minimum": "from {}",
        "exclusiveMinimum": "above {}",
        "maximum": "to {}",
        "exclusiveMaximum": "below {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "minItems": "at least {} items",
        "maxItems": "at most {} items",
    }
    return " ".join(w.format(_number(field[k])) for k, w in words.items() if k in field)


def _number(value: float) -> str:
    return f"{int(value) if value == int(value) else value:,}"
