"""The source panel: every name that a part of the page gives is in both languages' sources."""

from __future__ import annotations

import json
import re

import pytest
from page_support import EDITION, PAGE, node

from microgpt import reference

SOURCES = {"python": reference.__file__, "javascript": str(EDITION)}
LINES = """
import { readFileSync } from "node:fs";
const { named_lines } = await import(process.argv[1]);
const [path, wanted] = [process.argv[2], JSON.parse(process.argv[3])];
const text = readFileSync(path, "utf8");
const lines = text.split("\\n");
const found = wanted.map((words) => named_lines(text, words).map((i) => lines[i]));
process.stdout.write(JSON.stringify(found));
"""
MADE = """
const { shapes } = await import(process.argv[1]);
const sizes = shapes(2, { n_layer: 1, n_embd: 1, block_size: 1 });
process.stdout.write(JSON.stringify(Object.keys(sizes)));
"""


def lines_of(language: str, wanted: list[str]) -> list[list[str]]:
    """The source lines that each data-lit names, as text."""
    task = (PAGE / "source.js").as_uri(), SOURCES[language], json.dumps(wanted)
    found: list[list[str]] = json.loads(node(LINES, *task))
    return found


def parts() -> list[str]:
    """Every data-lit of the page: written in its HTML, in the graph's nodes, and by matrix."""
    written = re.findall(r'data-lit="([^"]+)"', (PAGE / "page.html").read_text(encoding="utf-8"))
    script = (PAGE / "parameters.js").read_text(encoding="utf-8")
    nodes = re.findall(r'"((?:__|fn:)\w+(?: \w+)?)"', script)
    matrices = [name.split(".")[-1] for name in json.loads(node(MADE, EDITION.as_uri()))]
    assert len(written) > 8 and len(nodes) == 5 and len(matrices) == 9
    return [*written, *nodes, *matrices]


@pytest.mark.parametrize("language", SOURCES)
def test_every_part_of_the_page_names_lines_of_the_source(language: str) -> None:
    wanted = parts()
    named = dict(zip(wanted, lines_of(language, wanted), strict=True))
    assert [part for part, lines in named.items() if not lines] == []


def test_every_single_name_is_in_one_of_the_sources() -> None:
    names = sorted({word for part in parts() for word in part.split()})
    found = {language: lines_of(language, names) for language in SOURCES}
    for i, name in enumerate(names):
        needed = SOURCES if name.startswith("fn:") else ()
        assert all(found[language][i] for language in needed), name
        assert any(found[language][i] for language in SOURCES), name


@pytest.mark.parametrize("language", SOURCES)
def test_a_definition_is_highlighted_from_its_head_to_its_end(language: str) -> None:
    attend, value, relu, main = lines_of(language, ["fn:attend", "fn:Value", "fn:relu", "fn:main"])
    following = "def gpt" if language == "python" else "function gpt"
    assert "attend(query, keys, values)" in attend[0] and len(attend) > 4
    assert not any(following in line for line in attend)
    assert "class Value" in value[0] and any("backward" in line for line in value)
    assert "relu(" in relu[0]
    assert "sample(" in "".join(main[-6:])
    if language == "javascript":
        assert (attend[-1], relu[-1], main[-1]) == ("}", "  }", "}")


def test_a_head_over_several_lines_belongs_to_its_definition() -> None:
    python = "def f(\n    a,\n):\n    return a\n\n\nx = f(1)\n"
    script = "export function f(\n  a,\n) {\n  return a;\n}\nf(1);\n"
    count = "const { named_lines } = await import(process.argv[1]);" + (
        "process.stdout.write(JSON.stringify(JSON.parse(process.argv[2])"
        '.map((text) => named_lines(text, "fn:f"))));'
    )
    found = json.loads(node(count, (PAGE / "source.js").as_uri(), json.dumps([python, script])))
    assert found == [[0, 1, 2, 3], [0, 1, 2, 3, 4]]
