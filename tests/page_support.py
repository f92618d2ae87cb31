"""What the JavaScript tests share: node, Chromium, the assembled page. Tests nothing itself.

MICROGPT_REQUIRE=browser,node turns the skips for these tools into failures (CI sets it).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import EDITIONS, ROOT, skip_or_fail

from microgpt import MicroGPT

EDITION = EDITIONS / "microgpt.js"
PAGE = ROOT / "src" / "microgpt" / "page"


def node(script: str, *arguments: str, timeout: float = 120) -> str:
    """stdout of an ES module given as text; its arguments are process.argv[1...]."""
    program = shutil.which("node")
    if program is None:
        skip_or_fail("node", "node is not installed")
    command = [str(program), "--input-type=module", "--eval", script, "--", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, encoding="utf-8"
    )
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


def assert_shows(page: Any, model: MicroGPT, text: str) -> None:
    """The page's numbers are the Python engine's, within 1e-12: a traced text, the next update."""
    page.locator("#text").fill(text)
    for _ in range(400):
        if page.evaluate("window.microgpt.trace?.text") == text:
            break
        page.wait_for_timeout(50)
    shown, expected = page.evaluate("window.microgpt.trace"), model.explain(text)
    flat = [
        number for layer in expected.attention for head in layer for row in head for number in row
    ]
    found = [
        number for layer in shown["attention"] for head in layer for row in head for number in row
    ]
    assert found == pytest.approx(flat, abs=1e-12)
    for row, exact in zip(shown["probabilities"], expected.probabilities, strict=True):
        assert row == pytest.approx(exact, abs=1e-12)
    view = page.evaluate(
        "(({loss, documents, parameters, gradients}) =>"
        " ({loss, documents, parameters: [...parameters],"
        " gradients: [...gradients]}))(window.microgpt.view)"
    )
    loss, gradients = model.engine_.gradients(
        [model.tokenizer_.encode(one) for one in view["documents"]], lambda: False
    )
    assert view["parameters"] == list(model.engine_.state().parameters)
    assert view["loss"] == pytest.approx(loss, abs=1e-12)
    assert view["gradients"] == pytest.approx(list(gradients), abs=1e-12)
