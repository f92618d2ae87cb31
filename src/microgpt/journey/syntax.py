"""Python source as small trees for comparing shapes: what counts for meaning, with each node's place in the text.

LibCST parses, because it knows where everything stands, comments and spacing included. Nothing is judged here.
"""

from __future__ import annotations

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
_LAYOUT = (
    "whitespace",
    "lpar",
    "rpar",
    "comma",
    "semicolon",
    "lbracket",
    "rbracket",
    "lbrace",
    "rbrace",
    "equal",
    "dot",
)
_SKIPPED = (
    "leading_lines",
    "lines_after",
    "header",
    "footer",
    "trailing",
    "star",
    "colon",
    "indent",
    "encoding",
)


@dataclass
class Tree:
    """A node. label: of a leaf its text, else "". start, end: offsets in the source. size: leaves below it."""

    kind: str
    label: str
    children: list[Tree]
    start: int
    end: int
    line: int
    end_line: int
    column: int = 0
    size: int = 1
    shape: int = field(
        default=0, repr=False
    )  # equal for trees that differ in their leaves' texts alone

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
    """The whole file as a tree. Raises DataError for what is not Python, MissingPartError without LibCST."""
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
        raise DataError(f"this is not a Python program: {error}", where=name) from error
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return _Converter(wrapper.resolve(PositionProvider), starts).tree(wrapper.module)


@cache
def _parts(kind: Any) -> tuple[str, ...]:
    """The fields of a LibCST node that carry meaning."""
    names = [item.name for item in fields(kind)]
    return tuple(n for n in names if not any(word in n for word in _LAYOUT) and n not in _SKIPPED)


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
        found = Tree(
            kind, label, children, start, end, line, end_line, where.start.column if where else 0
        )
        found.size = sum(child.size for child in children) or 1
        found.shape = hash(
            (kind, label if kind not in LEAVES else "", tuple(child.shape for child in children))
        )
        return found

    def _child(self, part: Any) -> Tree | None:
        if part is None or not hasattr(part, "visit"):
            return None
        kind = type(part).__name__
        if any(word in kind for word in ("Whitespace", "Newline", "Comment", "Maybe", "EmptyLine")):
            return None
        if kind in (
            "IndentedBlock",
            "SimpleStatementSuite",
            "SimpleStatementLine",
            "Expr",
            "Arg",
            "Element",
        ):
            return self._unwrapped(part)
        return self.tree(part)

    def _unwrapped(self, part: Any) -> Tree:
        found = self.tree(part)
        plain = len(found.children) == 1 and found.kind in (
            "SimpleStatementLine",
            "Expr",
            "Arg",
            "Element",
        )
        if found.kind == "SimpleStatementSuite":
            found.kind = "IndentedBlock"  # def f(): return x has the shape of its two-line form
            found.shape = hash((found.kind, "", tuple(child.shape for child in found.children)))
        return found.children[0] if plain else found
