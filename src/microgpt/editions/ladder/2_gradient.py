"""Second rung: learn the same table by gradient descent. One weight for each pair of tokens.

The gradient is derived by hand: -log softmax(row)[target] changes with row[o] by
p[o] - (1 if o is the target else 0).
"""

import math
import random

random.seed(42)
documents = [line.strip() for line in open("input.txt", encoding="utf-8") if line.strip()]
random.shuffle(documents)
alphabet = sorted(set("".join(documents)))
bos, vocab_size = len(alphabet), len(alphabet) + 1
num_steps, rate = 1000, 1.0
# weights[this token][next token]
weights = [[random.gauss(0, 0.08) for _ in range(vocab_size)] for _ in range(vocab_size)]


def softmax(row):
    exps = [math.exp(x - max(row)) for x in row]
    total = 0
    for e in exps:
        total += e
    return [e / total for e in exps]


for step in range(num_steps):
    document = documents[step % len(documents)]
    tokens = [bos, *(alphabet.index(c) for c in document), bos]
    n = len(tokens) - 1
    gradients, loss = [[0.0] * vocab_size for _ in weights], 0.0
    for this, target in zip(tokens, tokens[1:]):
        p = softmax(weights[this])
        loss -= math.log(p[target]) / n
        for o in range(vocab_size):
            gradients[this][o] += (p[o] - (o == target)) / n
    for row, gradient in zip(weights, gradients):
        for o in range(vocab_size):
            row[o] -= rate * gradient[o]
    print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss:.4f}")
