"""Promise R30: of 200 mutants of the reference, the verdict on each is right.

The oracle is another recorder than `verify`'s: it wraps the program's own functions and hashes the
numbers that pass through them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from zoo.base import DATA, small_reference

from microgpt.verify.cases import cases_for
from microgpt.verify.programs import Program
from microgpt.verify.sandbox import Limits
from microgpt.verify.verdict import render
from microgpt.verify.verifier import Verifier

ORACLE = """
import contextlib, hashlib, io, struct, sys
program, digest, out = {"__name__": "program"}, hashlib.sha256(), io.StringIO()
exec(compile(open(sys.argv[1]).read(), "program", "exec"), program)
adam, loss_of = program["adam"], program["document_loss"]
def watched_adam(parameters, *rest):
    for number in [p.grad for p in parameters] + [p.data for p in parameters]:
        digest.update(struct.pack("d", number))
    adam(parameters, *rest)
    digest.update(struct.pack(f"{len(parameters)}d", *[p.data for p in parameters]))
def watched_loss(*arguments):
    loss = loss_of(*arguments)
    digest.update(struct.pack("d", loss.data))
    return loss
program |= {"adam": watched_adam, "document_loss": watched_loss}
with contextlib.redirect_stdout(out):
    program["main"](sys.argv[2])
digest.update(out.getvalue().encode())
print(digest.hexdigest())
"""
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Mod: ast.Add,
}
COMPARED = {ast.Gt: ast.GtE, ast.Eq: ast.NotEq, ast.NotIn: ast.In}


PLACES = (ast.BinOp, ast.Compare, ast.Constant, ast.stmt)


def places(tree: ast.AST) -> list[ast.AST]:
    return [node for node in ast.walk(tree) if isinstance(node, PLACES)]


def mutate(node: ast.AST) -> bool:
    """Change an operator, comparison or number, or empty a statement. False: nothing to change."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        node.op = OPERATORS[type(node.op)]()
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        node.ops = [COMPARED[type(node.ops[0])]()]
    elif isinstance(node, ast.Constant) and type(node.value) is float:
        node.value *= 1 + 2**-40
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += 1
    elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)) and not isinstance(
        node.value, ast.Constant
    ):
        node.value = ast.Constant(0)
    else:
        return False
    return True


def mutant(at: int) -> tuple[str, str]:
    """(what was changed, the program) for a place of the small reference."""
    tree = ast.parse(small_reference())
    node = places(tree)[at]
    before, line = ast.unparse(node), getattr(node, "lineno", 0)
    assert mutate(node)
    return f"line {line}: {before} became {ast.unparse(node)}", ast.unparse(
        ast.fix_missing_locations(tree)
    )


# The two last lines call main, which the oracle does itself.
LAST = small_reference().count("\n") - 2
MUTANTS = [
    at
    for at, node in enumerate(places(ast.parse(small_reference())))
    if getattr(node, "lineno", 0) <= LAST and mutate(node)
]
assert len(MUTANTS) >= 200


def recorded(source: str, folder: Path) -> str:
    (folder / "program.py").write_text(source)
    (folder / "input.txt").write_bytes(DATA)
    command = [sys.executable, "-c", ORACLE, str(folder / "program.py"), str(folder / "input.txt")]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except subprocess.TimeoutExpired:
        return "endless"


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(Program("the small reference", small_reference()))


def check(verifier: Verifier, at: int, folder: Path) -> None:
    name, source = mutant(at)
    same = recorded(source, folder) == recorded(small_reference(), folder)
    program = Program(name, source, limits=Limits(seconds=20, output=1 << 20))
    verdict = verifier.verify(program, cases_for([("twelve names", DATA)]))
    assert (verdict.answer == "same") == same, f"{name}: the oracle says {same}\n{render(verdict)}"


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(at, marks=() if i % 5 == 0 else pytest.mark.proof)
        for i, at in enumerate(MUTANTS[::20])
    ],
)
def test_the_verdict_on_a_mutant_is_the_oracles(
    verifier: Verifier, at: int, tmp_path: Path
) -> None:
    check(verifier, at, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("at", MUTANTS)
def test_the_verdict_on_every_mutant_is_the_oracles(
    verifier: Verifier, at: int, tmp_path: Path
) -> None:
    check(verifier, at, tmp_path)
