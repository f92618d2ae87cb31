"""The page's sources made into one HTML file. Reads files of this package and nothing else; knows no model.

The page's scripts are ES modules that node can load one by one. A single file has no modules to import,
so their `import` lines and `export` words go, and they are joined: one script for the page, one text for
its worker. The sources shown in the page, reference.py and the JavaScript edition, stay as they are, packed
to save weight; the worker runs the edition from the very text that is shown.
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
WORKER_SCRIPTS = ("engine.js", "ngrams.js", "session.js", "worker.js")
FIRST_SCRIPT = ("boot.js",)
PAGE_SCRIPTS = ("charts.js", "source.js", "views.js", "backward.js", "app.js")
LISTS = {
    "US first names, 2018": "names",
    "Chemical elements": "elements",
    "Capital cities": "capitals",
}

_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=function|class|const)", re.MULTILINE)
_EXPORTED = re.compile(r"^export (?:function|class|const) (\w+)", re.MULTILINE)
_COMMENT_LINE = re.compile(r"^\s*//.*\n", re.MULTILINE)
_STYLE_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_HTML_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_INDENT = re.compile(r"^\s+", re.MULTILINE)


def page_html(data: dict[str, Any]) -> str:
    """The page with its data, as one file that requests nothing.

    data: {"lists": [{"name", "text"}], "model": None or what exporting.page_model() makes}.
    """
    return _page().replace("%DATA%", script_safe(data))


def page_bytes_without_data() -> int:
    """The weight of the page in bytes: everything but lists and model."""
    return len(_page().encode())


def content_security_policy() -> str:
    """The policy that the page carries: its own script and style by their hashes, its worker, nothing else."""
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
    """The lists that the page offers: name and text, one document a line."""
    folders = {"names": PACKAGE / "data"}
    return [
        {
            "name": name,
            "text": (folders.get(stem, FOLDER / "lists") / f"{stem}.txt").read_text(
                encoding="utf-8"
            ),
        }
        for name, stem in LISTS.items()
    ]


def standalone_script() -> str:
    """The module that `export --to js` puts below a model: edition, engine, and the functions it exports."""
    edition = (
        (PACKAGE / "editions" / "microgpt.js")
        .read_text(encoding="utf-8")
        .split("\nif (globalThis.process")[0]
    )
    names = ", ".join(_EXPORTED.findall(edition))
    scope = f"const {{ {names} }} = (() => {{\n{_EXPORT.sub('', edition)}\nreturn {{ {names} }};\n}})();\n"
    engine = _EXPORT.sub("", _IMPORT.sub("", (FOLDER / "engine.js").read_text(encoding="utf-8")))
    return scope + engine + (FOLDER / "standalone.js").read_text(encoding="utf-8")


def script_safe(data: object) -> str:
    """JSON that no HTML parser takes for markup, whatever strings it holds."""
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
    text = _INDENT.sub(
        "", _HTML_COMMENT.sub("", (FOLDER / "page.html").read_text(encoding="utf-8"))
    )
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def _packed_sources() -> str:
    """What the page unpacks when it opens: the two sources to show, the worker's text and the page's own script."""
    sources = {
        "python": (PACKAGE / "reference.py").read_text(encoding="utf-8"),
        "javascript": (PACKAGE / "editions" / "microgpt.js").read_text(encoding="utf-8"),
        "worker": _script(WORKER_SCRIPTS),
        "page": _script(PAGE_SCRIPTS),
    }
    return base64.b64encode(zlib.compress(json.dumps(sources).encode(), 9)).decode()


def _script(names: tuple[str, ...]) -> str:
    """Modules joined into one scope, without imports, exports, comment lines and indentation."""
    text = "".join((FOLDER / name).read_text(encoding="utf-8") for name in names)
    for pattern in (_IMPORT, _EXPORT, _COMMENT_LINE, _INDENT):
        text = pattern.sub("", text)
    return text


def _style() -> str:
    return _INDENT.sub(
        "", _STYLE_COMMENT.sub("", (FOLDER / "style.css").read_text(encoding="utf-8"))
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
