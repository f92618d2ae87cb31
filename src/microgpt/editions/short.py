"""The complete algorithm: a GPT that learns a list of short strings and makes up new ones.

    python -m microgpt.reference [FILE]        one document a line; input.txt when no file is named

Standard library only, one number at a time, so that nothing is hidden. This file is the definition:
the other engines of the package are efficiencies and must compute these very numbers, bit for bit.
It follows Andrej Karpathy's microgpt.py, whose arithmetic, order of operations and random draws it
keeps. Read it from top to bottom: documents, tokens, gradients, model, training, sampling.
"""

import math, random, sys

# ---- Documents and tokens ------------------------------------------------------------------------


read_documents = lambda text: [line.strip() for line in text.strip().split("\n") if line.strip()]
"""The documents of a text: its lines, without surrounding white space, without empty ones."""


alphabet_of = lambda documents: sorted(set("".join(documents)))
"""The characters in use, in code point order. A character's token id is its index here."""


encode = lambda document, alphabet: [len(alphabet), *map(alphabet.index, document), len(alphabet)]
"""Token ids with BOS, the id after the last character, on both sides: start mark and end mark."""


# ---- Gradients: every number remembers what it was computed from ---------------------------------


class Value:
    """A float64 in a computation graph, and the derivative of the graph's last node by it."""

    __slots__ = ("data", "grad", "inputs", "local_grads")

    def __init__(self, data, inputs=(), local_grads=()):
        self.data, self.grad = data, 0  # d(last node) / d(this node), filled in by backward()
        self.inputs = inputs  # the Values this one was computed from
        self.local_grads = local_grads  # d(this node) / d(input), one for each input

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1, 1))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    __pow__ = lambda x, n: Value(x.data**n, (x,), (n * x.data ** (n-1),))  # the exponent is a plain number
    log = lambda self: Value(math.log(self.data), (self,), (1 / self.data,))
    exp = lambda self: Value(math.exp(self.data), (self,), (math.exp(self.data),))
    relu = lambda self: Value(max(0, self.data), (self,), (float(self.data > 0),))

    # The rest is made of these. How it is made decides which roundings happen, so it stays as it is:
    # a difference is a sum with a product by -1, a quotient is a product with a power of -1.
    # fmt: off
    def __neg__(self): return self * -1
    def __sub__(self, other): return self + (-other)
    def __truediv__(self, other): return self * other**-1
    def __rsub__(self, other): return other + (-self)
    __radd__, __rmul__ = __add__, __mul__
    def __rtruediv__(self, other): return other * self**-1
    # fmt: on

    def backward(self):
        """Fill in the gradient of this node by every node it depends on (reverse-mode chain rule).

        A node hands its gradient down only when all its users have added to it, so nodes are visited
        in reverse topological order: depth first, inputs left to right. Sums of floats depend on
        their order, hence this order is part of the definition. The stack holds iterators instead of
        recursing, because long documents and deep models exceed Python's recursion limit.
        """
        self.grad, order, seen, stack = 1, [], {self}, [(self, iter(self.inputs))]
        while stack:
            for value in stack[-1][1]:
                if value not in seen:
                    seen.add(value)
                    stack.append((value, iter(value.inputs)))
                    break
            else:  # all inputs are in the order already
                order.append(stack.pop()[0])
        for node in reversed(order):
            for value, local_grad in zip(node.inputs, node.local_grads):
                value.grad += local_grad * node.grad


# ---- The model -----------------------------------------------------------------------------------


def shapes(vocab_size, n_layer, n_embd, block_size):
    """Name -> (rows, columns) of every weight matrix, in the order in which they are drawn."""
    layer = {f"attn_w{letter}": (1, 1) for letter in "qkvo"} | {"mlp_fc1": (4, 1), "mlp_fc2": (1, 4)}
    return {"wte": (vocab_size, n_embd), "wpe": (block_size, n_embd), "lm_head": (vocab_size, n_embd)} | {
        f"layer{i}.{k}": (r * n_embd, c * n_embd) for i in range(n_layer) for k, (r, c) in layer.items()}


def initial_weights(sizes, rng, std=0.08):
    """Weight matrices of independent Gaussians, drawn row by row."""
    draw = lambda rows, columns: [[Value(rng.gauss(0, std)) for _ in range(columns)] for _ in range(rows)]
    return {name: draw(*size) for name, size in sizes.items()}


parameters_of = lambda weights: [value for matrix in weights.values() for row in matrix for value in row]
"""All Values of the weight matrices in one list, in the order in which they were drawn."""


class Cache:
    """What the positions of one document leave for later ones, layer by layer."""

    def __init__(self, n_layer):
        self.keys = [[] for _ in range(n_layer)]  # [layer][position], n_embd long
        self.values = [[] for _ in range(n_layer)]  # likewise
        self.attention = [[] for _ in range(n_layer)]  # [layer][position][head]: weights; to look at


linear = lambda x, matrix: [sum(w * xi for w, xi in zip(row, x)) for row in matrix]
"""Matrix times vector: one output for each row."""


def softmax(logits):
    """Logits to probabilities."""
    highest = max(logit.data for logit in logits)  # a plain float: it shifts, and has no gradient
    total = sum(exps := [(logit - highest).exp() for logit in logits])
    return [e / total for e in exps]


def rmsnorm(x):
    """x over the root of its mean square; the constant keeps zero vectors finite."""
    scale = (sum(xi * xi for xi in x) / len(x) + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def attend(query, keys, values):
    """One head: mix the values of all positions so far by how well their keys fit the query."""
    size = len(query)  # head_dim = n_embd / n_head
    weights = softmax([sum(query[j] * key[j] for j in range(size)) / size**0.5 for key in keys])
    return [sum(w * value[j] for w, value in zip(weights, values)) for j in range(size)], weights


def gpt(token, position, cache, weights, n_head):
    """Logits over the token that comes next, given this one here and those before it in the cache.

    GPT-2 with small differences: RMS norm for layer norm, ReLU for GELU, no biases.
    """
    x = rmsnorm([t + p for t, p in zip(weights["wte"][token], weights["wpe"][position])])
    heads = [slice(start, start + len(x) // n_head) for start in range(0, len(x), len(x) // n_head)]
    for i in range(len(cache.keys)):
        layer = f"layer{i}."
        # Attention: the only place where positions see each other.
        residual, x = x, rmsnorm(x)
        query = linear(x, weights[layer + "attn_wq"])
        cache.keys[i].append(linear(x, weights[layer + "attn_wk"]))
        cache.values[i].append(linear(x, weights[layer + "attn_wv"]))
        inputs = [(query[h], [k[h] for k in cache.keys[i]], [v[h] for v in cache.values[i]]) for h in heads]
        mixed, attention = zip(*(attend(*each) for each in inputs))
        cache.attention[i].append(list(attention))
        x = [a + b for a, b in zip(linear(sum(mixed, []), weights[layer + "attn_wo"]), residual)]
        # Multi-layer perceptron: four times as wide inside, each position by itself.
        residual, x = x, rmsnorm(x)
        hidden = [h.relu() for h in linear(x, weights[layer + "mlp_fc1"])]
        x = [a + b for a, b in zip(linear(hidden, weights[layer + "mlp_fc2"]), residual)]
    return linear(x, weights["lm_head"])


# ---- Training ------------------------------------------------------------------------------------


def document_loss(tokens, weights, n_layer, n_head, block_size):
    """Mean over positions of -log p(next token), in nats; tokens past the block are left out."""
    cache, n = Cache(n_layer), min(block_size, len(tokens) - 1)
    losses = [-softmax(gpt(tokens[p], p, cache, weights, n_head))[tokens[p + 1]].log() for p in range(n)]
    return (1 / n) * sum(losses)


batch_loss = lambda losses: (1 / len(losses)) * sum(losses)
"""Mean of the documents' losses. A batch of one leaves every bit of loss and gradient alone."""


batch_indices = lambda step, size, count: [i % count for i in range(step * size, (step + 1) * size)]
"""Which documents a step takes: the next batch_size of them, from the start again at the end."""


learning_rate_at = lambda step, num_steps, learning_rate: learning_rate * (1 - step / num_steps)
"""Linear decay, from the full rate at step 0 to zero after the last step."""


def adam(parameters, m, v, step, rate, beta1=0.85, beta2=0.99, eps=1e-8):
    """One update of Adam (Kingma and Ba 2015, algorithm 1) in place; clears the gradients."""
    for i, p in enumerate(parameters):
        m[i] = beta1 * m[i] + (1 - beta1) * p.grad  # running mean of the gradient
        v[i] = beta2 * v[i] + (1 - beta2) * p.grad**2  # and of its square
        m_hat = m[i] / (1 - beta1 ** (step + 1))  # both started at zero: undo that bias
        p.data, p.grad = p.data - rate * m_hat / ((v[i] / (1 - beta2 ** (step + 1))) ** 0.5 + eps), 0


# ---- Sampling ------------------------------------------------------------------------------------


def sample(weights, n_layer, n_head, block_size, bos, temperature, rng):
    """Token ids of one new document: draw a token, feed it back, until the end mark or a full block."""
    cache, token, tokens = Cache(n_layer), bos, []
    for position in range(block_size):
        logits = [logit / temperature for logit in gpt(token, position, cache, weights, n_head)]
        token = rng.choices(range(len(logits)), weights=[p.data for p in softmax(logits)])[0]
        if token == bos:
            break
        tokens.append(token)
    return tokens


# ---- The whole run -------------------------------------------------------------------------------


# What is printed, line by line; the command's --transcript prints the same.
def main(path="input.txt", n_layer=1, n_embd=16, n_head=4, block_size=16, num_steps=1000, seed=42):
    """Train on a file and print everything as it happens."""
    rng = random.Random(seed)
    documents = read_documents(open(path, encoding="utf-8").read())
    rng.shuffle(documents)
    alphabet = alphabet_of(documents)
    vocab_size = len(alphabet) + 1  # every character, and BOS
    weights = initial_weights(shapes(vocab_size, n_layer, n_embd, block_size), rng)
    parameters = parameters_of(weights)
    print(f"num docs: {len(documents)}\nvocab size: {vocab_size}\nnum params: {len(parameters)}")

    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    for step in range(num_steps):
        batch = (encode(documents[i], alphabet) for i in batch_indices(step, 1, len(documents)))
        loss = batch_loss([document_loss(tokens, weights, n_layer, n_head, block_size) for tokens in batch])
        loss.backward()
        adam(parameters, m, v, step, learning_rate_at(step, num_steps, 0.01))
        print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss.data:.4f}")

    print("\n--- inference (new, hallucinated names) ---")
    for i in range(20):
        tokens = sample(weights, n_layer, n_head, block_size, len(alphabet), 0.5, rng)
        print(f"sample {i + 1:2d}: {''.join(alphabet[token] for token in tokens)}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
