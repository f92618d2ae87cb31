"""What the tests of the JavaScript side share: node, Chromium, goldens, and when to skip. Tests nothing itself.

MICROGPT_REQUIRE=browser,node turns the skips for these tools into failures (CI sets it).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
EDITION = ROOT / "editions" / "microgpt.js"
PAGE = ROOT / "src" / "microgpt" / "serving" / "page"
NAMES = ROOT / "src" / "microgpt" / "data" / "names.txt"
GOLDENS = ("us-names-2018", "makemore-names", "cities", "long", "seed7", "two-layers")
DATA_OF = {"seed7": "us-names-2018", "two-layers": "us-names-2018"}  # golden -> list, where the names differ


def missing(tool: str, reason: str) -> None:
    """Skip for the lack of a tool, or fail where MICROGPT_REQUIRE lists it."""
    if tool in os.environ.get("MICROGPT_REQUIRE", "").split(","):
        pytest.fail(f"MICROGPT_REQUIRE lists {tool}, but {reason}")
    pytest.skip(reason)


def golden(name: str) -> tuple[dict[str, Any], Path]:
    """A recorded run of the original script, its settings as numbers, and the list it was trained on."""
    path = SHARED / "golden" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    record = json.loads(path.read_text(encoding="utf-8"))
    record["settings"] = {key: json.loads(value) for key, value in record["settings"].items()}
    return record, SHARED / "data" / f"{DATA_OF.get(name, name)}.txt"


def node(script: str, *arguments: str, timeout: float = 120) -> str:
    """stdout of an ES module given as text; its arguments are process.argv[1...]."""
    program = shutil.which("node")
    if program is None:
        missing("node", "node is not installed")
        raise AssertionError
    command = [program, "--input-type=module", "--eval", script, "--", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium that talks to nobody on its own."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("browser", "playwright is not installed")
        raise AssertionError from None
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing("browser", "Chromium is not installed")
    quiet = "quic background-networking component-update sync gpu".split()
    flags = ["--no-sandbox", *(f"--disable-{word}" for word in quiet), "--no-first-run"]
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()
