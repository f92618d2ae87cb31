"""The page as `microgpt serve` sends it: with the model, its policy, and no further requests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, TINY_DOCUMENTS, skip_or_fail
from page_support import assert_shows, chromium

from microgpt import MicroGPT

try:
    import fastapi  # noqa: F401
except ImportError:
    skip_or_fail("serve", "the serve extra is not installed")


@pytest.mark.proof
def test_served_page_shows_the_model_and_asks_for_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "list.txt"
    source.write_text("\n".join(TINY_DOCUMENTS))
    model = MicroGPT(**TINY, engine="scalar").fit(source)
    model.save(tmp_path / "model.safetensors")
    command = [
        sys.executable,
        "-m",
        "microgpt",
        "serve",
        "model.safetensors",
        "--no-open",
        "--port",
        "0",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(line.split()[1] for line in process.stderr if line.startswith("serving "))
        try:
            with chromium() as browser:
                page = browser.new_page()
                asked: list[str] = []
                complaints: list[str] = []
                page.on("request", lambda request: asked.append(request.url))
                page.on("console", lambda message: complaints.append(message.text))
                answer = page.goto(address)
                for _ in range(400):
                    if page.evaluate(
                        "!!(window.microgpt?.busy === false && window.microgpt.lines.uniform)"
                    ):
                        break
                    page.wait_for_timeout(50)
                assert_shows(page, model, "abba")
                policy = answer.headers["content-security-policy"]
                assert (
                    "default-src 'none'" in policy
                    and "frame-ancestors 'none'" in policy
                    and "unsafe" not in policy
                )
                assert [url for url in asked if not url.startswith(("blob:", "data:"))] == [address]
                assert complaints == []
                page.locator("#settings summary").click()
                page.locator("#num_steps").fill("15")
                page.locator("#num_steps").press("Enter")
                for _ in range(400):  # it trains its own on the same list
                    if page.evaluate("window.microgpt.losses.length === 15"):
                        break
                    page.wait_for_timeout(50)
                assert page.evaluate("window.microgpt.losses.length") == 15
                assert page.locator("#course").is_visible()
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.parametrize("broken", ["", "not a model"])
def test_a_broken_model_is_an_error_and_not_a_server(tmp_path: Path, broken: str) -> None:
    (tmp_path / "model.safetensors").write_text(broken)
    command = [
        sys.executable,
        "-m",
        "microgpt",
        "serve",
        str(tmp_path / "model.safetensors"),
        "--no-open",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 65 and "Traceback" not in done.stderr
