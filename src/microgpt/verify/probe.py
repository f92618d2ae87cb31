"""Run one Python program and report what it computes: python -B probe.py SETTINGS.

A script for the cage, under any Python from 3.8 on; it imports nothing of the package. The program
is program.py in the current folder. It runs as `__main__`, as `python program.py` would run it,
except that

- every float that is formatted (f-string, %, .format, format, round) is noted before it is rounded;
- the variables in sight are searched for collections of numbers. Those of interest are noted when
  they changed. This happens when a line of output ends, after each statement `X.backward()`,
  at the end of a function `main`, and at the end of the program. `collect` says what a collection
  is.

What is noted goes to a pipe as frames: a length (4 bytes, little-endian), a JSON header of that
length, then header["n"] raw bytes. The probe changes no value of the program.
"""

# mypy: ignore-errors

import array
import ast
import builtins
import hashlib
import io
import json
import os
import struct
import sys
import types

PROBE_NAMES = ("__probe_number__", "__probe_backward__", "__probe_moment__")


# ---- Reading numbers out of variables ------------------------------------------------------------


class NotNumbers(Exception):
    pass


def collect(value, leaves, most):
    """Append the leaves of a nested collection, in order. NotNumbers where it holds anything else.

    Collections are lists, tuples, dicts (their values), and arrays of `array` and of NumPy. Leaves
    are numbers, objects with an attribute that is a number, and records. A record is a list or
    tuple that begins with a number and contains a list or tuple.
    most: the largest number of leaves.
    """
    kind = type(value)
    if kind is dict:
        value = list(value.values())
    if kind in (dict, list, tuple):
        if is_record(value):
            leaves.append(value)
        elif value and type(value[0]) is float:
            leaves.extend(value)
        else:
            for item in value:
                collect(item, leaves, most)
    elif kind in (int, float, bool) or isinstance(value, float):
        leaves.append(value)
    elif kind is array.array or hasattr(value, "dtype"):
        numbers = value.ravel().tolist() if hasattr(value, "ravel") else value.tolist()
        leaves.extend(numbers if isinstance(numbers, list) else [numbers])
    elif value is not None and numeric_fields(value):
        leaves.append(value)
    else:
        raise NotNumbers
    if len(leaves) > most:
        raise NotNumbers


def is_record(value):
    return (
        1 < len(value) <= 8
        and type(value[0]) in (int, float)
        and any(type(v) in (list, tuple) for v in value)
    )


def numeric_fields(leaf):
    """Names of a leaf's numbers (of a record: indices). "data" and "grad" go before others."""
    if isinstance(leaf, (list, tuple)):
        return [i for i, part in enumerate(leaf) if type(part) in (int, float)]
    if isinstance(leaf, (str, bytes, type, types.FunctionType, types.ModuleType)):
        return []
    if is_number(getattr(leaf, "data", None)):
        return ["data", "grad"] if is_number(getattr(leaf, "grad", None)) else ["data"]
    names = [s for k in type(leaf).__mro__ for s in names_in_slots(k)] + list(
        getattr(leaf, "__dict__", ())
    )
    return [name for name in names if is_number(getattr(leaf, name, None))]


def names_in_slots(kind):
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


def is_number(value):
    return isinstance(value, (int, float)) or hasattr(value, "dtype")


def columns(value, most):
    """{field: array of float64} of a variable; the field is "" for plain numbers.

    Objects and records have one array for each field. Empty where the variable holds no numbers.
    """
    leaves = []
    try:
        collect(value, leaves, most)
        if not leaves or isinstance(value, (int, float)):
            return {}
        if isinstance(leaves[0], (int, float)):
            return {"": array.array("d", leaves)}
        if isinstance(leaves[0], (list, tuple)):
            return {
                str(i): array.array("d", [leaf[i] for leaf in leaves])
                for i in numeric_fields(leaves[0])
            }
        names = numeric_fields(leaves[0])
        return {name: array.array("d", [getattr(leaf, name) for leaf in leaves]) for name in names}
    except (
        NotNumbers,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
        IndexError,
        RecursionError,
    ):
        return {}


def layout_of(value):
    """[[name, rows, columns]] of a dict of matrices, [] for anything else."""
    layout = []
    for name, matrix in value.items() if isinstance(value, dict) else ():
        try:
            layout.append([str(name), len(matrix), len(matrix[0])])
        except (TypeError, IndexError, KeyError):
            return []
    return layout


# ---- Watching the program ------------------------------------------------------------------------


class Instrument(ast.NodeTransformer):
    """Adds calls of the probe: for formatted floats, after backward passes, at the end of main."""

    def visit_FormattedValue(self, node):
        self.generic_visit(node)
        if node.conversion == -1:
            node.value = noted(node.value)
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if (
            isinstance(node.op, ast.Mod)
            and isinstance(node.left, ast.Constant)
            and isinstance(node.left.value, str)
        ):
            node.right = noted(node.right)
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        function = node.func
        on_text = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Constant)
        if on_text and function.attr == "format":
            node.args = [a if isinstance(a, ast.Starred) else noted(a) for a in node.args]
            for keyword in node.keywords:
                keyword.value = noted(keyword.value)
        elif (
            isinstance(function, ast.Name)
            and function.id in ("format", "round")
            and len(node.args) == 2
        ):
            node.args[0] = noted(node.args[0])
        return node

    def visit_Expr(self, node):
        self.generic_visit(node)
        function = getattr(node.value, "func", None)
        if isinstance(function, ast.Attribute) and function.attr == "backward":
            return [node, ast.copy_location(ast.Expr(call("__probe_backward__")), node)]
        return node

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        if node.name == "main":
            end = ast.Expr(call("__probe_moment__"))
            node.body = [ast.Try(body=node.body, handlers=[], orelse=[], finalbody=[end])]
        return node


def call(name, *arguments):
    return ast.Call(func=ast.Name(id=name, ctx=ast.Load()), args=list(arguments), keywords=[])


def noted(expression):
    return ast.copy_location(call("__probe_number__", expression), expression)


class Output(io.TextIOWrapper):
    """Standard output that tells the probe when a line ends."""

    probe = None

    def write(self, text):
        if "\n" in text:
            self.probe.moment("line", sys._getframe(1))
            self.probe.line += text.count("\n")
        return super().write(text)


class Probe:
    def __init__(self, settings, program):
        self.program = program  # the globals of the program watched
        self.pipe = os.fdopen(settings["pipe"], "wb")
        self.names, self.lengths = set(settings["names"]), set(settings["lengths"])
        self.everything_at_end = settings["everything_at_end"]
        self.perturb = settings.get("perturb")
        self.answer_to = None  # in a perturbed copy of the program: where the first loss goes
        self.line, self.numbers = 0, []
        self.last, self.sent, self.told_layouts = {}, set(), set()

    def frame(self, header, raw=b""):
        if raw:
            header["n"] = len(raw)
        text = json.dumps(header).encode()
        self.pipe.write(struct.pack("<I", len(text)) + text + raw)

    def number(self, value):
        """Note a float that will be formatted, or those of a tuple. Returns it unchanged."""
        for item in value if type(value) is tuple else (value,):
            item = getattr(item, "data", item) if not hasattr(item, "dtype") else item
            if isinstance(item, float) or getattr(getattr(item, "dtype", None), "kind", "") == "f":
                if self.answer_to is not None:
                    os.write(self.answer_to, struct.pack("<d", item))
                    os._exit(0)
                self.numbers.append(float(item))
        return value

    def moment(self, kind, frame):
        """Note each variable of interest that changed, in this frame and in its callers."""
        seen = set()
        while frame is not None and frame.f_globals is self.program:
            for name, value in list(frame.f_locals.items()):
                if name not in seen and not name.startswith("__"):
                    seen.add(name)
                    self.variable(kind, name, value)
            frame = frame.f_back
        if self.numbers:
            self.frame(
                {"t": "numbers", "line": self.line},
                struct.pack(f"<{len(self.numbers)}d", *self.numbers),
            )
            self.numbers = []

    def variable(self, kind, name, value):
        by_name = name in self.names or (kind == "end" and self.everything_at_end)
        if not by_name and not self.lengths:
            return
        most = 1 << 24 if by_name else max(self.lengths)
        for field, numbers in columns(value, most).items():
            if not by_name and len(numbers) not in self.lengths:
                continue
            if field == "grad" and kind != "backward" and not self.lengths:
                continue
            key = f"{name}.{field}" if field else name
            self.state(kind, key, numbers)
            if key not in self.told_layouts and isinstance(value, dict):
                self.told_layouts.add(key)
                self.frame({"t": "layout", "name": key, "layout": layout_of(value)})
            if (
                self.perturb
                and kind == "line"
                and name in self.perturb["names"]
                and field != "grad"
            ):
                self.evaluate(value, field)

    def state(self, kind, key, numbers):
        raw = (
            numbers.tobytes()
            if sys.byteorder == "little"
            else struct.pack(f"<{len(numbers)}d", *numbers)
        )
        digest = hashlib.sha256(raw).hexdigest()
        if kind != "backward":
            if self.last.get(key) == digest:
                return
            self.last[key] = digest
        fresh = digest not in self.sent
        self.sent.add(digest)
        header = {"t": "state", "kind": kind, "name": key, "line": self.line, "sha": digest}
        self.frame(header, raw if fresh else b"")

    def evaluate(self, value, field):
        """Note a loss for each (index, change), from a forked copy with that parameter changed."""
        wanted, self.perturb = self.perturb["changes"], None
        self.pipe.flush()
        sys.stdout.flush()
        results = []
        for index, change in wanted:
            reading, writing = os.pipe()
            if os.fork() == 0:
                self.answer_to = writing
                nudge(value, field, index, change)
                return  # the copy goes on with the program until its first loss
            os.close(writing)
            with os.fdopen(reading, "rb") as answer:
                results.append(struct.unpack("<d", answer.read(8).ljust(8, b"\xff"))[0])
            os.wait()
        self.frame({"t": "evaluated"}, struct.pack(f"<{len(results)}d", *results))


def nudge(value, field, index, change):
    """Add `change` to number `index` of a collection, in place."""
    if hasattr(value, "dtype"):
        value.flat[index] += change
    elif isinstance(value, dict) and hasattr(next(iter(value.values())), "dtype"):
        for part in value.values():
            if index < part.size:
                part.flat[index] += change
                return
            index -= part.size
    else:
        leaves = []
        collect(value, leaves, 1 << 24)
        leaf = leaves[index]
        if isinstance(leaf, list):
            leaf[int(field)] += change
        else:
            setattr(leaf, field, getattr(leaf, field) + change)


def main():
    settings = json.loads(sys.argv[1])
    module = types.ModuleType("__main__")
    module.__file__ = "program.py"
    probe = Probe(settings, module.__dict__)
    with open("program.py", "rb") as file:
        tree = Instrument().visit(ast.parse(file.read(), "program.py"))
    code = compile(ast.fix_missing_locations(tree), "program.py", "exec")
    hooks = (
        probe.number,
        lambda: probe.moment("backward", sys._getframe(1)),
        lambda: probe.moment("end", sys._getframe(1)),
    )
    for name, hook in zip(PROBE_NAMES, hooks):
        setattr(builtins, name, hook)
    plain = sys.stdout
    Output.probe = probe
    sys.stdout = Output(
        plain.detach(), encoding=plain.encoding, errors=plain.errors, line_buffering=False
    )
    sys.argv, sys.path[0], sys.modules["__main__"] = ["program.py"], os.getcwd(), module
    try:
        exec(code, module.__dict__)
    finally:
        sys.stdout.flush()
        if probe.answer_to is not None:
            os._exit(1)
        for name, value in list(module.__dict__.items()):
            if not name.startswith("__"):
                probe.variable("end", name, value)
        if probe.numbers:
            probe.frame(
                {"t": "numbers", "line": probe.line},
                struct.pack(f"<{len(probe.numbers)}d", *probe.numbers),
            )
        probe.frame({"t": "end"})
        probe.pipe.flush()


main()
