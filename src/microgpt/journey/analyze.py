"""What repeats in a program: families of functions, statements and expressions of one shape, and what they would save.

Members of a family are anti-unified: what they share is the skeleton, what differs becomes a numbered hole
(Plotkin 1970, Reynolds 1970). Savings are honest: the helper's own lines count, so many a family saves nothing or
costs lines, and the report says so. It changes nothing, and it does not know whether an abstraction would be right:
`verify` does.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .syntax import Tree, parse

ALIKE = 0.6  # share of leaves that two members of a family of functions or statements must have in common
SMALLEST = {
    "functions": 5,
    "statements": 4,
    "expressions": 8,
}  # leaves of a member; smaller ones are noise
STATEMENTS = {
    "Assign",
    "AugAssign",
    "AnnAssign",
    "Return",
    "Call",
    "If",
    "For",
    "While",
    "With",
    "Raise",
    "Assert",
}
EXPRESSIONS = {
    "Call",
    "BinaryOperation",
    "ListComp",
    "DictComp",
    "GeneratorExp",
    "Comparison",
    "IfExp",
    "Subscript",
}
BLOCKS = {"IndentedBlock", "Module"}
MOST_FAMILIES = 40  # of one coarse shape that a tree is compared with; keeps large files quick


@dataclass(frozen=True)
class Place:
    """A member: where it stands, its name if it is a function, and what fills the holes there."""

    line: int
    end_line: int
    name: str
    holes: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """Members of one shape. skeleton: the first member's text with its holes as ‹1›, ‹2›...

    lines_now: that the members take; lines_after: with a helper, its lines counted. tokens: likewise, of leaves.
    """

    kind: str
    places: tuple[Place, ...]
    skeleton: str
    way: str
    lines_now: int
    lines_after: int
    tokens_now: int
    tokens_after: int

    @property
    def saving(self) -> int:
        """Lines saved; below zero where the abstraction costs more than it saves."""
        return self.lines_now - self.lines_after

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "saving": self.saving}


Blocks = dict[int, tuple[Tree, int]]  # id of a statement -> its block, and its place there


# ---- Anti-unification ----------------------------------------------------------------------------


@dataclass
class Skeleton:
    """What some trees share. holes: for each hole, its occurrences, each the trees that fill it, one a member."""

    members: list[Tree]
    holes: list[list[list[Tree]]]

    @property
    def shared(self) -> int:
        """Leaves of the first member that follow from the skeleton: all but each hole's first occurrence."""
        return self.members[0].size - sum(hole[0][0].size for hole in self.holes)


def anti_unify(members: Sequence[Tree]) -> Skeleton:
    """The least general skeleton of trees; places where the same trees meet again are one hole."""
    holes: dict[tuple[str, ...], list[list[Tree]]] = {}

    def descend(trees: Sequence[Tree]) -> None:
        first = trees[0]
        for tree in trees:
            if (
                tree.kind != first.kind
                or tree.label != first.label
                or len(tree.children) != len(first.children)
            ):
                holes.setdefault(tuple(t.text for t in trees), []).append(list(trees))
                return
        for group in zip(*(t.children for t in trees)):
            descend(group)

    descend(members)
    return Skeleton(list(members), list(holes.values()))


def grouped(trees: Iterable[Tree]) -> list[Skeleton]:
    """Families among trees of one coarse shape: each joins the first whose skeleton stays ALIKE with it in."""
    families: list[list[Tree]] = []
    for tree in trees:
        for family in families[-MOST_FAMILIES:]:
            larger = max(family[0].size, tree.size)
            if min(family[0].size, tree.size) < ALIKE * larger:
                continue
            if anti_unify([*family[:3], tree]).shared >= ALIKE * larger:
                family.append(tree)
                break
        else:
            families.append([tree])
    return [anti_unify(family) for family in families if len(family) > 1]


# ---- Collecting candidates -----------------------------------------------------------------------


def find(source: str, name: str = "the program") -> list[Family]:
    """All families, most lines saved first, then most tokens. Raises DataError where this is not Python."""
    root = parse(source, name)
    blocks = {
        id(child): (block, i)
        for block in root.walk()
        if block.kind in BLOCKS
        for i, child in enumerate(block.children)
    }
    families: list[Family] = []
    for kind, buckets in (
        ("functions", _functions(root)),
        ("statements", _statements(root)),
        ("expressions", _expressions(root)),
    ):
        for bucket in buckets.values():
            if len(bucket) > 1:
                families += [
                    _family(kind, skeleton, source, blocks) for skeleton in grouped(bucket)
                ]
    families += _twins([f for f in families if f.kind == "statements"])
    families.sort(
        key=lambda f: (-f.saving, f.tokens_after - f.tokens_now, f.places[0].line, -len(f.places))
    )
    return _distinct(families)


def _functions(root: Tree) -> dict[object, list[Tree]]:
    """By owner, number of parameters and kinds of statements: where one helper could serve."""
    buckets: dict[object, list[Tree]] = defaultdict(list)
    for owner in root.walk():
        if owner.kind in BLOCKS:
            for tree in owner.children:
                if tree.kind == "FunctionDef" and tree.size >= SMALLEST["functions"]:
                    body = [child.kind for child in tree.children if child.kind == "IndentedBlock"]
                    kinds = [
                        t.kind
                        for child in tree.children
                        if child.kind in body
                        for t in child.children
                    ]
                    buckets[id(owner), tuple(kinds)].append(tree)
    return buckets


def _statements(root: Tree) -> dict[object, list[Tree]]:
    buckets: dict[object, list[Tree]] = defaultdict(list)
    for block in root.walk():
        if block.kind in BLOCKS:
            for tree in block.children:
                if tree.kind in STATEMENTS and tree.size >= SMALLEST["statements"]:
                    value = tree.children[-1]
                    called = (
                        value.children[0].label if value.kind == "Call" and value.children else ""
                    )
                    buckets[tree.kind, value.kind, called, len(value.children)].append(tree)
    return buckets


def _expressions(root: Tree) -> dict[object, list[Tree]]:
    """Expressions by exact shape: only names, numbers and operators may differ."""
    buckets: dict[object, list[Tree]] = defaultdict(list)
    for tree in root.walk():
        if tree.kind in EXPRESSIONS and tree.size >= SMALLEST["expressions"]:
            buckets[tree.shape].append(tree)
    return buckets


# ---- What a family would save --------------------------------------------------------------------


def _family(kind: str, skeleton: Skeleton, source: str, blocks: Blocks) -> Family:
    members = skeleton.members
    now = sum(t.end_line - t.line + 1 for t in members)
    way, after = _way(kind, members, now, blocks)
    first = [hole[0] for hole in skeleton.holes]
    filled = sum(tree.size for hole in first for tree in hole)
    tokens_after = skeleton.shared + len(first) + 3 + filled + 2 * len(members)
    places = tuple(
        Place(t.line, t.end_line, _name_of(t), tuple(source[h[i].start : h[i].end] for h in first))
        for i, t in enumerate(members)
    )
    text = _with_holes(source, skeleton)
    return Family(kind, places, text, way, now, after, sum(t.size for t in members), tokens_after)


def _way(kind: str, members: Sequence[Tree], now: int, blocks: Blocks) -> tuple[str, int]:
    """How to abstract, and the lines that takes: the helper's own, one for each member, and every docstring."""
    count = len(members)
    docs = [_docstring_lines(t) for t in members]
    height = max(t.end_line - t.line + 1 - doc for t, doc in zip(members, docs))
    if kind == "functions":
        return "a function that makes them", height + 3 + count + sum(docs)
    if kind == "statements":
        return (
            ("a loop over the holes", 1 + height)
            if _loops(members, blocks)
            else ("a helper", height + 1 + count)
        )
    return "a helper", 2 + now


def _docstring_lines(tree: Tree) -> int:
    """Lines of a function's docstring: they stay, whatever becomes of its body."""
    body = next((child for child in tree.children if child.kind == "IndentedBlock"), None)
    first = body.children[0] if tree.kind == "FunctionDef" and body and body.children else None
    return (
        first.end_line - first.line + 1
        if first and first.kind in ("SimpleString", "ConcatenatedString")
        else 0
    )


def _loops(members: Sequence[Tree], blocks: Blocks) -> bool:
    """Neighbours in one block that bind no name of their own can become a loop."""
    block, at = blocks[id(members[0])]
    together = block.children[at : at + len(members)]
    neighbours = len(together) == len(members) and all(a is b for a, b in zip(together, members))
    binds = any(t.kind == "Assign" and t.children[0].children[0].kind == "Name" for t in members)
    return neighbours and not binds


def _twins(families: Sequence[Family]) -> list[Family]:
    """Families whose members alternate within a few lines: one thing done twice, statement by statement."""
    found = []
    for i, one in enumerate(families):
        for two in families[i + 1 :]:
            if len(one.places) != len(two.places) or len(one.places) > 4:
                continue
            lines = sorted(p.line for family in (one, two) for p in family.places)
            if lines[-1] - lines[0] < 2 * len(lines) and one.places[0].line != two.places[0].line:
                count, now = len(one.places), one.lines_now + two.lines_now
                height = (one.lines_now + two.lines_now) // count
                text = f"{one.skeleton}\n{two.skeleton}"
                places = tuple(sorted((*one.places, *two.places), key=lambda p: p.line))
                tokens = (one.tokens_now + two.tokens_now, one.tokens_after + two.tokens_after)
                after = 1 + height + count
                found.append(
                    Family("twins", places, text, "a helper called for each", now, after, *tokens)
                )
    return found


def _distinct(families: Sequence[Family]) -> list[Family]:
    """Without families that lie within a better one."""
    kept: list[Family] = []
    for family in families:
        if not any(_within(family, other) for other in kept):
            kept.append(family)
    return kept


def _within(family: Family, other: Family) -> bool:
    spans = [(p.line, p.end_line) for p in other.places]
    return all(any(a <= p.line and p.end_line <= b for a, b in spans) for p in family.places)


# ---- Text ----------------------------------------------------------------------------------------


def _name_of(tree: Tree) -> str:
    return tree.children[0].label if tree.kind == "FunctionDef" and tree.children else ""


def _with_holes(source: str, skeleton: Skeleton) -> str:
    """The first member's text with ‹1›, ‹2›... for its holes; holes that fill nothing there are left out."""
    numbered = [
        (found[0], number) for number, hole in enumerate(skeleton.holes, 1) for found in hole
    ]
    member = skeleton.members[0]
    text, at = "", member.start
    for tree, number in sorted(numbered, key=lambda pair: pair[0].start):
        if tree.start >= at and tree.end > tree.start:
            text += source[at : tree.start] + f"‹{number}›"
            at = tree.end
    return textwrap.dedent(" " * skeleton.members[0].column + text + source[at : member.end])


def render(families: Sequence[Family], top: int = 20) -> str:
    """The families for people, best first."""
    lines = []
    for rank, family in enumerate(families[:top], 1):
        saving = (
            f"saves {family.saving} lines"
            if family.saving > 0
            else f"saves no line ({family.saving:+d})"
        )
        lines.append(
            f"{rank:2d}. {len(family.places)} {family.kind}: {saving}; "
            f"{family.lines_now} lines now, {family.lines_after} with {family.way}"
        )
        lines += [f"      {line}" for line in family.skeleton.split("\n")[:8]]
        shown = [f"{p.line}{f' {p.name}' if p.name else ''}" for p in family.places[:12]]
        lines.append(f"    lines {', '.join(shown)}{' ...' if len(family.places) > 12 else ''}")
    total = sum(max(0, family.saving) for family in families)
    lines.append(
        f"{len(families)} families; at most {total} lines in all, if every abstraction proves right"
    )
    return "\n".join(lines) + "\n"
