"""What repeats in a program: families of functions, statements and expressions of one shape.

Members of a family are anti-unified (Plotkin 1970, Reynolds 1970): what they share is the skeleton,
and each place where they differ becomes a numbered hole. A family tells what an abstraction would
save. The helper's own lines count, so many a family saves nothing or costs lines. Whether the
abstraction would be right is not known here; `verify` tells.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .syntax import Tree, parse

# Share of leaves that two members of a family of functions or statements must have in common.
ALIKE = 0.6
# Leaves of the smallest member worth reporting.
SMALLEST = {"functions": 5, "statements": 4, "expressions": 8}
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
    """A member: its lines, its name if it is a function, and what fills the holes there."""

    line: int
    end_line: int
    name: str
    holes: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """Members of one shape."""

    kind: str  # functions, statements, expressions or twins
    places: tuple[Place, ...]
    skeleton: str  # the first member's text with its holes as ‹1›, ‹2›...
    way: str  # how to abstract: a helper, a loop, a function
    lines_now: int  # of the members
    lines_after: int  # with the abstraction, its own lines included
    tokens_now: int  # the same two in leaves of the syntax tree
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
    """What some trees share, and where they differ."""

    members: list[Tree]
    holes: list[list[list[Tree]]]  # [hole][occurrence][member]: the tree that fills it there

    @property
    def shared(self) -> int:
        """Leaves that follow from the skeleton: all but those of each hole's first occurrence."""
        return self.members[0].size - sum(hole[0][0].size for hole in self.holes)


def anti_unify(members: Sequence[Tree]) -> Skeleton:
    """The least general skeleton of trees. Where the same trees meet again, it is the same hole."""
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
    """Families among trees of one coarse shape.

    Each tree joins the first family whose skeleton keeps a share ALIKE of the leaves with it.
    """
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
    """All families: those that save most lines first, then most tokens. DataError: not Python."""
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
    """How to abstract, and the lines after: the helper's, one for each member, all docstrings."""
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
    """Neighbors in one block that bind no name of their own can become a loop."""
    block, at = blocks[id(members[0])]
    together = block.children[at : at + len(members)]
    neighbors = len(together) == len(members) and all(a is b for a, b in zip(together, members))
    binds = any(t.kind == "Assign" and t.children[0].children[0].kind == "Name" for t in members)
    return neighbors and not binds


def _twins(families: Sequence[Family]) -> list[Family]:
    """Pairs of families whose members alternate within a few lines: one thing done twice."""
    twins = []
    for i, family in enumerate(families):
        for other in families[i + 1 :]:
            count = len(family.places)
            if count != len(other.places) or count > 4:
                continue
            places = tuple(sorted((*family.places, *other.places), key=lambda p: p.line))
            near = places[-1].line - places[0].line < 2 * len(places)
            if near and family.places[0].line != other.places[0].line:
                lines_now = family.lines_now + other.lines_now
                twins.append(
                    Family(
                        "twins",
                        places,
                        f"{family.skeleton}\n{other.skeleton}",
                        "a helper called for each",
                        lines_now,
                        1 + lines_now // count + count,
                        family.tokens_now + other.tokens_now,
                        family.tokens_after + other.tokens_after,
                    )
                )
    return twins


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
    """The first member's text with ‹1›, ‹2›... for its holes, except those that are empty there."""
    numbered = [
        (occurrence[0], number)
        for number, hole in enumerate(skeleton.holes, 1)
        for occurrence in hole
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
