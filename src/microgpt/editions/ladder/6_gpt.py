"""The whole algorithm in one file: a GPT that learns a list of names and generates new ones.

    python 6_gpt.py         reads input.txt, one name a line

This sixth rung adds Adam, a falling learning rate, and samples. `microgpt verify 6_gpt.py` finds it
the same as the reference, bit for bit.
"""

import math
import random

# Documents are lists of tokens: one for each character, and bos at both ends.
random.seed(42)
documents = [line.strip() for line in open("input.txt", encoding="utf-8") if line.strip()]
random.shuffle(documents)
alphabet = sorted(set("".join(documents)))
bos, vocab_size = len(alphabet), len(alphabet) + 1


# Gradients: a computation builds a graph of Values, and backward() walks it from the loss.
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


# The model: matrices of random numbers at first, and a function of them.
n_layer, n_embd, n_head, block_size = 1, 16, 4, 16
num_steps, rate = 1000, 0.01
matrix = lambda m, n: [[Value(random.gauss(0, 0.08)) for _ in range(n)] for _ in range(m)]
weights = {
    "wte": matrix(vocab_size, n_embd),
    "wpe": matrix(block_size, n_embd),
    "lm_head": matrix(vocab_size, n_embd),
}
for i in range(n_layer):
    for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo"):
        weights[f"layer{i}.{name}"] = matrix(n_embd, n_embd)
    weights[f"layer{i}.mlp_fc1"] = matrix(4 * n_embd, n_embd)
    weights[f"layer{i}.mlp_fc2"] = matrix(n_embd, 4 * n_embd)
parameters = [w for rows in weights.values() for row in rows for w in row]
print(f"num docs: {len(documents)}\nvocab size: {vocab_size}\nnum params: {len(parameters)}")


def linear(x, matrix):
    return [sum(w * xi for w, xi in zip(row, x)) for row in matrix]


def softmax(logits):
    highest = max(logit.data for logit in logits)
    exps = [(logit - highest).exp() for logit in logits]
    total = sum(exps)
    return [e / total for e in exps]


def rmsnorm(x):
    scale = (sum(xi * xi for xi in x) / len(x) + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def attend(query, keys, values):
    """The mean of the values so far, weighted by how well their keys match the query."""
    size = len(query)
    fit = softmax([sum(query[j] * key[j] for j in range(size)) / size**0.5 for key in keys])
    return [sum(f * value[j] for f, value in zip(fit, values)) for j in range(size)]


def gpt(token, position, keys, values):
    """Logits of the next token. keys and values hold the earlier positions, layer by layer."""
    x = rmsnorm([t + p for t, p in zip(weights["wte"][token], weights["wpe"][position])])
    for i in range(n_layer):
        # Attention: a position reads from itself and from the earlier ones.
        layer, residual, x = f"layer{i}.", x, rmsnorm(x)
        query = linear(x, weights[layer + "attn_wq"])
        keys[i].append(linear(x, weights[layer + "attn_wk"]))
        values[i].append(linear(x, weights[layer + "attn_wv"]))
        mixed = []
        for start in range(0, n_embd, n_embd // n_head):
            head = slice(start, start + n_embd // n_head)
            mixed += attend(query[head], [k[head] for k in keys[i]], [v[head] for v in values[i]])
        x = [a + b for a, b in zip(linear(mixed, weights[layer + "attn_wo"]), residual)]
        # Multi-layer perceptron: each position by itself.
        residual, x = x, rmsnorm(x)
        hidden = [h.relu() for h in linear(x, weights[layer + "mlp_fc1"])]
        x = [a + b for a, b in zip(linear(hidden, weights[layer + "mlp_fc2"]), residual)]
    return linear(x, weights["lm_head"])


def document_loss(tokens):
    """How surprising each next token is, in nats, on average."""
    keys, values, losses = [[] for _ in range(n_layer)], [[] for _ in range(n_layer)], []
    for position in range(min(block_size, len(tokens) - 1)):
        probabilities = softmax(gpt(tokens[position], position, keys, values))
        losses.append(-probabilities[tokens[position + 1]].log())
    return (1 / len(losses)) * sum(losses)


# Training: one document a step. Adam moves each parameter against its gradient.
m, v = [0.0] * len(parameters), [0.0] * len(parameters)
for step in range(num_steps):
    document = documents[step % len(documents)]
    loss = document_loss([bos, *(alphabet.index(c) for c in document), bos])
    loss.backward()
    for i, p in enumerate(parameters):
        m[i] = 0.85 * m[i] + (1 - 0.85) * p.grad  # running mean of the gradient
        v[i] = 0.99 * v[i] + (1 - 0.99) * p.grad**2  # running mean of its square
        m_hat = m[i] / (1 - 0.85 ** (step + 1))  # both began at zero: remove that bias
        v_hat = v[i] / (1 - 0.99 ** (step + 1))
        p.data -= rate * (1 - step / num_steps) * m_hat / (v_hat**0.5 + 1e-8)
        p.grad = 0
    print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss.data:.4f}")

# Samples: draw a token, feed it back, until bos or a full block.
print("\n--- inference (new, hallucinated names) ---")
for i in range(20):
    keys, values, token, text = [[] for _ in range(n_layer)], [[] for _ in range(n_layer)], bos, ""
    for position in range(block_size):
        probabilities = softmax([logit / 0.5 for logit in gpt(token, position, keys, values)])
        token = random.choices(range(vocab_size), weights=[p.data for p in probabilities])[0]
        if token == bos:
            break
        text += alphabet[token]
    print(f"sample {i + 1:2d}: {text}")
