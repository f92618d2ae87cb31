"""The complete algorithm: a GPT that learns a list of short strings and makes up new ones.

    python -m microgpt.reference [FILE]        one document a line; input.txt when no file is named

Standard library only, one number at a time, so that nothing is hidden. This file is the definition:
the other engines of the package are efficiencies and must compute these very numbers, bit for bit.
It follows Andrej Karpathy's microgpt.py, whose arithmetic, order of operations and random draws it
keeps. Read it from top to bottom: documents, tokens, gradients, model, training, sampling.
"""

import math
import random
import sys

# ---- Documents and tokens ------------------------------------------------------------------------


def read_documents(text):
    """The documents of a text: its lines, without surrounding white space, without empty ones."""
    return [line.strip() for line in text.strip().split("\n") if line.strip()]


def alphabet_of(documents):
    """The characters in use, in code point order. A character's token id is its index here."""
    return sorted(set("".join(documents)))


def encode(document, alphabet):
    """Token ids with BOS, the id after the last character, on both sides: start mark and end mark."""
    bos = len(alphabet)
    return [bos] + [alphabet.index(character) for character in document] + [bos]


# ---- Gradients: every number remembers what it was computed from ---------------------------------


class Value:
    """A float64 in a computation graph, and the derivative of the graph's last node by it."""

    __slots__ = ("data", "grad", "inputs", "local_grads")

    def __init__(self, data, inputs=(), local_grads=()):
        self.data = data
        self.grad = 0  # d(last node) / d(this node), filled in by backward()
        self.inputs = inputs  # the Values this one was computed from
        self.local_grads = local_grads  # d(this node) / d(input), one for each input

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1, 1))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent):  # the exponent is a plain number
        return Value(self.data**exponent, (self,), (exponent * self.data ** (exponent - 1),))

    def log(self):
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def exp(self):
        return Value(math.exp(self.data), (self,), (math.exp(self.data),))

    def relu(self):
        return Value(max(0, self.data), (self,), (float(self.data > 0),))

    # The rest is made of these. How it is made decides which roundings happen, so it stays as it is:
    # a difference is a sum with a product by -1, a quotient is a product with a power of -1.
    # fmt: off
    def __neg__(self): return self * -1
    def __sub__(self, other): return self + (-other)
    def __truediv__(self, other): return self * other**-1
    def __radd__(self, other): return self + other
    def __rsub__(self, other): return other + (-self)
    def __rmul__(self, other): return self * other
    def __rtruediv__(self, other): return other * self**-1
    # fmt: on

    def backward(self):
        """Fill in the gradient of this node by every node it depends on (reverse-mode chain rule).

        A node hands its gradient down only when all its users have added to it, so nodes are visited
        in reverse topological order: depth first, inputs left to right. Sums of floats depend on
        their order, hence this order is part of the definition. The stack holds iterators instead of
        recursing, because long documents and deep models exceed Python's recursion limit.
        """
        order, seen, stack = [], {self}, [(self, iter(self.inputs))]
        while stack:
            node, inputs = stack[-1]
            for value in inputs:
                if value not in seen:
                    seen.add(value)
                    stack.append((value, iter(value.inputs)))
                    break
            else:  # all inputs are in the order already
                order.append(node)
                stack.pop()
        self.grad = 1
        for node in reversed(order):
            for value, local_grad in zip(node.inputs, node.local_grads):
                value.grad += local_grad * node.grad


# ---- The model -----------------------------------------------------------------------------------


def shapes(vocab_size, n_layer, n_embd, block_size):
    """Name -> (rows, columns) of every weight matrix, in the order in which they are drawn."""
    sizes = {
        "wte": (vocab_size, n_embd),
        "wpe": (block_size, n_embd),
        "lm_head": (vocab_size, n_embd),
    }
    for i in range(n_layer):
        for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo"):
            sizes[f"layer{i}.{name}"] = (n_embd, n_embd)
        sizes[f"layer{i}.mlp_fc1"] = (4 * n_embd, n_embd)
        sizes[f"layer{i}.mlp_fc2"] = (n_embd, 4 * n_embd)
    return sizes


def initial_weights(sizes, rng, std=0.08):
    """Weight matrices of independent Gaussians, drawn row by row."""
    return {
        name: [[Value(rng.gauss(0, std)) for _ in range(columns)] for _ in range(rows)]
        for name, (rows, columns) in sizes.items()
    }


def parameters_of(weights):
    """All Values of the weight matrices in one list, in the order in which they were drawn."""
    return [value for matrix in weights.values() for row in matrix for value in row]


class Cache:
    """What the positions of one document leave for later ones, layer by layer."""

    def __init__(self, n_layer):
        self.keys = [[] for _ in range(n_layer)]  # [layer][position], n_embd long
        self.values = [[] for _ in range(n_layer)]  # likewise
        self.attention = [
            [] for _ in range(n_layer)
        ]  # [layer][position][head]: weights; to look at


def linear(x, matrix):
    """Matrix times vector: one output for each row."""
    return [sum(w * xi for w, xi in zip(row, x)) for row in matrix]


def softmax(logits):
    """Logits to probabilities."""
    highest = max(logit.data for logit in logits)  # a plain float: it shifts, and has no gradient
    exps = [(logit - highest).exp() for logit in logits]
    total = sum(exps)
    return [e / total for e in exps]


def rmsnorm(x):
    """x over the root of its mean square; the constant keeps zero vectors finite."""
    mean_square = sum(xi * xi for xi in x) / len(x)
    scale = (mean_square + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def attend(query, keys, values):
    """One head: mix the values of all positions so far by how well their keys fit the query."""
    size = len(query)  # head_dim = n_embd / n_head
    logits = [sum(query[j] * key[j] for j in range(size)) / size**0.5 for key in keys]
    weights = softmax(logits)
    mixed = [sum(w * value[j] for w, value in zip(weights, values)) for j in range(size)]
    return mixed, weights


def gpt(token, position, cache, weights, n_head):
    """Logits over the token that comes next, given this one here and those before it in the cache.

    GPT-2 with small differences: RMS norm for layer norm, ReLU for GELU, no biases.
    """
    x = [t + p for t, p in zip(weights["wte"][token], weights["wpe"][position])]
    x = rmsnorm(x)
    head_dim = len(x) // n_head
    for i in range(len(cache.keys)):
        layer = f"layer{i}."
        # Attention: the only place where positions see each other.
        residual, x = x, rmsnorm(x)
        query = linear(x, weights[layer + "attn_wq"])
        cache.keys[i].append(linear(x, weights[layer + "attn_wk"]))
        cache.values[i].append(linear(x, weights[layer + "attn_wv"]))
        mixed, attention = [], []
        for start in range(0, len(x), head_dim):
            head = slice(start, start + head_dim)
            keys = [key[head] for key in cache.keys[i]]
            values = [value[head] for value in cache.values[i]]
            head_out, head_weights = attend(query[head], keys, values)
            mixed.extend(head_out)
            attention.append(head_weights)
        cache.attention[i].append(attention)
        x = [a + b for a, b in zip(linear(mixed, weights[layer + "attn_wo"]), residual)]
        # Multi-layer perceptron: four times as wide inside, each position by itself.
        residual, x = x, rmsnorm(x)
        hidden = [h.relu() for h in linear(x, weights[layer + "mlp_fc1"])]
        x = [a + b for a, b in zip(linear(hidden, weights[layer + "mlp_fc2"]), residual)]
    return linear(x, weights["lm_head"])


# ---- Training ------------------------------------------------------------------------------------


def document_loss(tokens, weights, n_layer, n_head, block_size):
    """Mean over positions of -log p(next token), in nats; tokens past the block are left out."""
    n = min(block_size, len(tokens) - 1)
    cache, losses = Cache(n_layer), []
    for position in range(n):
        probabilities = softmax(gpt(tokens[position], position, cache, weights, n_head))
        losses.append(-probabilities[tokens[position + 1]].log())
    return (1 / n) * sum(losses)


def batch_loss(losses):
    """Mean of the documents' losses. A batch of one leaves every bit of loss and gradient alone."""
    return (1 / len(losses)) * sum(losses)


def batch_indices(step, batch_size, count):
    """Which documents a step takes: the next batch_size of them, from the start again at the end."""
    return [i % count for i in range(step * batch_size, (step + 1) * batch_size)]


def learning_rate_at(step, num_steps, learning_rate):
    """Linear decay, from the full rate at step 0 to zero after the last step."""
    return learning_rate * (1 - step / num_steps)


def adam(parameters, m, v, step, rate, beta1=0.85, beta2=0.99, eps=1e-8):
    """One update of Adam (Kingma and Ba 2015, algorithm 1) in place; clears the gradients."""
    for i, p in enumerate(parameters):
        m[i] = beta1 * m[i] + (1 - beta1) * p.grad  # running mean of the gradient
        v[i] = beta2 * v[i] + (1 - beta2) * p.grad**2  # and of its square
        m_hat = m[i] / (1 - beta1 ** (step + 1))  # both started at zero: undo that bias
        v_hat = v[i] / (1 - beta2 ** (step + 1))
        p.data -= rate * m_hat / (v_hat**0.5 + eps)
        p.grad = 0


# ---- Sampling ------------------------------------------------------------------------------------


def sample(weights, n_layer, n_head, block_size, bos, temperature, rng):
    """Token ids of one new document: draw a token, feed it back, until the end mark or a full block."""
    cache, token, tokens = Cache(n_layer), bos, []
    for position in range(block_size):
        logits = gpt(token, position, cache, weights, n_head)
        probabilities = softmax([logit / temperature for logit in logits])
        token = rng.choices(range(len(logits)), weights=[p.data for p in probabilities])[0]
        if token == bos:
            break
        tokens.append(token)
    return tokens


# ---- The whole run -------------------------------------------------------------------------------


# What is printed, line by line; the command's --transcript prints the same.
def header_lines(num_docs, vocab_size, num_params):
    return [f"num docs: {num_docs}", f"vocab size: {vocab_size}", f"num params: {num_params}"]


def step_line(step, num_steps, loss):
    return f"step {step + 1:4d} / {num_steps:4d} | loss {loss:.4f}"


SAMPLES_TITLE = "\n--- inference (new, hallucinated names) ---"


def sample_line(index, document):
    return f"sample {index + 1:2d}: {document}"


def main(path="input.txt", n_layer=1, n_embd=16, n_head=4, block_size=16, num_steps=1000, seed=42):
    """Train on a file and print everything as it happens."""
    rng = random.Random(seed)
    with open(path, encoding="utf-8") as file:
        documents = read_documents(file.read())
    rng.shuffle(documents)
    alphabet = alphabet_of(documents)
    vocab_size = len(alphabet) + 1  # every character, and BOS
    weights = initial_weights(shapes(vocab_size, n_layer, n_embd, block_size), rng)
    parameters = parameters_of(weights)
    print("\n".join(header_lines(len(documents), vocab_size, len(parameters))))

    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    for step in range(num_steps):
        batch = [encode(documents[i], alphabet) for i in batch_indices(step, 1, len(documents))]
        loss = batch_loss(
            [document_loss(tokens, weights, n_layer, n_head, block_size) for tokens in batch]
        )
        loss.backward()
        adam(parameters, m, v, step, learning_rate_at(step, num_steps, 0.01))
        print(step_line(step, num_steps, loss.data))

    print(SAMPLES_TITLE)
    for i in range(20):
        tokens = sample(weights, n_layer, n_head, block_size, len(alphabet), 0.5, rng)
        print(sample_line(i, "".join(alphabet[token] for token in tokens)))


if __name__ == "__main__":
    main(*sys.argv[1:2])
