"""Exports: the page opened by Chromium without a network, and the module run by node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, TINY_DOCUMENTS, skip_or_fail
from page_support import assert_shows, chromium, node

from microgpt import MicroGPT, checkpoint, exporting
from microgpt.errors import ConfigError
from microgpt.verify import exported

HOSTILE = [
    "</script><script>window.hit=1</script>",
    "<!--<script>",
    "a\u2028b",
    "\"'`\\${1}",
    "nul\0x",
    "\u202eabc",
    "%DATA%",
]
JS = """
const model = await import(process.argv[1]);
const [options, texts, prefix] = JSON.parse(process.argv[2]);
process.stdout.write(JSON.stringify({
  samples: model.sample(options), scores: texts.map(model.score), next: model.next(prefix),
  config: model.config, alphabet: model.alphabet, exports: Object.keys(model).sort(),
}));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


def trained(folder: Path, documents: list[str], **settings: int) -> tuple[MicroGPT, Path]:
    """A model of a list that lies beside it."""
    source = folder / "list.txt"
    source.write_text("\n".join(documents), encoding="utf-8")
    model = MicroGPT(**{**TINY, **settings}, engine="scalar").fit(source)
    path = folder / "model.safetensors"
    model.save(path)
    return model, path


def export(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "microgpt", "export", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_module_samples_scores_and_predicts_as_the_model(folder: Path) -> None:
    documents = [*TINY_DOCUMENTS, "żółć", "東京", "😀"]
    model, path = trained(folder, documents)
    output = folder / "model.js"
    done = export(str(path), "--to", "js", "-o", str(output))
    assert done.returncode == 0 and "read back: largest difference" in done.stderr
    (folder / "model.mjs").write_bytes(output.read_bytes())
    options = {"n": 12, "temperature": 0.8, "top_k": 4, "seed": 5}
    task = [options, ["", "abba", "żółć東京😀abba"], "ab"]
    found = json.loads(node(JS, (folder / "model.mjs").as_uri(), json.dumps(task)))
    assert found["samples"] == model.sample(**options)  # type: ignore[arg-type]
    assert found["scores"] == pytest.approx(
        model.score_samples(["", "abba", "żółć東京😀abba"]), abs=1e-12
    )
    assert found["next"] == pytest.approx(model.predict_proba("ab"), abs=1e-12)
    assert found["alphabet"] == list(model.tokenizer_.alphabet)
    assert found["config"] == model.config_.to_dict()
    types = (folder / "model.d.ts").read_text(encoding="utf-8")
    assert all(f" {name}" in types for name in found["exports"])


@pytest.mark.proof
def test_page_opens_with_the_model_offline_and_runs_no_string_of_it(folder: Path) -> None:
    model, path = trained(folder, [*HOSTILE, *TINY_DOCUMENTS], block_size=16)
    output = folder / "model.html"
    done = export(str(path), "--to", "html", "-o", str(output))
    assert done.returncode == 0 and "largest difference 0.0e+00" in done.stderr
    with chromium() as browser:
        page = browser.new_context(offline=True).new_page()
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(output.as_uri())
        for _ in range(400):
            if page.evaluate(
                "!!(window.microgpt?.busy === false && window.microgpt.lines.uniform)"
            ):
                break
            page.wait_for_timeout(50)
        saved = checkpoint.load(path)
        coins = saved.draws.coins(20 * 16)
        expected = model.engine_.generate(
            20, coins, [model.tokenizer_.bos], 0.5, 0, 1.0, lambda: False
        ).documents
        samples = page.evaluate("window.microgpt.samples.map((one) => one.text)")
        assert samples == [model.tokenizer_.decode(tokens) for tokens in expected]
        assert_shows(page, model, "abba")
        assert not page.locator(
            "#course"
        ).is_visible()  # it came trained: there is no course to show
        assert page.evaluate("window.hit") is None
        assert complaints == []
        assert {url for url in asked if not url.startswith(("blob:", "data:"))} == {output.as_uri()}


def test_same_model_gives_the_same_bytes(folder: Path) -> None:
    _, path = trained(folder, TINY_DOCUMENTS)
    for form in exporting.FORMATS:
        made = [exporting.export(checkpoint.load(path), form, TINY_DOCUMENTS) for _ in range(2)]
        assert made[0] == made[1]


def test_a_changed_weight_is_noticed_when_read_back(folder: Path) -> None:
    _, path = trained(folder, TINY_DOCUMENTS)
    model = checkpoint.load(path)
    html = exporting.export(model, "html", [])[".html"].decode()
    assert exporting.check_html(model, html)[0] == 0.0
    model.state.parameters[3] += 0.25
    assert exporting.check_html(model, html)[0] == 0.25


def test_files_of_others_are_not_overwritten(folder: Path) -> None:
    _, path = trained(folder, TINY_DOCUMENTS)
    output = folder / "precious.html"
    output.write_text("<title>my page</title>")
    assert export(str(path), "--to", "html", "-o", str(output)).returncode == 73
    assert output.read_text() == "<title>my page</title>"
    assert export(str(path), "--to", "html", "-o", str(output), "--force").returncode == 0
    assert export(str(path), "--to", "html", "-o", str(output)).returncode == 0


def test_a_module_of_a_windows_model_is_checked_over_the_one_block_that_it_knows(
    folder: Path,
) -> None:
    _, path = trained(folder, ["abcdefgh", "hgfedcba"], windows=True, block_size=3)
    output = folder / "windows.js"
    for _ in range(2):  # the second time it is ours, and so are its types
        done = export(str(path), "--to", "js", "-o", str(output))
        assert done.returncode == 0, done.stderr
    if "not checked" in done.stderr:
        skip_or_fail("node", "node is not installed")
    assert float(done.stderr.split("largest difference ")[1].split()[0]) <= exporting.CLOSE
    assert exported.verify(str(output), str(path), None).answer == "same"


def test_unknown_form_is_named(folder: Path) -> None:
    _, path = trained(folder, TINY_DOCUMENTS)
    with pytest.raises(ConfigError, match="no format 'gguf'"):
        exporting.export(checkpoint.load(path), "gguf", [])


def test_a_list_that_is_gone_leaves_a_page_without_marks(folder: Path) -> None:
    _, path = trained(folder, TINY_DOCUMENTS)
    (folder / "list.txt").unlink()
    done = export(str(path), "--to", "html", "-o", str(folder / "model.html"))
    assert done.returncode == 0 and "marks nothing as known" in done.stderr
