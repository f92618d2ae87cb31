"""The complete algorithm: a GPT that learns from a list of short strings and generates new ones.

    python -m microgpt.reference [FILE]     one document a line; without FILE it reads input.txt

This file is the definition. It uses the standard library only and computes one number at a time,
so nothing is hidden. Every engine of the package must give these numbers, to the last bit. The
arithmetic, its order and the random draws are those of Andrej Karpathy's microgpt.py.
Read from top to bottom: documents, gradients, model, training, sampling, the whole run.
"""

import math, random, sys
from typing import NamedTuple


# ---- Documents and tokens ------------------------------------------------------------------------
read_documents = lambda text: [line.strip() for line in text.strip().split("\n") if line.strip()]
"""The documents of a text: its lines, stripped of white space, without the empty ones."""

alphabet_of = lambda documents: sorted(set("".join(documents)))
"""The characters in use, in code point order. The index of a character is its token."""

encode = lambda document, alphabet: [len(alphabet), *map(alphabet.index, document), len(alphabet)]
"""A document as tokens between two BOS, the token after the last character: start and end."""


# ---- Gradients -----------------------------------------------------------------------------------
class Value:
    """A float64 that remembers what it was computed from: a node of a computation graph."""

    __slots__ = ("data", "grad", "inputs", "local_grads")

    def __init__(self, data, inputs=(), local_grads=()):
        self.data, self.grad = data, 0  # d(loss) / d(this node), filled in by backward()
        self.inputs = inputs  # the Values this one was computed from
        self.local_grads = local_grads  # d(this node) / d(input), one for each input

    of = lambda x: x if isinstance(x, Value) else Value(x)
    __add__ = lambda x, y: Value(x.data + (y := Value.of(y)).data, (x, y), (1, 1))
    __mul__ = lambda x, y: Value(x.data * (y := Value.of(y)).data, (x, y), (y.data, x.data))

    # fmt: off
    def __pow__(self, n): return Value(self.data**n, (self,), (n * self.data ** (n - 1),))
    def log(self): return Value(math.log(self.data), (self,), (1 / self.data,))
    def exp(self): return Value(math.exp(self.data), (self,), (math.exp(self.data),))
    def relu(self): return Value(max(0, self.data), (self,), (float(self.data > 0),))

    # The other operators are composed of these. Each composition fixes which roundings happen.
    def __neg__(self): return self * -1
    def __sub__(self, other): return self + (-other)
    def __truediv__(self, other): return self * other**-1
    __radd__, __rmul__ = __add__, __mul__
    # fmt: on

    def backward(self):
        """Set the gradient of this node with respect to every node it depends on (chain rule).

        A node passes its gradient on once all its users have added to it. So the nodes are visited
        in reverse topological order, found depth first with inputs from left to right. Sums of
        floats depend on their order: this order is part of the definition. Iterators on a stack
        replace recursion, because long documents would exceed Python's recursion limit.
        """
        self.grad, order, seen, stack = 1, [], {self}, [(self, iter(self.inputs))]
        while stack:
            for value in stack[-1][1]:
                if value not in seen and not seen.add(value):
                    stack.append((value, iter(value.inputs)))
                    break
            else: order.append(stack.pop()[0])  # every input is in the order already
        for node in reversed(order):
            for value, local_grad in zip(node.inputs, node.local_grads):
                value.grad += local_grad * node.grad


# ---- The model -----------------------------------------------------------------------------------
class GPTConfig(NamedTuple):
    """The size of a model."""

    n_layer: int = 1  # layers, each an attention and a multi-layer perceptron
    n_embd: int = 16  # width of the residual stream
    n_head: int = 4  # attention heads in a layer; each is n_embd / n_head wide
    block_size: int = 16  # maximum number of positions; longer documents are cut


def shapes(vocab_size, config):
    """Name -> (rows, columns) of every weight matrix, in the order in which they are drawn."""
    n, rows = config.n_embd, {"wte": vocab_size, "wpe": config.block_size, "lm_head": vocab_size}
    each = {f"attn_w{c}": (1, 1) for c in "qkvo"} | {"mlp_fc1": (4, 1), "mlp_fc2": (1, 4)}
    return {name: (count, n) for name, count in rows.items()} | {
        f"layer{i}.{k}": (r * n, c * n) for i in range(config.n_layer) for k, (r, c) in each.items()
    }


def initial_weights(sizes, rng, std=0.08):
    """Name -> matrix of independent Gaussians, drawn row by row."""
    draw = lambda rows, cols: [[Value(rng.gauss(0, std)) for _ in range(cols)] for _ in range(rows)]
    return {name: draw(*size) for name, size in sizes.items()}


parameters_of = lambda weights: [p for matrix in weights.values() for row in matrix for p in row]
"""All Values of the weight matrices in one list, in the order in which they were drawn."""

empty_cache = lambda config: [([], []) for _ in range(config.n_layer)]
"""A (keys, values) pair for each layer, to which every position of a document appends."""

linear = lambda x, matrix: [sum(w * xi for w, xi in zip(row, x)) for row in matrix]
"""Matrix times vector: one output for each row."""


def softmax(logits):
    """Logits to probabilities."""
    highest = max(logit.data for logit in logits)  # avoids overflow; a float, without a gradient
    total = sum(exps := [(logit - highest).exp() for logit in logits])
    return [e / total for e in exps]


rmsnorm = lambda x: [y * s for s in [(sum(y * y for y in x) / len(x) + 1e-5) ** -0.5] for y in x]
"""x divided by the root of its mean square; 1e-5 keeps a vector of zeros finite."""


def attend(query, keys, values):
    """One head: the mean of the values so far, weighted by how well their keys match the query."""
    logits = [sum(q * k for q, k in zip(query, key)) / len(key) ** 0.5 for key in keys]  # (T)
    weights = softmax(logits)  # (T)
    return [sum(w * x for w, x in zip(weights, column)) for column in zip(*values)], weights  # (D)


def gpt(token, position, cache, weights, config):
    """One token in: (logits of the next token, attention weights by layer and head) out.

    The keys and values of the earlier positions are in the cache; this position appends its own.
    The model is GPT-2 with RMSNorm for LayerNorm, ReLU for GELU, and no biases.
    Shapes: V = vocab_size, C = n_embd, D = C / n_head, T = position + 1.
    """
    head_dim, attention = config.n_embd // config.n_head, []
    split = lambda x: [x[at : at + head_dim] for at in range(0, config.n_embd, head_dim)]
    x = [t + p for t, p in zip(weights["wte"][token], weights["wpe"][position])]  # (C)
    x = rmsnorm(x)  # (C)
    for i, (keys, values) in enumerate(cache):
        # Attention: the only place where one position reads from others.
        layer, residual, x = f"layer{i}.", x, rmsnorm(x)  # (C), (C)
        query = linear(x, weights[layer + "attn_wq"])  # (C, C) times (C) -> (C)
        keys.append(linear(x, weights[layer + "attn_wk"]))  # keys are (T, C) now
        values.append(linear(x, weights[layer + "attn_wv"]))  # values too
        head_keys = zip(*map(split, keys))  # (T, D)
        head_values = zip(*map(split, values))  # (T, D)
        mixed, heads = zip(*map(attend, split(query), head_keys, head_values))  # (D), (T)
        mixed, attention = sum(mixed, []), [*attention, list(heads)]  # (C) after the last head
        x = linear(mixed, weights[layer + "attn_wo"])  # (C, C) times (C) -> (C)
        x = [a + b for a, b in zip(x, residual)]  # (C)
        # Multi-layer perceptron: each position by itself, four times as wide inside.
        residual, x = x, rmsnorm(x)  # (C), (C)
        hidden = [h.relu() for h in linear(x, weights[layer + "mlp_fc1"])]  # (4C)
        x = linear(hidden, weights[layer + "mlp_fc2"])  # (C, 4C) times (4C) -> (C)
        x = [a + b for a, b in zip(x, residual)]  # (C)
    return linear(x, weights["lm_head"]), attention  # (V), n_layer lists of n_head lists (T)


# ---- Training ------------------------------------------------------------------------------------
def document_loss(inputs, targets, weights, config):
    """Mean over positions of -log p(target), in nats. The tokens past a block are left out."""
    cache, pairs = empty_cache(config), enumerate(zip(inputs[: config.block_size], targets))
    losses = [-softmax(gpt(t, p, cache, weights, config)[0])[y].log() for p, (t, y) in pairs]
    return (1 / len(losses)) * sum(losses)


learning_rate_at = lambda step, num_steps, learning_rate: learning_rate * (1 - step / num_steps)
"""Linear decay, from the full rate at step 0 to zero after the last step."""


def adam(parameters, m, v, step, rate, beta1=0.85, beta2=0.99, eps=1e-8):
    """One update of Adam (Kingma and Ba 2015, algorithm 1) in place; clears the gradients."""
    for i, p in enumerate(parameters):
        m[i] = beta1 * m[i] + (1 - beta1) * p.grad  # running mean of the gradient
        v[i] = beta2 * v[i] + (1 - beta2) * p.grad**2  # running mean of its square
        m_hat = m[i] / (1 - beta1 ** (step + 1))  # both began at zero: remove that bias
        p.data, p.grad = p.data - rate * m_hat / ((v[i] / (1 - beta2 ** (step + 1))) ** .5 + eps), 0


# ---- Sampling ------------------------------------------------------------------------------------
def sample(weights, config, bos, temperature, rng):
    """The tokens of a new document: draw one, feed it back, until BOS or a full block."""
    cache, token, tokens = empty_cache(config), bos, []
    for position in range(config.block_size):
        logits = [logit / temperature for logit in gpt(token, position, cache, weights, config)[0]]
        if (token := rng.choices(range(bos + 1), [p.data for p in softmax(logits)])[0]) == bos:
            break
        tokens.append(token)
    return tokens


# ---- The whole run -------------------------------------------------------------------------------
def main(path="input.txt", config=GPTConfig(), num_steps=1000, seed=42):
    """Train on the documents of a file, one in each step, and then generate 20 samples."""
    rng = random.Random(seed)
    documents = read_documents(open(path, encoding="utf-8").read())
    rng.shuffle(documents)
    alphabet = alphabet_of(documents)
    vocab_size = len(alphabet) + 1  # every character, and BOS
    parameters = parameters_of(weights := initial_weights(shapes(vocab_size, config), rng))
    print(f"num docs: {len(documents)}\nvocab size: {vocab_size}\nnum params: {len(parameters)}")

    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    for step in range(num_steps):
        tokens = encode(documents[step % len(documents)], alphabet)
        (loss := document_loss(tokens[:-1], tokens[1:], weights, config)).backward()
        adam(parameters, m, v, step, learning_rate_at(step, num_steps, 0.01))
        print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss.data:.4f}")

    print("\n--- inference (new, hallucinated names) ---")
    for i in range(20):
        tokens = sample(weights, config, len(alphabet), 0.5, rng)
        print(f"sample {i + 1:2d}: {''.join(alphabet[token] for token in tokens)}")


if __name__ == "__main__": main(*sys.argv[1:2])
