"""What the presets `good` and `best` add to the reference: the definition of a better training.

    python -m microgpt.reference_recipe [FILE]      one document a line; without FILE: input.txt

The model, its loss and Adam are those of reference.py. This file holds the differences, and again
computes one number at a time: the fast engine trains in seconds what takes days here. `config` is a
microgpt.Config, whose defaults switch everything off, so that reference.py remains.
Read from top to bottom: settings, batches, learning rate, hidden inputs, Muon, update, whole run.
"""

import random
import sys

from microgpt import reference
from microgpt.config import Config

# ---- Settings that differ from the defaults of Config -------------------------------------------
GOOD = {
    "n_layer": 2,
    "n_embd": 48,
    "n_head": 6,
    "learning_rate": 0.008,
    "beta2": 0.995,
    "muon": 0.95,
}
BEST = {
    "n_layer": 3,
    "n_embd": 96,
    "n_head": 6,
    "learning_rate": 0.005,
    "muon": 0.95,
    "weight_decay": 0.1,
    "input_dropout": 0.15,
}
BATCH_SIZE, WARMUP = 64, 50


# ---- Batches -------------------------------------------------------------------------------------
def windows(tokens, block_size):
    """A long document in pieces. Each begins with the last token of the one before.

    So each token after the first is a target once, predicted from what its piece holds before it.
    """
    starts = range(0, len(tokens) - 1, block_size)
    return [tokens[start : start + block_size + 1] for start in starts]


def batch_indices(step, batch_size, count):
    """The documents of a step: the next batch_size of them; after the last comes the first."""
    return [i % count for i in range(step * batch_size, (step + 1) * batch_size)]


def batch_loss(losses):
    """The mean loss of the documents of a batch. For one document this changes no bit."""
    return (1 / len(losses)) * sum(losses)


# ---- Learning rate -------------------------------------------------------------------------------
def learning_rate_at(step, config):
    """A linear rise over the warm-up, then the reference's decay over the remaining steps."""
    if step < config.warmup:
        return config.learning_rate * ((step + 1) / config.warmup)
    left = config.num_steps - config.warmup
    return reference.learning_rate_at(step - config.warmup, left, config.learning_rate)


# ---- Hidden inputs -------------------------------------------------------------------------------
def hidden_inputs(tokens, bos, step, share):
    """The tokens with about this share of them replaced by BOS; never the first.

    The model must then predict from what is left. That smooths it, as counts are smoothed in n-gram
    models (Xie et al. 2017, "Data noising as smoothing in neural network language models"). What is
    hidden depends only on the step and on the tokens so far. So documents that begin alike lose the
    same inputs, in every engine, batch and thread.
    """
    update = mixed(step + 0x2545F491)
    inputs, prefix = [], 0
    for position, token in enumerate(tokens):
        prefix = mixed(prefix ^ (token + 0x9E3779B9) % 2**32)
        hide = position > 0 and mixed(prefix + update) < int(share * 2**32)
        inputs.append(bos if hide else token)
    return inputs


def mixed(word):
    """A hash of 32 bits, as good as random: the last steps of MurmurHash3 (Appleby 2011)."""
    word %= 2**32
    word = (word ^ word >> 16) * 0x85EBCA6B % 2**32
    word = (word ^ word >> 13) * 0xC2B2AE35 % 2**32
    return word ^ word >> 16


# ---- Muon: an optimizer for matrices (Jordan et al. 2024) ----------------------------------------
def orthogonalized(matrix):
    """The matrix with all its singular values brought near 1, so that rare directions learn too.

    Five Newton-Schulz steps, x <- a x + b x^3 + c x^5, take a singular value in (0, 1] to about
    0.7 to 1.2. They multiply matrices and need no decomposition. Zeros stay zeros.
    """
    if len(matrix) > len(matrix[0]):  # put the shorter side first: the products are smaller
        return transposed(orthogonalized(transposed(matrix)))
    a, b, c = 3.4445, -4.7750, 2.0315
    norm = sum(x * x for row in matrix for x in row) ** 0.5
    x = [[value / max(norm, 1e-7) for value in row] for row in matrix]  # (R, C), with R <= C
    for _ in range(5):
        square = product(x, transposed(x))  # (R, R)
        fourth = product(square, square)  # (R, R)
        factor = [[b * s + c * f for s, f in zip(*rows)] for rows in zip(square, fourth)]
        x = [[a * old + new for old, new in zip(*rows)] for rows in zip(x, product(factor, x))]
    return x


def product(left, right):
    """Matrix times matrix."""
    columns = transposed(right)
    return [[sum(a * b for a, b in zip(row, column)) for column in columns] for row in left]


def transposed(matrix):
    """Rows to columns."""
    return [list(column) for column in zip(*matrix)]


def blended(old, new, beta):
    """beta old + (1 - beta) new, number by number: a running mean takes one step."""
    return [[beta * o + (1 - beta) * n for o, n in zip(*rows)] for rows in zip(old, new)]


def muon(matrix, momentum, rate, beta, keep):
    """One update of a matrix of Values in place; clears the gradients, returns the new momentum.

    keep: the share of each weight that weight decay leaves. The factor 0.2 sqrt(longer side) makes
    the step about as long as Adam's, so that one learning rate serves both (Liu et al. 2025, "Muon
    is scalable for LLM training", section 2.2).
    """
    gradient = [[p.grad for p in row] for row in matrix]
    momentum = blended(momentum, gradient, beta)  # running mean of the gradient
    ahead = blended(momentum, gradient, beta)  # one step further: Nesterov's momentum
    step = rate * 0.2 * max(len(matrix), len(matrix[0])) ** 0.5
    for row, directions in zip(matrix, orthogonalized(ahead)):
        for p, direction in zip(row, directions):
            p.data, p.grad = keep * p.data - step * direction, 0
    return momentum


# ---- Update --------------------------------------------------------------------------------------
def update(weights, m, v, step, rate, config):
    """One update in place: weight decay for all weights, Muon for the layers, Adam for the rest.

    m and v hold one number for each parameter. Muon keeps its momentum in m and leaves v at zero.
    Without config.muon Adam updates everything: AdamW (Loshchilov and Hutter 2019).
    """
    keep = 1 - rate * config.weight_decay
    layers = [name for name in weights if config.muon and name.startswith("layer")]
    others = reference.parameters_of({k: w for k, w in weights.items() if k not in layers})
    count = end = len(others)  # the layers come last
    for name in layers:
        rows, columns = len(weights[name]), len(weights[name][0])
        start, end = end, end + rows * columns
        momentum = [m[i : i + columns] for i in range(start, end, columns)]
        momentum = muon(weights[name], momentum, rate, config.muon, keep)
        m[start:end] = [number for row in momentum for number in row]
    for p in others:
        p.data *= keep
    first, second = m[:count], v[:count]
    betas = config.beta1, config.beta2
    reference.adam(others, first, second, step, rate, *betas, config.eps_adam)
    m[:count], v[:count] = first, second


# ---- The whole run -------------------------------------------------------------------------------
def main(path="input.txt", settings=GOOD, num_steps=1600, seed=42):
    """Train on the documents of a file with these settings, and then generate 20 samples."""
    rng = random.Random(seed)
    with open(path, encoding="utf-8") as file:
        documents = reference.read_documents(file.read())
    fitted = {"block_size": max(map(len, documents)) + 1, "warmup": min(WARMUP, num_steps // 5)}
    settings = {"batch_size": BATCH_SIZE, **fitted, **settings}
    config = Config(num_steps=num_steps, seed=seed, **settings)
    rng.shuffle(documents)
    alphabet = reference.alphabet_of(documents)
    bos, block_size = len(alphabet), config.block_size
    weights = reference.initial_weights(reference.shapes(bos + 1, config), rng, config.init_std)
    parameters = reference.parameters_of(weights)
    print(f"num docs: {len(documents)}\nvocab size: {bos + 1}\nnum params: {len(parameters)}")

    pieces = [reference.encode(document, alphabet) for document in documents]
    if config.windows:
        pieces = [piece for tokens in pieces for piece in windows(tokens, block_size)]
        random.Random(seed).shuffle(pieces)  # neighbors would be too much alike
    m, v = [0.0] * len(parameters), [0.0] * len(parameters)
    for step in range(num_steps):
        losses = []
        for i in batch_indices(step, config.batch_size, len(pieces)):
            inputs = hidden_inputs(pieces[i][:-1], bos, step, config.input_dropout)
            losses.append(reference.document_loss(inputs, pieces[i][1:], weights, config))
        loss = batch_loss(losses)
        loss.backward()
        update(weights, m, v, step, learning_rate_at(step, config), config)
        print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss.data:.4f}")

    print("\n--- inference (new, hallucinated names) ---")
    for i in range(20):
        tokens = reference.sample(weights, config, bos, 0.5, rng)
        print(f"sample {i + 1:2d}: {''.join(alphabet[token] for token in tokens)}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
