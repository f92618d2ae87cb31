"""The complete algorithm: a GPT that learns from a list of short strings and generates new ones.

    python -m microgpt.reference [FILE]     one document a line; without FILE it reads input.txt

This file is the definition. It uses the standard library only and computes one number at a time,
so nothing is hidden. Every engine of the package must give these numbers, to the last bit. The
arithmetic, its order and the random draws are those of Andrej Karpathy's microgpt.py.
Read from top to bottom: documents, gradients, model, training, sampling, the whole run.
"""

import math
import random
import sys
from typing import NamedTuple


# ---- Documents and tokens ------------------------------------------------------------------------
def read_documents(text):
    """The documents of a text: its lines, stripped of white space, without the empty ones."""
    return [line.strip() for line in text.strip().split("\n") if line.strip()]


def alphabet_of(documents):
    """The characters in use, in code point order. The index of a character is its token."""
    return sorted(set("".join(documents)))


def encode(document, alphabet):
    """A document as tokens between two BOS, the token after the last character: start and end."""
    bos = len(alphabet)
    return [bos] + [alphabet.index(character) for character in document] + [bos]


# ---- Gradients -----------------------------------------------------------------------------------
class Value:
    """A float64 that remembers what it was computed from: a node of a computation graph."""

    __slots__ = ("data", "grad", "inputs", "local_grads")

    def __init__(self, data, inputs=(), local_grads=()):
        self.data = data
        self.grad = 0  # d(loss) / d(this node), filled in by backward()
        self.inputs = inputs  # the Values this one was computed from
        self.local_grads = local_grads  # d(this node) / d(input), one for each input

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1, 1))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    # fmt: off
    def __pow__(self, n): return Value(self.data**n, (self,), (n * self.data ** (n - 1),))
    def log(self): return Value(math.log(self.data), (self,), (1 / self.data,))
    def exp(self): return Value(math.exp(self.data), (self,), (math.exp(self.data),))
    def relu(self): return Value(max(0, self.data), (self,), (float(self.data > 0),))

    # The other operators are composed of these. Each composition fixes which roundings happen.
    def __neg__(self): return self * -1
    def __sub__(self, other): return self + (-other)
    def __truediv__(self, other): return self * other**-1
    def __radd__(self, other): return self + other
    def __rsub__(self, other): return other + (-self)
    def __rmul__(self, other): return self * other
    def __rtruediv__(self, other): return other * self**-1
    # fmt: on

    def backward(self):
        """Set the gradient of this node with respect to every node it depends on (chain rule).

        A node passes its gradient on once all its users have added to it. So the nodes are visited
        in reverse topological order, found depth first with inputs from left to right. Sums of
        floats depend on their order: this order is part of the definition. Iterators on a stack
        replace recursion, because long documents would exceed Python's recursion limit.
        """
        order, seen, stack = [], {self}, [(self, iter(self.inputs))]
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
        self.grad = 1
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
    n_embd = config.n_embd
    embedding = (vocab_size, n_embd)
    sizes = {"wte": embedding, "wpe": (config.block_size, n_embd), "lm_head": embedding}
    for i in range(config.n_layer):
        for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo"):
            sizes[f"layer{i}.{name}"] = (n_embd, n_embd)
        sizes[f"layer{i}.mlp_fc1"] = (4 * n_embd, n_embd)
        sizes[f"layer{i}.mlp_fc2"] = (n_embd, 4 * n_embd)
    return sizes


def initial_weights(sizes, rng, std=0.08):
    """Name -> matrix of independent Gaussians, drawn row by row."""
    return {
        name: [[Value(rng.gauss(0, std)) for _ in range(columns)] for _ in range(rows)]
        for name, (rows, columns) in sizes.items()
    }


def parameters_of(weights):
    """All Values of the weight matrices in one list, in the order in which they were drawn."""
    return [value for matrix in weights.values() for row in matrix for value in row]


def empty_cache(config):
    """A (keys, values) pair for each layer, to which every position of a document appends."""
    return [([], []) for _ in range(config.n_layer)]


def linear(x, matrix):
    """Matrix times vector: one output for each row."""
    return [sum(w * xi for w, xi in zip(row, x)) for row in matrix]


def softmax(logits):
    """Logits to probabilities."""
    highest = max(logit.data for logit in logits)  # avoids overflow; a float, without a gradient
    exps = [(logit - highest).exp() for logit in logits]
    total = sum(exps)
    return [e / total for e in exps]


def rmsnorm(x):
    """x divided by the root of its mean square; 1e-5 keeps a vector of zeros finite."""
    mean_square = sum(xi * xi for xi in x) / len(x)
    scale = (mean_square + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def attend(query, keys, values):
    """One head: the mean of the values so far, weighted by how well their keys match the query."""
    size = len(query)
    logits = [sum(query[j] * key[j] for j in range(size)) / size**0.5 for key in keys]  # (T)
    weights = softmax(logits)  # (T)
    mixed = [sum(w * value[j] for w, value in zip(weights, values)) for j in range(size)]  # (D)
    return mixed, weights


def gpt(token, position, cache, weights, config):
    """One token in: (logits of the next token, attention weights by layer and head) out.

    The keys and values of the earlier positions are in the cache; this position appends its own.
    The model is GPT-2 with RMSNorm for LayerNorm, ReLU for GELU, and no biases.
    Shapes: V = vocab_size, C = n_embd, D = C / n_head, T = position + 1.
    """
    head_dim = config.n_embd // config.n_head
    attention = []
    x = [t + p for t, p in zip(weights["wte"][token], weights["wpe"][position])]  # (C)
    x = rmsnorm(x)  # (C)
    for i, (keys, values) in enumerate(cache):
        layer = f"layer{i}."
        # Attention: the only place where one position reads from others.
        residual, x = x, rmsnorm(x)  # (C), (C)
        query = linear(x, weights[layer + "attn_wq"])  # (C, C) times (C) -> (C)
        keys.append(linear(x, weights[layer + "attn_wk"]))  # keys are (T, C) now
        values.append(linear(x, weights[layer + "attn_wv"]))  # values too
        mixed, heads = [], []
        for start in range(0, config.n_embd, head_dim):
            head = slice(start, start + head_dim)
            head_keys = [key[head] for key in keys]  # (T, D)
            head_values = [value[head] for value in values]  # (T, D)
            head_mixed, head_weights = attend(query[head], head_keys, head_values)  # (D), (T)
            mixed.extend(head_mixed)  # (C) after the last head
            heads.append(head_weights)
        attention.append(heads)
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
    cache, losses = empty_cache(config), []
    for position, token in enumerate(inputs[: config.block_size]):
        logits, _ = gpt(token, position, cache, weights, config)
        losses.append(-softmax(logits)[targets[position]].log())
    return (1 / len(losses)) * sum(losses)


def learning_rate_at(step, num_steps, learning_rate):
    """Linear decay, from the full rate at step 0 to zero after the last step."""
    return learning_rate * (1 - step / num_steps)


def adam(parameters, m, v, step, rate, beta1=0.85, beta2=0.99, eps=1e-8):
    """One update of Adam (Kingma and Ba 2015, algorithm 1) in place; clears the gradients."""
    for i, p in enumerate(parameters):
        m[i] = beta1 * m[i] + (1 - beta1) * p.grad  # running mean of the gradient
        v[i] = beta2 * v[i] + (1 - beta2) * p.grad**2  # running mean of its square
        m_hat = m[i] / (1 - beta1 ** (step + 1))  # both began at zero: remove that bias
        v_hat = v[i] / (1 - beta2 ** (step + 1))
        p.data -= rate * m_hat / (v_hat**0.5 + eps)
        p.grad = 0


# ---- Sampling ------------------------------------------------------------------------------------
def sample(weights, config, bos, temperature, rng):
    """The tokens of a new document: draw one, feed it back, until BOS or a full block."""
    cache, token, tokens = empty_cache(config), bos, []
    for position in range(config.block_size):
        logits, _ = gpt(token, position, cache, weights, config)
        probabilities = softmax([logit / temperature for logit in logits])
        token = rng.choices(range(len(logits)), weights=[p.data for p in probabilities])[0]
        if token == bos:
            break
        tokens.append(token)
    return tokens


# ---- The whole run -------------------------------------------------------------------------------
def main(path="input.txt", config=GPTConfig(), num_steps=1000, seed=42):
    """Train on the documents of a file, one in each step, and then generate 20 samples."""
    rng = random.Random(seed)
    with open(path, encoding="utf-8") as file:
        documents = read_documents(file.read())
    rng.shuffle(documents)
    alphabet = alphabet_of(documents)
    vocab_size = len(alphabet) + 1  # every character, and BOS
    weights = initial_weights(shapes(vocab_size, config), rng)
    parameters = parameters_of(weights)
    print(f"num docs: {len(documents)}\nvocab size: {vocab_size}\nnum params: {len(parameters)}")

    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    for step in range(num_steps):
        tokens = encode(documents[step % len(documents)], alphabet)
        loss = document_loss(tokens[:-1], tokens[1:], weights, config)
        loss.backward()
        adam(parameters, m, v, step, learning_rate_at(step, num_steps, 0.01))
        print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss.data:.4f}")

    print("\n--- inference (new, hallucinated names) ---")
    for i in range(20):
        tokens = sample(weights, config, len(alphabet), 0.5, rng)
        print(f"sample {i + 1:2d}: {''.join(alphabet[token] for token in tokens)}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
