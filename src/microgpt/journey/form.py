"""The form of a shortened program: does it keep the comments and the spacing of the one it was made from?

Rules: every comment kept, in order and wording; blank lines kept between the same sections (a section begins at a
comment that has a line to itself); indentation by the same character and width; fewer lines; no `;` chains, no line
longer than the original's longest. Says nothing about what the program computes: that is verify.py's.
"""

from __future__ import annotations

import io
import tokenize
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ..errors import DataError

_NO_CODE = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
)


@dataclass(frozen=True)
class Size:
    """lines as an editor counts them; code_lines: with a token on them that is neither comment nor docstring."""

    lines: int
    code_lines: int
    tokens: int
    bytes: int


@dataclass
class Form:
    """What a shortened program keeps. broken: the rules it breaks, in words; empty where it keeps all."""

    original: Size
    variant: Size
    broken: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "original": self.original.__dict__,
            "variant": self.variant.__dict__,
            "broken": self.broken,
        }


def tokens_of(source: str) -> list[tokenize.TokenInfo]:
    """All tokens; DataError where the source is not Python."""
    try:
        return list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError) as error:
        raise DataError(f"this is not a Python program: {error}") from error


def size_of(source: str) -> Size:
    """How big a program is. Docstrings count as lines and bytes, not as code lines."""
    tokens = tokens_of(source)
    docstrings = _docstring_lines(tokens)
    code = {
        line
        for token in tokens
        if token.type not in (*_NO_CODE, tokenize.ENDMARKER)
        for line in range(token.start[0], token.end[0] + 1)
    }
    counted = sum(token.type not in (*_NO_CODE, tokenize.ENDMARKER) for token in tokens)
    return Size(len(source.splitlines()), len(code - docstrings), counted, len(source.encode()))


def script_size_of(source: str) -> Size:
    """How big a JavaScript program is: code lines are those that do not begin as a comment; no tokens are counted."""
    lines = [line.strip() for line in source.splitlines()]
    code = [line for line in lines if line and not line.startswith(("//", "/*", "*"))]
    return Size(len(lines), len(code), 0, len(source.encode()))


def _docstring_lines(tokens: list[tokenize.TokenInfo]) -> set[int]:
    """Lines of strings that stand alone as a statement."""
    found: set[int] = set()
    before = tokenize.NEWLINE
    for token, after in zip(tokens, tokens[1:], strict=False):
        alone = (
            before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            and after.type == tokenize.NEWLINE
        )
        if token.type == tokenize.STRING and alone:
            found |= set(range(token.start[0], token.end[0] + 1))
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            before = token.type
    return found


def comments(source: str) -> list[str]:
    """Every comment in order, and every docstring: it is a comment that the program can read."""
    tokens = tokens_of(source)
    docstrings = _docstring_lines(tokens)
    return [
        token.string
        for token in tokens
        if token.type == tokenize.COMMENT
        or (token.type == tokenize.STRING and token.start[0] in docstrings)
    ]


def spacing(source: str) -> dict[str, int]:
    """Blank lines before each comment at the left margin and each definition, comments right above it included."""
    lines = source.splitlines()
    found: dict[str, int] = {}
    for i, line in enumerate(lines):
        text = line.strip()
        if line.startswith("#") or text.startswith(("def ", "async def ", "class ")):
            name = line if line.startswith("#") else text.partition("(")[0]
            top = i
            while top > 0 and lines[top - 1].strip().startswith(("#", "@")):
                top -= 1
            blank = next((n for n in range(top) if lines[top - n - 1].strip()), top)
            found[f"{name} ({sum(key.startswith(name) for key in found) + 1})"] = blank
    return found


def indents(source: str) -> set[str]:
    """The units by which blocks are indented."""
    stack, units = [""], set()
    for token in tokens_of(source):
        if token.type == tokenize.INDENT:
            units.add(token.string.removeprefix(stack[-1]))
            stack.append(token.string)
        elif token.type == tokenize.DEDENT:
            stack.pop()
    return units


def check(original: str, variant: str) -> Form:
    """Compare the form of two programs."""
    broken = []
    one, two = comments(original), comments(variant)
    if one != two:
        index = next(
            (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b),
            min(len(one), len(two)),
        )
        shown = [
            repr(found[index].split("\n")[0]) if index < len(found) else "nothing"
            for found in (one, two)
        ]
        broken.append(f"comment {index + 1} of {len(one)} was {shown[0]} and is {shown[1]}")
    wanted, kept = spacing(original), spacing(variant)
    moved = [c for c in wanted if c in kept and kept[c] != wanted[c]]
    broken += [
        f"{wanted[c]} blank lines before {c.rpartition(' ')[0]!r} became {kept[c]}"
        for c in moved[:3]
    ]
    runs = [Counter(_blank_runs(text)) for text in (original, variant)]
    widest = max(runs[0], default=0)
    broken += [f"{width} blank lines in a row" for width in runs[1] if width > widest]
    strange = indents(variant) - indents(original)
    broken += [f"indented by {unit!r}" for unit in sorted(strange)]
    before, after = size_of(original), size_of(variant)
    if after.lines >= before.lines:
        broken.append(f"{after.lines} lines are not fewer than {before.lines}")
    chained = [t.start[0] for t in tokens_of(variant) if t.type == tokenize.OP and t.string == ";"]
    broken += [f"statements chained by ';' in line {chained[0]}"] if chained else []
    longest = max(map(len, original.splitlines()), default=0)
    wide = [i + 1 for i, line in enumerate(variant.splitlines()) if len(line) > longest]
    broken += [f"line {wide[0]} is longer than the original's longest, {longest}"] if wide else []
    return Form(before, after, broken)


def _blank_runs(source: str) -> list[int]:
    runs, blank = [], 0
    for line in [*source.splitlines(), "end"]:
        if line.strip():
            runs += [blank] if blank else []
            blank = 0
        else:
            blank += 1
    return runs


def render(form: Form) -> str:
    """A table of sizes, and the rules broken."""
    rows = [f"{'':10}{'original':>10}{'variant':>10}{'change':>9}"]
    for name in ("lines", "code_lines", "tokens", "bytes"):
        one, two = getattr(form.original, name), getattr(form.variant, name)
        rows.append(
            f"{name.replace('_', ' '):10}{one:10,}{two:10,}{100 * (two - one) / max(1, one):+8.1f}%"
        )
    said = [f"not kept: {rule}" for rule in form.broken] or [
        "comments, spacing and indentation are kept"
    ]
    return "\n".join([*rows, *said]) + "\n"
