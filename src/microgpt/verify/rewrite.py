"""Another number of steps or another seed for a program: one number in its text changes.

The number is found in the syntax tree. Where it is not found, or is found in several places, the
change is refused: a guess could make two different programs look the same.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..errors import DataError, quote

STEP_NAMES = ("num_steps", "steps", "n_steps")
SEED_NAMES = ("seed",)
_FIX = "a file that python accepts"


@dataclass(frozen=True)
class Place:
    """A whole number in a program's text, and where it is."""

    value: int
    line: int  # from 1
    start: int  # in the line, in bytes from 0
    end: int


def steps_place(source: str, name: str = "") -> Place:
    """Where the program says how many steps it trains.

    That is the one assignment to `num_steps` (or `name`), or the one parameter with that name and
    a default. Where there is none, it is the one assignment of a whole number that the program
    contains only once and that a `for` statement passes to `range`.

    >>> steps_place("x = 1\\nnum_steps = 1000\\n")
    Place(value=1000, line=2, start=12, end=16)
    """
    tree = _parsed(source)
    names = (name,) if name else STEP_NAMES
    places = [place for target, place in _assigned(tree) if target in names]
    if not places and not name:
        looped = {
            n.id
            for loop in ast.walk(tree)
            if isinstance(loop, ast.For)
            for n in _range_names(loop.iter)
        }
        numbers = [
            n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is int
        ]
        assigned = [place for target, place in _assigned(tree) if target in looped]
        places = [p for p in assigned if numbers.count(p.value) == 1 and p.value > 1]
    return _only(places, "number of steps", f"an assignment such as {names[0]} = 1000")


def seed_place(source: str) -> Place:
    """Where the program says its seed: seed(42), Random(42), or a name `seed` set to a number."""
    tree = _parsed(source)
    places = [place for target, place in _assigned(tree) if target in SEED_NAMES]
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and len(node.args) == 1
            and isinstance(node.args[0], ast.Constant)
        ):
            function = node.func
            called = (
                function.attr
                if isinstance(function, ast.Attribute)
                else getattr(function, "id", "")
            )
            if called in ("seed", "Random") and type(node.args[0].value) is int:
                places.append(_place(node.args[0]))
    return _only(places, "seed", "one call such as random.seed(42)")


def replaced(source: str, place: Place, value: int) -> str:
    """The program with the number at that place replaced."""
    lines = source.encode().splitlines(keepends=True)
    line = lines[place.line - 1]
    lines[place.line - 1] = line[: place.start] + str(value).encode() + line[place.end :]
    text = b"".join(lines).decode()
    ast.parse(text)
    return text


# Cached also because the parser of CPython 3.11 must not run in two threads at once: the two runs
# of a program take the text that was prepared before they started.
@lru_cache(64)
def with_settings(source: str, steps: int | None, seed: int | None, steps_name: str = "") -> str:
    """The program with that number of steps and that seed, where they are given.

    Raises DataError where a number cannot be set safely, or the source is not Python.
    """
    changes: list[tuple[Callable[[str], Place], int | None]] = [
        (lambda text: steps_place(text, steps_name), steps),
        (seed_place, seed),
    ]
    for find, value in changes:
        if value is not None:
            source = replaced(source, find(source), value)
    return source


def require_program(source: str, path: str) -> None:
    """Raise DataError for a text that is not Python, or that does nothing.

    A list of words can be valid Python: each line is an expression without effect.
    """
    for node in ast.walk(_parsed(source, path)):
        if isinstance(node, ast.Call) or (
            isinstance(node, ast.stmt) and not isinstance(node, ast.Expr)
        ):
            return
    raise DataError("this is not a Python program: it does nothing", where=quote(path), fix=_FIX)


def _parsed(source: str, path: str = "") -> ast.Module:
    try:
        return ast.parse(source, path or "<unknown>")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = str(error) or type(error).__name__  # the last two: nested too deeply
        raise DataError(
            f"this is not a Python program: {why}", where=quote(path) if path else "", fix=_FIX
        ) from error


def _assigned(tree: ast.AST) -> Iterator[tuple[str, Place]]:
    """Every name that is set to a literal whole number.

    That is by an assignment, alone or in a tuple, or as a parameter's default.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                yield from _literal(pairs)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            yield from _literal([(node.target, node.value)])
        elif isinstance(node, ast.arguments):
            positional = node.posonlyargs + node.args
            tail = positional[len(positional) - len(node.defaults) :]
            both = [
                *zip(tail, node.defaults, strict=True),
                *zip(node.kwonlyargs, node.kw_defaults, strict=True),
            ]
            yield from (
                (a.arg, _place(d))
                for a, d in both
                if isinstance(d, ast.Constant) and type(d.value) is int
            )


def _literal(pairs: list[tuple[ast.expr, ast.expr]]) -> Iterator[tuple[str, Place]]:
    for target, value in pairs:
        if (
            isinstance(target, ast.Name)
            and isinstance(value, ast.Constant)
            and type(value.value) is int
        ):
            yield target.id, _place(value)


def _range_names(iterated: ast.expr) -> Iterator[ast.Name]:
    if isinstance(iterated, ast.Call) and getattr(iterated.func, "id", "") == "range":
        bound = [a.target if isinstance(a, ast.NamedExpr) else a for a in iterated.args]
        yield from (a for a in bound if isinstance(a, ast.Name))


def _place(node: ast.Constant) -> Place:
    assert isinstance(node.value, int) and node.end_col_offset is not None
    return Place(node.value, node.lineno, node.col_offset, node.end_col_offset)


def _only(places: list[Place], what: str, form: str) -> Place:
    if len(places) != 1:
        lines = ", ".join(str(place.line) for place in places)
        where = f"in {len(places)} places (lines {lines})" if places else "nowhere"
        raise DataError(
            f"cannot change the program's {what}: it must be in one place, and was found {where}",
            fix=f"{form}, or verify it without changing it",
        )
    return places[0]
