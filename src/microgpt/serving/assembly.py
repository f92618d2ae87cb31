"""The page's sources made into one HTML file. Reads files of this package and nothing else; knows no model.

The page's scripts are ES modules that node can load one by one. A single file has no modules to import,
so their `import` lines and `export` words go, and they are joined: one script for the page, one text for
its worker. The sources shown in the page, reference.py and the JavaScript edition, stay as they are; the
worker runs the edition from the very text that is shown.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "page"
WORKER_SCRIPTS = ("engine.js", "ngrams.js", "session.js", "worker.js")
PAGE_SCRIPTS = ("charts.js", "source.js", "views.js", "backward.js", "app.js")
LISTS = {"US first names, 2018": "names", "Chemical elements": "elements", "Capital cities": "capitals"}

_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=function|class|const)", re.MULTILINE)
_COMMENT_LINE = re.compile(r"^\s*//.*\n", re.MULTILINE)
_STYLE_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
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
    return _policy(_script(PAGE_SCRIPTS), _style())


def built_in_lists() -> list[dict[str, str]]:
    """The lists that the page offers: name and text, one document a line."""
    folders = {"names": FOLDER.parent.parent / "data"}
    return [
        {"name": name, "text": (folders.get(stem, FOLDER / "lists") / f"{stem}.txt").read_text(encoding="utf-8")}
        for name, stem in LISTS.items()
    ]


def script_safe(data: object) -> str:
    """JSON that no HTML parser takes for markup, whatever strings it holds."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _page() -> str:
    script, style = _script(PAGE_SCRIPTS), _style()
    parts = {
        "%POLICY%": _policy(script, style),
        "%STYLE%": style,
        "%PYTHON%": _shown((FOLDER.parent.parent / "reference.py").read_text(encoding="utf-8")),
        "%JAVASCRIPT%": _shown((FOLDER / "microgpt.js").read_text(encoding="utf-8")),
        "%WORKER%": _shown(_script(WORKER_SCRIPTS)),
        "%SCRIPT%": _shown(script),
    }
    text = _INDENT.sub("", re.sub(r"<!--.*?-->\n?", "", (FOLDER / "page.html").read_text(encoding="utf-8"), flags=re.DOTALL))
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def _script(names: tuple[str, ...]) -> str:
    """Modules joined into one scope, without imports, exports, comment lines and indentation."""
    text = "".join((FOLDER / name).read_text(encoding="utf-8") for name in names)
    for pattern in (_IMPORT, _EXPORT, _COMMENT_LINE, _INDENT):
        text = pattern.sub("", text)
    return text


def _style() -> str:
    return _INDENT.sub("", _STYLE_COMMENT.sub("", (FOLDER / "style.css").read_text(encoding="utf-8")))


def _shown(text: str) -> str:
    """Source that stands inside a script element: it must not end it, nor begin a comment there."""
    if re.search(r"</script|<!--", text, re.IGNORECASE):
        raise ValueError("a source of the page holds </script or <!--")
    return text


def _policy(script: str, style: str) -> str:
    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    allowed = {
        "default-src": "'none'",
        "script-src": source(script),
        "style-src": source(style),
        "worker-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())
