"""Measure the page and the HTTP interface.

Reports the size of the page, the time of 1,000 steps in Chromium, and the rate of /v1/sample.

    python benchmarks/browser.py [--runs 7] [--requests 2000]      prints one JSON object

Seconds in Chromium are wall time in the page's worker, as the best and the median of the runs. On a
shared machine the best is the more reliable figure, because other work only adds time.
Needs Chromium, playwright and the serve extra. Writes no file.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from page_support import chromium  # noqa: E402

from microgpt import MicroGPT  # noqa: E402
from microgpt.page import assembly  # noqa: E402

SAMPLE = {"n": 20, "seed": 7}


def page_seconds(runs: int, folder: Path) -> dict[str, float]:
    """Seconds of 1,000 reference steps in the page's worker, and from opening to samples."""
    path = folder / "page.html"
    path.write_text(
        assembly.page_html({"lists": assembly.built_in_lists(), "model": None}), encoding="utf-8"
    )
    seconds = []
    with chromium() as browser:
        page = browser.new_page()
        for _ in range(runs):
            page.goto(path.as_uri())
            while not page.evaluate("!!window.microgpt?.lines?.['5-gram']"):
                page.wait_for_timeout(50)
            seconds.append(page.evaluate("window.microgpt.timing.training_ms") / 1000)
    return {"best": min(seconds), "median": statistics.median(seconds)}


def requests(port: int, count: int, clients: int) -> dict[str, float]:
    """Requests per second for 20 samples each, and the 99th percentile of their seconds."""
    body = json.dumps(SAMPLE)

    def client(share: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        seconds = []
        for _ in range(share):
            began = time.perf_counter()
            connection.request("POST", "/v1/sample", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            seconds.append(time.perf_counter() - began)
        return seconds

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seconds = sorted(s for part in pool.map(client, [count // clients] * clients) for s in part)
    elapsed = time.perf_counter() - began
    return {
        "requests_per_second": len(seconds) / elapsed,
        "p99_seconds": seconds[int(0.99 * len(seconds))],
    }


def serving(count: int, folder: Path) -> dict[str, Any]:
    """The HTTP interface with 1 and with 8 clients, and the engine called directly."""
    path = folder / "names.safetensors"
    model = MicroGPT().fit(assembly.built_in_lists()[0]["text"].split())
    model.save(path)
    began = time.perf_counter()
    for _ in range(count // 4):
        model.sample(**SAMPLE)  # type: ignore[arg-type]
    direct = (count // 4) / (time.perf_counter() - began)
    command = [sys.executable, "-m", "microgpt", "serve", str(path), "--no-open", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        match = None
        while match is None:
            match = re.search(r"serving http://127\.0\.0\.1:(\d+)/", process.stderr.readline())
        rates = {f"clients_{n}": requests(int(match[1]), count, n) for n in (1, 8)}
        process.terminate()
    return {"engine": model.engine_.name, "engine_calls_per_second": direct, **rates}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = {
            "page_bytes": assembly.page_bytes_without_data(),
            "seconds_for_1000_steps_in_chromium": page_seconds(args.runs, Path(name)),
            "sample_requests": serving(args.requests, Path(name)),
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
