"""Give a program another number of steps or another seed, changing that one number in its text and nothing else.

The number is found in the syntax tree. Where it is not found, or found more than once, the rewriting is refused:
a guess could make two different programs look the same.
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
    """A whole number in a program's text, and where it stands (line from 1, column in bytes from 0)."""

    value: int
    line: int
    start: int
    end: int


def steps_place(source: str, name: str = "") -> Place:
    """Where the program says how many steps it trains.

    That is the one assignment to, or parameter default of, `num_steps` (or `name`); without any, the one assignment of
    a whole number that no other place of the program repeats and that a `range` of a `for` statement takes.
    """
    tree = _parsed(source)
    names = (name,) if name else STEP_NAMES
    places = [place for found, place in _assigned(tree) if found in names]
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
        assigned = [(found, place) for found, place in _assigned(tree) if found in looped]
        places = [
            place for _, place in assigned if numbers.count(place.value) == 1 and place.value > 1
        ]
    return _only(places, "number of steps", f"an assignment such as {names[0]} = 1000")


def seed_place(source: str) -> Place:
    """Where the program says its seed: seed(42), Random(42), or a name `seed` set to a number."""
    tree = _parsed(source)
    places = [place for found, place in _assigned(tree) if found in SEED_NAMES]
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


@lru_cache(64)  # also because CPython 3.11's parser must not run in two threads at once
def with_settings(source: str, steps: int | None, seed: int | None, steps_name: str = "") -> str:
    """The program with that many steps and that seed, where they are given."""
    changes: list[tuple[Callable[[str], Place], int | None]] = [
        (lambda text: steps_place(text, steps_name), steps),
        (seed_place, seed),
    ]
    for find, value in changes:
        if value is not None:
            source = replaced(source, find(source), value)
    return source


def require_program(source: str, path: str) -> None:
    """Raises DataError for a file that is no Python, or that does nothing: a list of words is a row of expressions."""
    for node in ast.walk(_parsed(source, path)):
        if isinstance(node, ast.Call) or (
            isinstance(node, ast.stmt) and not isinstance(node, ast.Expr)
        ):
            return
    raise DataError("this is not a Python program: it does nothing", where=quote(path), fix=_FIX)


def _parsed(source: str, path: str = "") -> ast.Module:
    try:
        return ast.parse(source, path or "<unknown>")
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # the last two: nested too deeply
        why = str(error) or type(error).__name__
        raise DataError(
            f"this is not a Python program: {why}", where=quote(path) if path else "", fix=_FIX
        ) from error


def _assigned(tree: ast.AST) -> Iterator[tuple[str, Place]]:
    """Every name that is set to a literal whole number: assignments, alone or in tuples, and parameter defaults."""
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
        found = (
            "nowhere"
            if not places
            else f"in {len(places)} places (lines {', '.join(str(p.line) for p in places)})"
        )
        raise DataError(
            f"cannot change the program's {what}: it should stand in one place, and was found {found}",
            fix=f"{form}, or verify it without changing it",
        )
    return places[0]
