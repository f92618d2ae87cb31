"""Python source as small trees, to compare shapes: what carries meaning, and its place in the text.

LibCST parses, because it knows the place of everything, comments and spacing included.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import Any

from ..errors import DataError, MissingPartError

LEAVES = {
    "Name",
    "Integer",
    "Float",
    "Imaginary",
    "SimpleString",
    "FormattedStringText",
    "Operator",
    "Empty",
}
# Fields of LibCST nodes that carry no meaning: names that contain one of these, and whole names.
_LAYOUT = re.compile("whitespace|[lr]par|comma|semicolon|[lr]bracket|[lr]brace|equal|dot")
_SKIPPED = re.compile("leading_lines|lines_after|header|footer|trailing|star|colon|indent|encoding")
# Nodes with one child that stand for it.
_WRAPPERS = ("SimpleStatementLine", "Expr", "Arg", "Element")


@dataclass
class Tree:
    """A node of the tree."""

    kind: str
    label: str  # a leaf's text, else ""
    children: list[Tree]
    start: int  # offsets in the source
    end: int
    line: int
    end_line: int
    column: int = 0
    size: int = 1  # leaves below it
    # Equal for trees that differ only in the texts of their leaves.
    shape: int = field(default=0, repr=False)

    @cached_property
    def text(self) -> str:
        """All leaves' texts."""
        return " ".join(child.text for child in self.children) if self.children else self.label

    def walk(self) -> Iterator[Tree]:
        """This node and all below it, in the order of the text."""
        stack = [self]
        while stack:
            tree = stack.pop()
            yield tree
            stack += reversed(tree.children)


def parse(source: str, name: str) -> Tree:
    """The whole file as a tree.

    Raises DataError where it is not Python, MissingPartError where LibCST is not installed.
    """
    try:
        import libcst
        from libcst.metadata import MetadataWrapper, PositionProvider
    except ImportError as error:
        raise MissingPartError(
            "analyze needs LibCST, which is not installed",
            fix="pip install 'microgpt-exact[journey]'",
        ) from error
    try:
        wrapper = MetadataWrapper(libcst.parse_module(source), unsafe_skip_copy=True)
    except (libcst.ParserSyntaxError, RecursionError) as error:
        why, at = _syntax_error(source)
        raise DataError(
            f"this is not a Python program: {why or type(error).__name__}",
            where=f"{name}, line {at}" if at else name,
        ) from error
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return _Converter(wrapper.resolve(PositionProvider), starts).tree(wrapper.module)


def _syntax_error(source: str) -> tuple[str, int]:
    """What Python says is wrong, and the line; "" and 0 if it says nothing.

    LibCST's own message lists every token that would have been right, on several lines.
    """
    try:
        ast.parse(source)
    except SyntaxError as error:
        return error.msg, error.lineno or 0
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error), 0
    return "", 0


@cache
def _parts(kind: Any) -> tuple[str, ...]:
    """The fields of a LibCST node that carry meaning."""
    names = [item.name for item in fields(kind)]
    return tuple(n for n in names if not _LAYOUT.search(n) and not _SKIPPED.fullmatch(n))


class _Converter:
    def __init__(self, positions: Any, starts: list[int]) -> None:
        self._positions, self._starts = positions, starts

    def tree(self, node: Any) -> Tree:
        kind = type(node).__name__
        where = self._positions.get(node)
        line, end_line = (where.start.line, where.end.line) if where else (0, 0)
        start = self._starts[line - 1] + where.start.column if where else 0
        end = self._starts[end_line - 1] + where.end.column if where else 0
        label, children = "", []
        if kind in LEAVES:
            label = node.value
        else:
            kind_of: Any = type(node)
            values = [getattr(node, name) for name in _parts(kind_of)]
            parts = [part for v in values for part in (v if isinstance(v, (list, tuple)) else (v,))]
            children = [child for part in parts if (child := self._child(part)) is not None]
        if not children and kind not in LEAVES:
            label = kind  # an operator, `pass`, `...`: its kind is its text
            kind = "Operator" if kind not in ("Pass", "Break", "Continue", "Ellipsis") else kind
        column = where.start.column if where else 0
        tree = Tree(kind, label, children, start, end, line, end_line, column)
        tree.size = sum(child.size for child in children) or 1
        shape_label = label if kind not in LEAVES else ""
        tree.shape = hash((kind, shape_label, tuple(child.shape for child in children)))
        return tree

    def _child(self, part: Any) -> Tree | None:
        if part is None or not hasattr(part, "visit"):
            return None
        kind = type(part).__name__
        if any(word in kind for word in ("Whitespace", "Newline", "Comment", "Maybe", "EmptyLine")):
            return None
        if kind in ("IndentedBlock", "SimpleStatementSuite", *_WRAPPERS):
            return self._unwrapped(part)
        return self.tree(part)

    def _unwrapped(self, part: Any) -> Tree:
        tree = self.tree(part)
        if tree.kind == "SimpleStatementSuite":
            tree.kind = "IndentedBlock"  # def f(): return x has the shape of its two-line form
            tree.shape = hash((tree.kind, "", tuple(child.shape for child in tree.children)))
        if len(tree.children) == 1 and tree.kind in _WRAPPERS:
            return tree.children[0]
        return tree
