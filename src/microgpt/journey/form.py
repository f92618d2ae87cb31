"""The form of a shortened program: does it keep the comments and the spacing of its original?

The rules: every comment is kept, in order and wording. Blank lines between the same sections are
kept (a section begins at a comment that has a line to itself). Blocks are indented by the same
character and width. There are fewer lines, no `;` chains, and no line longer than the original's
longest. What the program computes is not looked at; `verify` does that.
"""

from __future__ import annotations

import io
import tokenize
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from ..errors import DataError

# Kinds of tokens that carry no code.
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
_NO_CODE |= {tokenize.ENCODING, tokenize.ENDMARKER}


@dataclass(frozen=True)
class Size:
    """How big a program is."""

    lines: int  # as an editor counts them
    code_lines: int  # with a token on them that is neither comment nor docstring
    tokens: int  # without comments; 0 for JavaScript, whose tokens are not counted
    bytes: int


@dataclass
class Form:
    """The sizes of both programs, and which rules the shortened one breaks."""

    original: Size
    variant: Size
    broken: list[str]  # in words; empty where all are kept

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
    r"""How big a Python program is. Docstrings count as lines and bytes, not as code lines.

    >>> size_of("# a sum\nx = 1 + 2\n")
    Size(lines=2, code_lines=1, tokens=5, bytes=18)
    """
    tokens = tokens_of(source)
    docstrings = _docstring_lines(tokens)
    code = {
        line
        for token in tokens
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    counted = sum(token.type not in _NO_CODE for token in tokens)
    return Size(len(source.splitlines()), len(code - docstrings), counted, len(source.encode()))


def script_size_of(source: str) -> Size:
    """How big a JavaScript program is. Code lines are those that do not begin as a comment."""
    lines = [line.strip() for line in source.splitlines()]
    code = [line for line in lines if line and not line.startswith(("//", "/*", "*"))]
    return Size(len(lines), len(code), 0, len(source.encode()))


def _docstring_lines(tokens: list[tokenize.TokenInfo]) -> set[int]:
    """Lines of strings that stand alone as a statement."""
    docstrings: set[int] = set()
    before = tokenize.NEWLINE
    for token, after in zip(tokens, tokens[1:], strict=False):
        alone = (
            before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            and after.type == tokenize.NEWLINE
        )
        if token.type == tokenize.STRING and alone:
            docstrings |= set(range(token.start[0], token.end[0] + 1))
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            before = token.type
    return docstrings


def comments(source: str) -> list[str]:
    """Every comment and every docstring, in order."""
    tokens = tokens_of(source)
    docstrings = _docstring_lines(tokens)
    return [
        token.string
        for token in tokens
        if token.type == tokenize.COMMENT
        or (token.type == tokenize.STRING and token.start[0] in docstrings)
    ]


def spacing(source: str) -> dict[str, int]:
    """How many blank lines are before each comment at the left margin and each definition.

    Comments and decorators right above a definition belong to it.
    """
    lines = source.splitlines()
    blank_before: dict[str, int] = {}
    for i, line in enumerate(lines):
        text = line.strip()
        if line.startswith("#") or text.startswith(("def ", "async def ", "class ")):
            name = line if line.startswith("#") else text.partition("(")[0]
            top = i
            while top > 0 and lines[top - 1].strip().startswith(("#", "@")):
                top -= 1
            blank = next((n for n in range(top) if lines[top - n - 1].strip()), top)
            number = sum(key.startswith(name) for key in blank_before) + 1
            blank_before[f"{name} ({number})"] = blank
    return blank_before


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
    """Compare the form of two programs. DataError where one is not Python."""
    before, after = size_of(original), size_of(variant)
    broken = [*_broken_comments(original, variant), *_broken_spacing(original, variant)]
    strange = indents(variant) - indents(original)
    broken += [f"indented by {unit!r}" for unit in sorted(strange)]
    if after.lines >= before.lines:
        broken.append(f"{after.lines} lines are not fewer than {before.lines}")
    chained = [t.start[0] for t in tokens_of(variant) if t.type == tokenize.OP and t.string == ";"]
    broken += [f"statements chained by ';' in line {chained[0]}"] if chained else []
    longest = max(map(len, original.splitlines()), default=0)
    wide = [i + 1 for i, line in enumerate(variant.splitlines()) if len(line) > longest]
    broken += [f"line {wide[0]} is longer than the original's longest, {longest}"] if wide else []
    return Form(before, after, broken)


def _broken_comments(original: str, variant: str) -> list[str]:
    """The first comment that is not the same."""
    expected = comments(original)
    for i, pair in enumerate(zip_longest(expected, comments(variant))):
        if pair[0] != pair[1]:
            was, now = ("nothing" if c is None else repr(c.split("\n")[0]) for c in pair)
            return [f"comment {i + 1} of {len(expected)} was {was} and is {now}"]
    return []


def _broken_spacing(original: str, variant: str) -> list[str]:
    """Up to three sections with another number of blank lines before them; longer runs of them."""
    wanted, kept = spacing(original), spacing(variant)
    moved = [name for name in wanted if name in kept and kept[name] != wanted[name]]
    broken = [
        f"{wanted[name]} blank lines before {name.rpartition(' ')[0]!r} became {kept[name]}"
        for name in moved[:3]
    ]
    widest = max(_blank_runs(original), default=0)
    wider = dict.fromkeys(run for run in _blank_runs(variant) if run > widest)
    return broken + [f"{run} blank lines in a row" for run in wider]


def _blank_runs(source: str) -> list[int]:
    """The lengths of all runs of blank lines."""
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
        before, after = getattr(form.original, name), getattr(form.variant, name)
        change = 100 * (after - before) / max(1, before)
        rows.append(f"{name.replace('_', ' '):10}{before:10,}{after:10,}{change:+8.1f}%")
    rules = [f"not kept: {rule}" for rule in form.broken]
    return "\n".join([*rows, *(rules or ["comments, spacing and indentation are kept"])]) + "\n"
