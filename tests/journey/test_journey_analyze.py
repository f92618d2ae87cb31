"""`journey analyze`: what repeats is found, by shape, with honest savings."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest
from conftest import HERE, SHARED

from microgpt.cli import main
from microgpt.errors import DataError
from microgpt.journey.analyze import Family, find, render

GOLDEN = HERE / "golden" / "analyze.json"
SEED_SCRIPT = SHARED / "seed" / "microgpt.py"


def members(families: list[Family], *lines: int) -> Family:
    """The family whose members begin on just these lines."""
    found = [f for f in families if tuple(p.line for p in f.places) == lines]
    assert found, [tuple(p.line for p in f.places) for f in families]
    return found[0]


def test_a_family_has_its_skeleton_its_holes_and_its_places() -> None:
    families = find("a = load('x', 1) + scale * a\nb = load('y', 2) + scale * b\n")
    family = members(families, 1, 2)
    assert family.kind == "statements"
    assert family.skeleton == "‹1› = load(‹2›, ‹3›) + scale * ‹1›"
    assert [place.holes for place in family.places] == [("a", "'x'", "1"), ("b", "'y'", "2")]


def test_the_helpers_own_lines_are_counted() -> None:
    body = "".join(f"    y{i} = x + {i}\n" for i in range(6))
    source = "".join(
        f"def {name}(x):\n{body}    return {name}_table[y5]\n\n" for name in ("f", "g", "h")
    )
    family = next(f for f in find(source) if f.kind == "functions")
    assert family.lines_now == 24
    assert (
        family.lines_after == 8 + 3 + 3
    )  # the body once, the function around it, one line for each
    assert family.saving == 10


def test_docstrings_are_not_counted_as_saved() -> None:
    source = "".join(
        f'def {n}(x):\n    """One.\n\n    Two.\n    """\n    y = look(x)\n    return {n}_of(y)\n\n'
        for n in "abc"
    )
    family = next(f for f in find(source) if f.kind == "functions")
    assert (family.lines_now, family.lines_after) == (21, 3 + 3 + 3 + 12)


def test_two_lines_that_repeat_save_nothing_and_are_said_to() -> None:
    families = find(
        "first = compute(alpha, mode=plain + deep)\nother()\n"
        "second = compute(beta, mode=plain + deep)\n"
    )
    assert members(families, 1, 3).saving == -2
    assert "saves no line (-2)" in render(families)


def test_neighbours_that_bind_no_name_become_a_loop() -> None:
    families = find("".join(f"table['{c}'] = matrix(rows, columns)\n" for c in "abcdef"))
    assert members(families, *range(1, 7)).way == "a loop over the holes"
    assert members(families, *range(1, 7)).saving == 4


def test_spacing_comments_and_line_breaks_do_not_hide_a_family() -> None:
    families = find("x[1] = f(a + b + c,\n         d)  # why\nx[2]=f( a+b +c, e )\n")
    assert len(members(families, 1, 3).places) == 2


def test_different_shapes_are_no_family() -> None:
    assert find("x = 1\nimport os\nprint(os.name)\n") == []


def test_what_is_not_python_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="not a Python program"):
        find("def (:\n")
    (tmp_path / "bad.py").write_text("def (:\n")
    (tmp_path / "bytes.py").write_bytes(b"x = '\xff'\n")
    assert main(["journey", "analyze", str(tmp_path / "bad.py")]) == 65
    assert main(["journey", "analyze", str(tmp_path / "bytes.py")]) == 65
    assert main(["journey", "analyze", str(tmp_path / "none.py")]) == 66
    capsys.readouterr()


def test_the_command_prints_text_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.py").write_text(
        "".join(f"table['{c}'] = matrix(rows, columns)\n" for c in "abcdef")
    )
    assert main(["journey", "analyze", str(tmp_path / "p.py")]) == 0
    assert "6 statements: saves 4 lines" in capsys.readouterr().out
    assert main(["journey", "analyze", str(tmp_path / "p.py"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["saving"] == 4


def test_the_four_areas_of_the_article_are_found_in_the_original() -> None:
    if not SEED_SCRIPT.exists():
        pytest.skip("the original script is not here")
    families = find(SEED_SCRIPT.read_text(encoding="utf-8"))
    operators = members(families, 33, 37)
    assert [p.name for p in operators.places] == ["__add__", "__mul__"]
    assert operators.saving == -2  # the article expects about 5
    assert members(families, 77, 78, 79, 80).saving == 2  # the parameter matrices: "minimal"
    assert members(families, 112, 113, 114, 132, 134).saving == -2  # the calls of linear: "minimal"
    assert members(families, 171, 172, 173, 174).saving == -1  # Adam's twin updates: about 3


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.proof if name == "_pydecimal" else ())
        for name in sorted(json.loads(GOLDEN.read_text()))
    ],
)
def test_well_known_files_give_the_families_that_were_looked_at(name: str) -> None:
    golden = json.loads(GOLDEN.read_text())[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        pytest.skip(f"{name} is not installed")
    source = Path(spec.origin).read_text(encoding="utf-8")
    if hashlib.sha256(source.encode()).hexdigest() != golden["sha256"]:
        pytest.skip(f"another version of {name} is installed than the one looked at")
    found = [[f.kind, [p.line for p in f.places], f.saving] for f in find(source)[:5]]
    assert found == golden["families"]
