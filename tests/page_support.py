"""What the tests of the JavaScript side share: node, Chromium, the assembled page. Tests nothing itself.

MICROGPT_REQUIRE=browser,node turns the skips for these tools into failures (CI sets it).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import skip_or_fail

ROOT = Path(__file__).resolve().parent.parent
EDITION = ROOT / "editions" / "microgpt.js"
PAGE = ROOT / "src" / "microgpt" / "serving" / "page"


def node(script: str, *arguments: str, timeout: float = 120) -> str:
    """stdout of an ES module given as text; its arguments are process.argv[1...]."""
    program = shutil.which("node")
    if program is None:
        skip_or_fail("node", "node is not installed")
    command = [str(program), "--input-type=module", "--eval", script, "--", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium that talks to nobody on its own."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip_or_fail("browser", "playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        skip_or_fail("browser", "Chromium is not installed")
    quiet = ["quic", "background-networking", "component-update", "sync", "gpu"]
    flags = ["--no-sandbox", *(f"--disable-{word}" for word in quiet), "--no-first-run"]
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()
