"""Third rung: automatic gradients. The same table and the same steps; a class finds the gradients.

It agrees with the second rung to the last digits, but not to the last bit: its sums have another
order.
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


num_steps, rate = 1000, 1.0
weights = [[Value(random.gauss(0, 0.08)) for _ in range(vocab_size)] for _ in range(vocab_size)]


def softmax(logits):
    highest = max(logit.data for logit in logits)
    exps = [(logit - highest).exp() for logit in logits]
    total = sum(exps)
    return [e / total for e in exps]


for step in range(num_steps):
    document = documents[step % len(documents)]
    tokens = [bos, *(alphabet.index(c) for c in document), bos]
    losses = [-softmax(weights[this])[target].log() for this, target in zip(tokens, tokens[1:])]
    loss = (1 / len(losses)) * sum(losses)
    loss.backward()
    for row in weights:
        for w in row:
            w.data -= rate * w.grad
            w.grad = 0
    print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss.data:.4f}")
