"""The page in Chromium, opened from a file: its numbers, its security policy, its accessibility."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import golden, skip_or_fail
from page_support import chromium

from microgpt import MicroGPT, corpus, ngrams, reference
from microgpt.config import Config
from microgpt.engines import State, engine_class
from microgpt.page import assembly
from microgpt.randomness import Draws
from microgpt.reference_recipe import batch_indices
from microgpt.tokenizer import Tokenizer

LIMIT = 60 * 1024  # bytes of page without lists and model
pytestmark = pytest.mark.proof

READY = "!!(window.microgpt && window.microgpt.busy === false && window.microgpt.lines['uniform'])"
HOSTILE = [
    "</script><script>window.hit=1</script>",
    "<img src=x onerror=window.hit=2>",
    "<!--<script>",
    "a\u2028b\u2029c",
    "\"'`${window.hit=3}",
    "nul\0nul",
    "\u202egnp.exe\u202c",
    "]]>{{7*7}}&lt;",
    "%DATA%%SOURCES%",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


class Visit:
    """One page, with everything it asked for and everything it complained about."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.wait()

    def __call__(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def wait(self, condition: str = READY) -> None:
        """Until the condition holds; the page's policy forbids Playwright's own way of waiting."""
        for _ in range(600):
            if self(condition):
                return
            self.page.wait_for_timeout(50)
        status = self("document.getElementById('status').textContent")
        raise AssertionError(f"never came: {condition}; status: {status}")

    def paste(self, text: str) -> None:
        self("window.microgpt.lines = {}")
        self.page.locator("#own").fill(text)
        self.wait()


def write_page(folder: Path, lists: list[dict[str, str]] | None = None) -> str:
    path = folder / "page.html"
    data = {"lists": assembly.built_in_lists() if lists is None else lists, "model": None}
    path.write_text(assembly.page_html(data), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def visit(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    found = Visit(browser, write_page(tmp_path_factory.mktemp("page")), offline=True)
    yield found
    found.context.close()


def reset(visit: Visit) -> None:
    visit("window.microgpt.lines = {}")
    visit.page.reload()
    visit.wait()


def test_page_weighs_at_most_60_kib() -> None:
    assert assembly.page_bytes_without_data() <= LIMIT


def test_page_trains_the_reference_model_and_makes_its_samples(visit: Visit) -> None:
    record = golden("us-names-2018")
    assert visit("window.microgpt.losses") == pytest.approx(
        [float.fromhex(x) for x in record.loss_hex], abs=1e-12
    )
    assert visit("window.microgpt.samples.map((one) => one.text)") == record.samples
    assert (
        visit("[...document.querySelectorAll('#made bdi')].map((node) => node.textContent)")
        == record.samples
    )
    known = set(corpus.builtin().documents)
    assert visit("window.microgpt.samples.map((one) => one.known)") == [
        text in known for text in record.samples
    ]


def test_page_shows_the_n_gram_lines_of_eval(visit: Visit) -> None:
    documents = corpus.builtin().documents
    Draws(42).shuffle(documents)
    encode = Tokenizer.from_documents(documents).encode
    counted, held_out = corpus.split(documents, 0.1)
    losses = ngrams.NGrams(map(encode, counted), 27).losses(map(encode, held_out), 16)
    shown = visit("window.microgpt.lines")
    assert shown == pytest.approx(
        {name: losses[name] for name in ("uniform", "2-gram", "5-gram")}, abs=1e-12
    )


def test_scrubbed_step_trace_and_gradients_are_the_scalar_engines(visit: Visit) -> None:
    steps = 3
    visit(f"(step => {{ step.value = {steps}; step.oninput(); }})(document.getElementById('step'))")
    visit.wait(f"window.microgpt.view.step === {steps} && window.microgpt.step === {steps}")
    visit.page.locator("#text").fill("karia")
    visit.wait("window.microgpt.trace.text === 'karia'")

    config, documents = Config(), corpus.builtin().documents
    draws = Draws(42)
    draws.shuffle(documents)
    tokenizer = Tokenizer.from_documents(documents)
    start = State.initial(draws.weights(config.shapes(27).values(), config.init_std))
    engine = engine_class("scalar")(config, 27, start)
    batches = [[tokenizer.encode(document)] for document in documents[:steps]]
    rates = [reference.learning_rate_at(step, 1000, 0.01) for step in range(steps)]
    engine.steps(batches[:-1], rates[:-1], lambda: False)
    before = engine.state().parameters
    loss, gradients = engine.gradients(batches[-1], lambda: False)
    engine.steps(batches[-1:], rates[-1:], lambda: False)
    after = engine.state().parameters
    trace = engine.trace(tokenizer.encode("karia"), lambda: False)

    view = visit(
        "(({loss, documents, parameters, gradients, updates}) =>"
        " ({loss, documents, parameters: [...parameters],"
        " gradients: [...gradients], updates: [...updates]}))(window.microgpt.view)"
    )
    assert view["documents"] == documents[steps - 1 : steps]
    assert view["loss"] == pytest.approx(loss, abs=1e-12)
    assert view["gradients"] == pytest.approx(list(gradients), abs=1e-12)
    assert view["parameters"] == pytest.approx(list(after), abs=1e-12)
    assert view["updates"] == pytest.approx([b - a for a, b in zip(before, after)], abs=1e-12)
    shown = visit("window.microgpt.trace")
    for row, expected in zip(shown["probabilities"], trace.probabilities, strict=True):
        assert row == pytest.approx(expected, abs=1e-12)
    for head, rows in zip(shown["attention"][0], trace.attention[0], strict=True):
        for row, expected in zip(head, rows, strict=True):
            assert row == pytest.approx(expected, abs=1e-12)

    canvas = visit.page.locator("[data-name='layer0.attn_wq'] canvas")
    canvas.scroll_into_view_if_needed()
    canvas.click(position={"x": 20, "y": 12})
    visit.wait("window.microgpt.check !== null")
    check = visit("window.microgpt.check")
    assert check["numeric"] == pytest.approx(gradients[check["index"]], abs=1e-7)
    assert "layer0.attn_wq[" in visit.page.locator("#number").inner_text()
    reset(visit)


def test_graph_of_a_logit_opens_node_by_node_down_to_the_parameters(visit: Visit) -> None:
    visit.page.locator("#text").fill("ka")
    visit.wait("window.microgpt.trace.text === 'ka'")
    roots = {}
    for token in (3, 0):  # two logits: their difference is the log of the probabilities' ratio
        visit(f"document.getElementById('graph-token').value = {token}")
        visit.page.locator("#graph-open").click()
        visit.page.wait_for_timeout(300)
        visit.wait("document.querySelectorAll('#graph li li').length === 2")
        shown = re.search(
            r"= ([−\d.]+), gradient 1.000000",
            visit.page.locator("#graph button").first.inner_text(),
        )
        assert shown is not None
        roots[token] = float(shown[1].replace("−", "-"))
    p = visit("window.microgpt.trace.probabilities[window.microgpt.position]")
    assert roots[3] - roots[0] == pytest.approx(math.log(p[3] / p[0]), abs=2e-6)
    for _ in range(40):  # always the last node that can still be opened: the most recent product
        closed = visit.page.locator("#graph button[aria-expanded=false]")
        if visit.page.locator("#graph .leaf", has_text="lm_head[").count():
            break
        closed.last.click()
        visit.page.wait_for_timeout(30)
    assert visit.page.locator("#graph .leaf", has_text="lm_head[").count()


def test_own_list_with_unicode_trains_and_its_samples_are_pythons(visit: Visit) -> None:
    words = ["東京", "żółć", "zoë", "😀b", "naïve", "Ωmega", "e\u0301", "𝔘nd"]
    for name, value in {"num_steps": 40, "n_layer": 2, "n_embd": 8}.items():
        visit(f"document.getElementById('{name}').value = {value}")
    visit.paste("\r\n".join(words))
    config, draws, documents = Config(num_steps=40, n_layer=2, n_embd=8), Draws(42), list(words)
    draws.shuffle(documents)
    tokenizer = Tokenizer.from_documents(documents)
    start = State.initial(
        draws.weights(config.shapes(tokenizer.vocab_size).values(), config.init_std)
    )
    engine = engine_class("scalar")(config, tokenizer.vocab_size, start)
    batches = [
        [tokenizer.encode(documents[i])] for step in range(40) for i in batch_indices(step, 1, 8)
    ]
    losses = engine.steps(
        batches, [reference.learning_rate_at(s, 40, 0.01) for s in range(40)], lambda: False
    ).losses
    assert visit("window.microgpt.losses") == pytest.approx(losses, abs=1e-12)
    found = engine.generate(
        20, draws.coins(400), [tokenizer.bos], 0.5, 0, 1.0, lambda: False
    ).documents
    assert visit("window.microgpt.samples.map((one) => one.text)") == [
        tokenizer.decode(tokens) for tokens in found
    ]
    reset(visit)


def test_a_file_is_taken_in_and_one_that_is_not_text_is_refused(
    visit: Visit, tmp_path: Path
) -> None:
    visit("document.getElementById('num_steps').value = 20")
    (tmp_path / "list.txt").write_bytes("\ufeffzoë\r\nżółć\rotto\n\n".encode())
    visit("window.microgpt.lines = {}")
    visit.page.locator("#file").set_input_files(tmp_path / "list.txt")
    visit.wait()
    assert visit("window.microgpt.facts.documents") == 3
    assert "".join(visit("window.microgpt.facts.alphabet")) == "".join(sorted(set("zoëżółćotto")))
    (tmp_path / "list.bin").write_bytes(b"\xff\xfe\x00")
    visit.page.locator("#file").set_input_files(tmp_path / "list.bin")
    visit.wait("document.getElementById('status').textContent.includes('not UTF-8')")
    reset(visit)


def test_another_shape_redraws_every_matrix_under_its_own_name(visit: Visit) -> None:
    for name, value in {"num_steps": 5, "n_layer": 2, "n_embd": 8}.items():
        visit(f"document.getElementById('{name}').value = {value}")
    visit.paste("anna\notto\nbob\n")
    sizes = reference.shapes(6, reference.GPTConfig(n_layer=2, n_embd=8))
    shown = visit(
        "[...document.querySelectorAll('#matrices .tag')]"
        ".map((tag) => tag.textContent.split(',')[0])"
    )
    assert shown == [f"{name} {rows}×{columns}" for name, (rows, columns) in sizes.items()]
    reset(visit)


def test_temperature_top_k_and_seed_sample_as_the_command_line(visit: Visit) -> None:
    for name, value in {"num_steps": 30, "n_embd": 8}.items():
        visit(f"document.getElementById('{name}').value = {value}")
    visit.paste("anna\notto\nhannah\nbob\nmaria\nmarianne\n")
    visit("document.getElementById('hold').checked = false")
    for name, value in {"temperature": "0.8", "top_k": "3", "coins": "7"}.items():
        visit(
            f"(box => {{ box.value = '{value}'; box.oninput(); }})"
            f"(document.getElementById('{name}'))"
        )
    visit.page.wait_for_timeout(300)
    model = MicroGPT(num_steps=30, n_embd=8, engine="scalar").fit(
        ["anna", "otto", "hannah", "bob", "maria", "marianne"]
    )
    expected = model.sample(20, temperature=0.8, top_k=3, seed=7)
    assert visit("window.microgpt.samples.map((one) => one.text)") == expected
    reset(visit)


def test_hostile_strings_run_nothing(browser: Any, tmp_path: Path) -> None:
    address = write_page(
        tmp_path, [{"name": "</script><script>window.hit=4</script>", "text": "\n".join(HOSTILE)}]
    )
    visit = Visit(browser, address)
    visit("document.getElementById('num_steps').value = 20")
    visit.paste("\n".join(HOSTILE))
    visit.page.locator("#text").fill(HOSTILE[0])
    visit.page.wait_for_timeout(200)
    assert visit("window.hit") is None
    assert visit("document.querySelectorAll('img').length") == 0
    assert visit("window.microgpt.facts.alphabet.includes('\\0')")
    assert visit.complaints == []
    visit.context.close()


def test_policy_lets_nothing_in_and_nothing_out(visit: Visit) -> None:
    assert visit.requests[0].startswith("file:")
    assert {url.split(":")[0] for url in visit.requests[1:]} <= {"blob", "data", "file"}
    assert len({url for url in visit.requests if url.startswith("file:")}) == 1
    assert visit.complaints == []
    policy = assembly.content_security_policy()
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert visit("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    visit(
        "document.body.append(Object.assign("
        "document.createElement('script'), { textContent: 'window.hit = 5' }))"
    )
    assert visit("window.hit") is None
    visit.complaints.clear()


def test_pointing_at_a_part_lights_its_lines_in_both_languages(visit: Visit) -> None:
    lit = "[...document.querySelectorAll('#source .lit')].map((line) => line.textContent)"
    visit.page.locator("#attention").hover()
    assert visit(lit)[0].startswith("def attend(")
    visit.page.locator("#javascript").click()
    visit.page.locator("#attention").hover()
    assert visit(lit)[0].startswith("function attend(") and visit(lit)[-1] == "}"
    visit.page.locator("[data-name=wpe] canvas").focus()
    assert any("wpe" in line for line in visit(lit))
    visit.page.locator("#python").click()


def test_keyboard_alone_reaches_and_works_everything(visit: Visit) -> None:
    page, seen = visit.page, []
    page.evaluate("document.activeElement.blur()")
    for _ in range(120):
        page.keyboard.press("Tab")
        seen.append(
            visit(
                "document.activeElement.id ||"
                " document.activeElement.closest('[data-name]')?.dataset.name || ''"
            )
        )
    for name in (
        "list",
        "own",
        "step",
        "temperature",
        "top_k",
        "coins",
        "again",
        "hold",
        "text",
        "graph-open",
        "python",
        "source",
        "wte",
    ):
        assert name in seen, name
    page.locator("[data-name=wte] canvas").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    visit.wait("window.microgpt.check !== null && window.microgpt.picked.column === 1")
    assert visit("window.microgpt.picked") == {"name": "wte", "row": 1, "column": 1}
    page.locator("#letters button").nth(1).focus()
    page.keyboard.press("Enter")
    assert visit("window.microgpt.position") == 1


def test_every_chart_has_its_numbers_as_a_table(visit: Visit) -> None:
    visit.page.locator("[data-name=wte] canvas").click()
    for name in ("loss", "next", "attention", "cells", "matrix"):
        visit(f"document.querySelector('[data-table={name}]').open = true")
        visit.page.wait_for_timeout(50)
        assert visit(f"document.querySelectorAll('[data-table={name}] tbody tr').length") > 0, name
    row = visit("document.querySelectorAll('[data-table=loss] tbody tr')[0].textContent")
    assert row.startswith("13.4639")  # step 1, loss 3.4639


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_violation_and_nothing_overflows(
    browser: Any, tmp_path: Path, theme: str, width: int
) -> None:
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        skip_or_fail("browser", "axe-playwright-python is not installed")
    visit = Visit(
        browser, write_page(tmp_path), color_scheme=theme, viewport={"width": width, "height": 900}
    )
    visit("document.querySelectorAll('details').forEach((box) => { box.open = true; })")
    visit.page.locator("[data-name=wte] canvas").click()
    visit.page.locator("#graph-open").click()
    visit.wait("document.querySelectorAll('#graph li').length > 2")
    found = Axe().run(visit.page).response["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []
    assert visit("document.documentElement.scrollWidth") <= width
    visit.context.close()


def test_reduced_motion_leaves_nothing_moving(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, write_page(tmp_path), reduced_motion="reduce")
    assert visit("document.getAnimations().length") == 0
    assert visit("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    visit.context.close()


def test_data_survives_its_embedding() -> None:
    strings = [*HOSTILE, "\ud7ff\ue000", base64.b64encode(bytes(range(256))).decode()]
    text = assembly.script_safe(strings)
    assert json.loads(text) == strings
    assert not set("<>&\u2028\u2029") & set(text)
