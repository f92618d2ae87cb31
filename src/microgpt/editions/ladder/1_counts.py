"""First rung: which character follows which? Count, divide, draw. There is no gradient yet.

python 1_counts.py      reads input.txt, one document a line, as every rung does
"""

import math
import random

random.seed(42)
documents = [line.strip() for line in open("input.txt", encoding="utf-8") if line.strip()]
random.shuffle(documents)
alphabet = sorted(set("".join(documents)))
bos, vocab_size = len(alphabet), len(alphabet) + 1  # bos: start and end of a document
tokens = [[bos, *(alphabet.index(c) for c in document), bos] for document in documents]

counts = [[0] * vocab_size for _ in range(vocab_size)]  # [this token][next token]
for document in tokens:
    for this, following in zip(document, document[1:]):
        counts[this][following] += 1
probabilities = [[count / max(1, sum(row)) for count in row] for row in counts]

# The loss: how surprising the next token is on average, in nats. Later rungs try to lower it.
surprises = [
    -math.log(probabilities[a][b]) for document in tokens for a, b in zip(document, document[1:])
]
print(f"loss {math.fsum(surprises) / len(surprises):.4f}")

for i in range(20):
    token, text = bos, ""
    while len(text) < 16:
        token = random.choices(range(vocab_size), weights=probabilities[token])[0]
        if token == bos:
            break
        text += alphabet[token]
    print(f"sample {i + 1:2d}: {text}")
