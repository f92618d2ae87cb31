"""Fourth rung: tokens become vectors. Similar tokens share what they learn.

The model is an embedding, a multi-layer perceptron and logits. It still sees one token only, so its
loss cannot fall below that of the first rung; with more steps it comes close.
"""

import math
import random

random.seed(42)
documents = [line.strip() for line in open("input.txt", encoding="utf-8") if line.strip()]
random.shuffle(documents)
alphabet = sorted(set("".join(documents)))
bos, vocab_size = len(alphabet), len(alphabet) + 1


class Value:
    """A number that remembers what it was computed from, and its slope with respect to each."""

    __slots__ = ("data", "grad", "inputs", "slopes")

    def __init__(self, data, inputs=(), slopes=()):
        self.data, self.grad, self.inputs, self.slopes = data, 0, inputs, slopes

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1, 1))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, n):
        return Value(self.data**n, (self,), (n * self.data ** (n - 1),))

    def exp(self):
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def log(self):
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def relu(self):
        return Value(max(0, self.data), (self,), (float(self.data > 0),))

    __radd__, __rmul__ = __add__, __mul__
    __neg__ = lambda self: self * -1
    __sub__ = lambda self, other: self + (-other)
    __truediv__ = lambda self, other: self * other**-1

    def backward(self):
        """Gradients of all that this depends on. A node passes its own on when it is complete."""
        order, seen, stack = [], {self}, [(self, iter(self.inputs))]
        while stack:
            for value in stack[-1][1]:
                if value not in seen:
                    seen.add(value)
                    stack.append((value, iter(value.inputs)))
                    break
            else:
                order.append(stack.pop()[0])
        self.grad = 1
        for node in reversed(order):
            for value, slope in zip(node.inputs, node.slopes):
                value.grad += slope * node.grad


n_embd, num_steps, rate = 16, 1000, 0.1
matrix = lambda m, n: [[Value(random.gauss(0, 0.08)) for _ in range(n)] for _ in range(m)]
weights = {"wte": matrix(vocab_size, n_embd), "lm_head": matrix(vocab_size, n_embd)}
weights |= {"mlp_fc1": matrix(4 * n_embd, n_embd), "mlp_fc2": matrix(n_embd, 4 * n_embd)}
parameters = [w for rows in weights.values() for row in rows for w in row]
print(f"num params: {len(parameters)}")


def linear(x, matrix):
    return [sum(w * xi for w, xi in zip(row, x)) for row in matrix]


def softmax(logits):
    highest = max(logit.data for logit in logits)
    exps = [(logit - highest).exp() for logit in logits]
    total = sum(exps)
    return [e / total for e in exps]


def model(token):
    x = weights["wte"][token]
    hidden = [h.relu() for h in linear(x, weights["mlp_fc1"])]
    x = [a + b for a, b in zip(linear(hidden, weights["mlp_fc2"]), x)]  # residual: x is added
    return linear(x, weights["lm_head"])


for step in range(num_steps):
    document = documents[step % len(documents)]
    tokens = [bos, *(alphabet.index(c) for c in document), bos]
    losses = [-softmax(model(this))[target].log() for this, target in zip(tokens, tokens[1:])]
    loss = (1 / len(losses)) * sum(losses)
    loss.backward()
    for p in parameters:
        p.data -= rate * p.grad
        p.grad = 0
    print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss.data:.4f}")
