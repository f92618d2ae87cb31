"""The page's sources assembled into one HTML file. Reads files of this package; knows no model.

The page's scripts are ES modules, so that node can load each of them for a test. A single file
has no modules to import. So the `import` statements and `export` keywords are removed, and the
scripts are joined: one for the page, one for its worker. The two sources that the page shows,
reference.py and the JavaScript edition, stay as they are. They are compressed together with the
scripts. The worker runs the edition from the very text that is shown.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PACKAGE = FOLDER.parent
EDITION = PACKAGE / "editions" / "microgpt.js"
# Each group in the order in which its files are joined: a file follows those that it imports.
FIRST_SCRIPT = ("boot.js",)
PAGE_SCRIPTS = (
    "charts.js",
    "client.js",
    "settings.js",
    "source.js",
    "trace.js",
    "samples.js",
    "parameters.js",
    "app.js",
    "controls.js",
)
WORKER_SCRIPTS = ("engine.js", "ngrams.js", "settings.js", "session.js", "worker.js")
LISTS = {
    "US first names, 2018": PACKAGE / "data" / "names.txt",
    "Chemical elements": FOLDER / "lists" / "elements.txt",
    "Capital cities": FOLDER / "lists" / "capitals.txt",
}

_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=async|function|class|const)", re.MULTILINE)
_EXPORTED = re.compile(r"^export (?:function|class|const) (\w+)", re.MULTILINE)
# The beginning of the edition's last part, which node runs as a script.
_NODE_PART = "\nif (globalThis.process"
_COMMENT_LINE = re.compile(r"^\s*//.*\n", re.MULTILINE)
_STYLE_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_HTML_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_INDENT = re.compile(r"^\s+", re.MULTILINE)
_STYLE_LINE_END = re.compile(r"(?<=[{};,])\n")


def page_html(data: dict[str, Any]) -> str:
    """The page with its data, as one file that makes no requests.

    data: what exporting.page_data() makes, {"lists": [{"name", "text"}], "model": None or a model}.
    """
    return _page().replace("%DATA%", script_safe(data))


def page_bytes_without_data() -> int:
    """The size of the page in bytes, without its lists and its model."""
    return len(_page().encode())


def content_security_policy() -> str:
    """The page's Content-Security-Policy.

    It allows the page's own scripts and style, by their hashes, and its worker; nothing else.
    """
    scripts = " ".join(_hash(_script(names)) for names in (FIRST_SCRIPT, PAGE_SCRIPTS))
    allowed = {
        "default-src": "'none'",
        "script-src": scripts,
        "style-src": _hash(_style()),
        "worker-src": "blob:",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def built_in_lists() -> list[dict[str, str]]:
    """The datasets that the page offers: name and text, one document on each line."""
    return [{"name": name, "text": _text(path)} for name, path in LISTS.items()]


def export_script() -> str:
    """The module that `export --to js` writes below a model: edition, engine, and its functions.

    The edition gets a scope of its own, because the engine uses some of its names.
    """
    edition = _text(EDITION).split(_NODE_PART)[0]
    names = ", ".join(_EXPORTED.findall(edition))
    body = f"{_EXPORT.sub('', edition)}\nreturn {{ {names} }};\n"
    scope = f"const {{ {names} }} = (() => {{\n{body}}})();\n"
    engine = _EXPORT.sub("", _IMPORT.sub("", _text(FOLDER / "engine.js")))
    return scope + engine + _IMPORT.sub("", _text(FOLDER / "export_module.js"))


def script_safe(data: object) -> str:
    """JSON that an HTML parser never takes for markup, whatever strings it holds."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _page() -> str:
    parts = {
        "%POLICY%": content_security_policy(),
        "%STYLE%": _style(),
        "%SOURCES%": _packed_sources(),
        "%SCRIPT%": _script(FIRST_SCRIPT),
    }
    text = _INDENT.sub("", _HTML_COMMENT.sub("", _text(FOLDER / "page.html")))
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def _packed_sources() -> str:
    """What boot.js unpacks: the two sources to show, the worker's script and the page's own."""
    sources = {
        "python": _text(PACKAGE / "reference.py"),
        "javascript": _text(EDITION),
        "worker": _script(WORKER_SCRIPTS),
        "page": _script(PAGE_SCRIPTS),
    }
    return base64.b64encode(zlib.compress(json.dumps(sources).encode(), 9)).decode()


def _script(names: tuple[str, ...]) -> str:
    """Modules joined into one scope, without imports, exports, comment lines and indentation."""
    return "".join(stripped(_text(FOLDER / name), name) for name in names)


def stripped(script: str, name: str) -> str:
    """A module's statements without imports, exports, comment lines, indentation and empty lines.

    Only the beginnings of lines change, so strings stay as they are: they end on their own line.
    A template literal must do so too; ValueError names the line where one does not.
    """
    for number, line in enumerate(script.split("\n"), 1):
        if line.count("`") % 2 and not line.lstrip().startswith("//"):
            raise ValueError(f"{name}, line {number}: a template literal must end on its own line")
    for pattern in (_IMPORT, _EXPORT, _COMMENT_LINE, _INDENT):
        script = pattern.sub("", script)
    return script


def _style() -> str:
    style = _INDENT.sub("", _STYLE_COMMENT.sub("", _text(FOLDER / "style.css")))
    return _STYLE_LINE_END.sub("", style)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
