"""The same GPT in NumPy with its backward pass written out, for readers who want the equations.

    python vector.py            reads input.txt, one document a line, as microgpt.py does

Vectors run over outputs. Every sum keeps the reference's order, term by term, so all numbers are
the same, bit for bit. Matrix products would not do: nobody promises their order of addition. There
is one layer, and no automatic gradient.
Letters: t position, j feature, o output, u earlier position, h head. d<name> is the derivative of
the loss with respect to <name>.
"""

import math
import random

import numpy as np

n_embd, n_head, block_size = 16, 4, 16
head_dim = n_embd // n_head
num_steps = 1000
learning_rate, beta1, beta2, eps_adam = 0.01, 0.85, 0.99, 1e-8

# On some processors NumPy's own exp and power differ from the C library's in the last bit.
exp, power = np.frompyfunc(math.exp, 1, 1), np.frompyfunc(math.pow, 2, 1)


def fold(terms):
    """Sum of vectors, first to last, starting at zero."""
    total = 0.0
    for term in terms:
        total = total + term
    return total


def linear(x, w):
    """y[o] = sum over j of w[o][j] x[j], j ascending."""
    return fold(w[:, j] * x[j] for j in range(len(x)))


def linear_backward(dy, w):
    """dx[j] = sum over o of w[o][j] dy[o], o descending."""
    return fold(w[o] * dy[o] for o in range(len(dy) - 1, -1, -1))


def softmax(logits):
    """Probabilities, and what the backward pass needs of them: exponentials and their sum."""
    e = exp(logits - logits.max()).astype(float)
    total = fold(e)
    return e * math.pow(total, -1), e, total


def rmsnorm(x):
    """x over the root of its mean square: (y, scale, mean square)."""
    ms = fold(x * x) * (1 / len(x)) + 1e-5
    scale = math.pow(ms, -0.5)
    return x * scale, scale, ms


def rmsnorm_backward(dx, dy, x, scale, ms):
    """Adds to dx: scale dy[j], then x[j] g twice.

    g = (1/d) (-1/2 ms**-3/2) sum over j of x[j] dy[j].
    """
    ds = fold((x * dy)[::-1])
    g = (1 / len(x)) * ((-0.5 * math.pow(ms, -1.5)) * ds)
    return dx + scale * dy + x * g + x * g


# ---- Data and weights: one vector of parameters, and matrices that look into it ------------------

random.seed(42)
documents = [line.strip() for line in open("input.txt", encoding="utf-8") if line.strip()]
random.shuffle(documents)
alphabet = sorted(set("".join(documents)))
bos, vocab_size = len(alphabet), len(alphabet) + 1
shapes = {"wte": (vocab_size, n_embd), "wpe": (block_size, n_embd), "lm_head": (vocab_size, n_embd)}
shapes |= {name: (n_embd, n_embd) for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo")}
shapes |= {"mlp_fc1": (4 * n_embd, n_embd), "mlp_fc2": (n_embd, 4 * n_embd)}
count = sum(rows * columns for rows, columns in shapes.values())
parameters = np.array([random.gauss(0, 0.08) for _ in range(count)])
gradients, m, v = np.zeros(count), np.zeros(count), np.zeros(count)


def matrices(vector):
    """The vector's numbers as matrices by name; writing to one writes to the vector."""
    found, start = {}, 0
    for name, (rows, columns) in shapes.items():
        found[name] = vector[start : start + rows * columns].reshape(rows, columns)
        start += rows * columns
    return found


w, dw = matrices(parameters), matrices(gradients)
print(f"num docs: {len(documents)}\nvocab size: {vocab_size}\nnum params: {count}")


# ---- Forward: one position at a time, everything kept for the way back --------------------------


def forward(token, t, past):
    """Logits at position t; appends the intermediate results of this position to the past ones."""
    p = {"token": token, "emb": w["wte"][token] + w["wpe"][t]}
    p["x0"], p["scale0"], p["ms0"] = rmsnorm(p["emb"])
    p["n1"], p["scale1"], p["ms1"] = rmsnorm(p["x0"])
    p["q"], p["k"], p["v"] = (
        linear(p["n1"], w[name]) for name in ("attn_wq", "attn_wk", "attn_wv")
    )
    past.append(p)
    p["heads"], out = [], []
    for h in range(0, n_embd, head_dim):
        head = slice(h, h + head_dim)
        keys, values = (
            np.array([u["k"][head] for u in past]),
            np.array([u["v"][head] for u in past]),
        )
        attention = softmax(linear(p["q"][head], keys) * math.pow(head_dim**0.5, -1))
        p["heads"].append(attention)
        out.append(linear(attention[0], values.T))
    p["mixed"] = np.concatenate(out)
    p["x1"] = linear(p["mixed"], w["attn_wo"]) + p["x0"]
    p["n2"], p["scale2"], p["ms2"] = rmsnorm(p["x1"])
    p["z"] = linear(p["n2"], w["mlp_fc1"])
    p["relu"] = np.maximum(0.0, p["z"])
    p["x2"] = linear(p["relu"], w["mlp_fc2"]) + p["x1"]
    return linear(p["x2"], w["lm_head"])


# ---- Backward: the positions from last to first --------------------------------------------------


def backward(past, t, y, n):
    """Adds what position t gives to the gradients of all matrices, and to dk, dv up to t."""
    p = past[t]
    # Loss -log(probability of y) / n through the output softmax: only y's probability is in it.
    probabilities, e, total = p["output"]
    dp = (1 / probabilities[y]) * (-1 * (1 / n))
    de = np.full(vocab_size, (-1 * math.pow(total, -2)) * (e[y] * dp))
    de[y] = math.pow(total, -1) * dp + de[y]
    dlogits = e * de
    dw["lm_head"] += np.outer(dlogits, p["x2"])
    others = [o for o in range(vocab_size - 1, -1, -1) if o != y]
    dx = fold(w["lm_head"][o] * dlogits[o] for o in [*others, y])

    # Perceptron and its residual.
    dw["mlp_fc2"] += np.outer(dx, p["relu"])
    dz = (p["z"] > 0) * linear_backward(dx, w["mlp_fc2"])
    dw["mlp_fc1"] += np.outer(dz, p["n2"])
    dx = rmsnorm_backward(dx, linear_backward(dz, w["mlp_fc1"]), p["x1"], p["scale2"], p["ms2"])

    # Attention and its residual.
    dw["attn_wo"] += np.outer(dx, p["mixed"])
    dn1 = attention_backward(past, t, linear_backward(dx, w["attn_wo"]))
    for name, dy in (("attn_wq", p["dq"]), ("attn_wk", p["dk"]), ("attn_wv", p["dv"])):
        dw[name] += np.outer(dy, p["n1"])
    dx = rmsnorm_backward(dx, dn1, p["x0"], p["scale1"], p["ms1"])
    demb = rmsnorm_backward(0.0, dx, p["emb"], p["scale0"], p["ms0"])
    dw["wte"][p["token"]] += demb
    dw["wpe"][t] += demb


def attention_backward(past, t, dmixed):
    """dn1 of position t; heads and earlier positions from last to first."""
    p, dn1 = past[t], 0.0
    p["dq"] = np.zeros(n_embd)
    for h in range(n_head - 1, -1, -1):
        head = slice(h * head_dim, (h + 1) * head_dim)
        a, e, total = p["heads"][h]
        da = [fold((past[u]["v"][head] * dmixed[head])[::-1]) for u in range(t + 1)]
        dtotal = fold((-1 * math.pow(total, -2)) * (e[u] * da[u]) for u in range(t, -1, -1))
        for u in range(t, -1, -1):
            past[u]["dv"][head] += a[u] * dmixed[head]
            d = e[u] * (math.pow(total, -1) * da[u] + dtotal) * math.pow(head_dim**0.5, -1)
            p["dq"][head] += past[u]["k"][head] * d
            past[u]["dk"][head] += p["q"][head] * d
        q, k, v = (
            [w[f"attn_w{letter}"][o] * p[f"d{letter}"][o] for o in range(n_embd)[head]]
            for letter in "qkv"
        )
        # The first position has k and q only in products k[o] q[o]: there their rows take turns.
        pairs = [*zip(q, k)] if t == 0 else []
        rest = [row for pair in pairs for row in pair] or [*q, *k]
        dn1 = fold([dn1, *v[::-1], *rest[::-1]])
    return dn1


# ---- Training ------------------------------------------------------------------------------------

for step in range(num_steps):
    document = documents[step % len(documents)]
    tokens = [bos, *(alphabet.index(character) for character in document), bos]
    n = min(block_size, len(tokens) - 1)
    past, loss = [], 0.0
    for t in range(n):
        output = softmax(forward(tokens[t], t, past))
        past[t] |= {"output": output, "dk": np.zeros(n_embd), "dv": np.zeros(n_embd)}
        loss += math.log(output[0][tokens[t + 1]]) * -1
    loss = (1 / n) * loss
    gradients[:] = 0.0
    for t in range(n - 1, -1, -1):
        backward(past, t, tokens[t + 1], n)

    rate = learning_rate * (1 - step / num_steps)
    m = beta1 * m + (1 - beta1) * gradients
    v = beta2 * v + (1 - beta2) * power(gradients, 2.0).astype(float)
    m_hat, v_hat = m / (1 - beta1 ** (step + 1)), v / (1 - beta2 ** (step + 1))
    parameters -= rate * m_hat / (power(v_hat, 0.5).astype(float) + eps_adam)
    print(f"step {step + 1:4d} / {num_steps:4d} | loss {loss:.4f}")

# ---- Sampling ------------------------------------------------------------------------------------

print("\n--- inference (new, hallucinated names) ---")
for i in range(20):
    token, past, text = bos, [], ""
    for t in range(block_size):
        probabilities, _, _ = softmax(forward(token, t, past) * math.pow(0.5, -1))
        token = random.choices(range(vocab_size), weights=probabilities.tolist())[0]
        if token == bos:
            break
        text += alphabet[token]
    print(f"sample {i + 1:2d}: {text}")
