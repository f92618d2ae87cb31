"""Honest rewrites of the small reference: other text, the same numbers. All pass at level bits."""

from __future__ import annotations

from .wrong import ADAM, UPDATE, Change

STEP_LINE = 'f"step {step + 1:4d} / {num_steps:4d} | loss {loss.data:.4f}"'

HONEST: tuple[tuple[str, tuple[Change, ...]], ...] = (
    ("nothing changed", ()),
    (
        "parameters under another name",
        (
            ("    parameters = parameters_of(weights)\n", "    knobs = parameters_of(weights)\n"),
            (
                "num params: {len(parameters)}",
                "num params: {len(knobs)}",
            ),
            (
                "    m, v = [0.0] * len(parameters), [0.0] * len(parameters)\n",
                "    m, v = [0.0] * len(knobs), [0.0] * len(knobs)\n",
            ),
            (UPDATE, UPDATE.replace("parameters", "knobs")),
        ),
    ),
    (
        "moments under other names",
        (
            (
                "    m, v = [0.0] * len(parameters), [0.0] * len(parameters)\n",
                "    mean, square = [0.0] * len(parameters), [0.0] * len(parameters)\n",
            ),
            (UPDATE, UPDATE.replace("m, v", "mean, square")),
        ),
    ),
    (
        "moments as one pair of lists",
        (
            (
                "    m, v = [0.0] * len(parameters), [0.0] * len(parameters)\n",
                "    moments = [[0.0] * len(parameters) for _ in range(2)]\n",
            ),
            (UPDATE, UPDATE.replace("m, v", "*moments")),
        ),
    ),
    (
        "printed before the update",
        (
            (UPDATE, ""),
            (
                f"        print({STEP_LINE})\n",
                f"        print({STEP_LINE})\n" + UPDATE,
            ),
        ),
    ),
    (
        "loss formatted by %",
        (
            (
                STEP_LINE,
                '"step %4d / %4d | loss %.4f" % (step + 1, num_steps, loss.data)',
            ),
        ),
    ),
    (
        "loss formatted by str.format",
        (
            (
                STEP_LINE,
                '"step {:4d} / {:4d} | loss {:.4f}".format(step + 1, num_steps, loss.data)',
            ),
        ),
    ),
    (
        "loss formatted by format",
        (('| loss {loss.data:.4f}"', '| loss " + format(loss.data, ".4f")'),),
    ),
    (
        "written to stdout without print",
        (
            (
                f"        print({STEP_LINE})\n",
                f"        sys.stdout.write({STEP_LINE} + '\\n')\n",
            ),
        ),
    ),
    (
        "operators as lambdas",
        (("    def __neg__(self): return self * -1\n", "    __neg__ = lambda self: self * -1\n"),),
    ),
    (
        "reflected operators as aliases",
        (
            ("    def __rmul__(self, other): return self * other\n", "    __rmul__ = __mul__\n"),
            ("    def __radd__(self, other): return self + other\n", "    __radd__ = __add__\n"),
        ),
    ),
    ("no slots", (('    __slots__ = ("data", "grad", "inputs", "local_grads")\n', ""),)),
    ("other names of attributes", (("self.inputs = inputs", "self.inputs = tuple(inputs)"),)),
    (
        "weights drawn in a loop",
        (
            (
                """    return {
        name: [[Value(rng.gauss(0, std)) for _ in range(columns)] for _ in range(rows)]
        for name, (rows, columns) in sizes.items()
    }
""",
                """    drawn = {}
    for name, (rows, columns) in sizes.items():
        drawn[name] = [[Value(rng.gauss(0, std)) for _ in range(columns)] for _ in range(rows)]
    return drawn
""",
            ),
        ),
    ),
    (
        "matrix names joined",
        (
            (
                '    for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo"):\n',
                '    for name in "attn_wq attn_wk attn_wv attn_wo".split():\n',
            ),
        ),
    ),
    (
        "linear with an explicit start",
        (
            (
                "return [sum(w * xi for w, xi in zip(row, x)) for row in matrix]",
                "return [sum((w * xi for w, xi in zip(row, x)), 0) for row in matrix]",
            ),
        ),
    ),
    ("a list inside a sum", (("sum(xi * xi for xi in x)", "sum([xi * xi for xi in x])"),)),
    (
        "inputs of a product left in place",
        (
            (
                "sum(w * value[j] for w, value in zip(weights, values)) for j in range(size)",
                "sum(weights[t] * values[t][j] for t in range(len(values))) for j in range(size)",
            ),
        ),
    ),
    (
        "Adam over zipped indices",
        (
            (
                "    for i, p in enumerate(parameters):\n",
                "    for i, p in zip(range(len(parameters)), parameters):\n",
            ),
        ),
    ),
    ("minus as an assignment", ((ADAM, "p.data = p.data - rate * m_hat / (v_hat**0.5 + eps)"),)),
    (
        "recursive topological order",
        (
            (
                """        order, seen, stack = [], {self}, [(self, iter(self.inputs))]
        while stack:
            node, inputs = stack[-1]
            for value in inputs:
                if value not in seen:
                    seen.add(value)
                    stack.append((value, iter(value.inputs)))
                    break
            else:  # every input is in the order already
                order.append(node)
                stack.pop()
""",
                """        order, seen = [], set()
        def visit(node):
            if node not in seen:
                seen.add(node)
                for value in node.inputs:
                    visit(value)
                order.append(node)
        visit(self)
""",
            ),
        ),
    ),
    (
        "a method without its name",
        (("        loss.backward()\n", "        Value.backward(loss)\n"),),
    ),
    (
        "hash seed used but not felt",
        (
            (
                "    rng = random.Random(seed)\n",
                "    rng = random.Random(seed)\n    unused = hash('a')\n",
            ),
        ),
    ),
    (
        "seed set on the module's generator",
        (("    rng = random.Random(seed)\n", "    rng = random\n    rng.seed(seed)\n"),),
    ),
    (
        "no main",
        (
            ("def main(path=", "def whole_run(path="),
            ("    main(*sys.argv[1:2])", "    whole_run(*sys.argv[1:2])"),
        ),
    ),
)
assert len(HONEST) >= 20
