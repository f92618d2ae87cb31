"""An engine for microgpt in NumPy, as another package would add it: one file and one entry point.

It computes whole documents with matrix products in float64 and has its backward pass written out.
It inherits the contract's checks and loops from `PythonEngine`. Shapes: T positions, D n_embd, H
heads, V vocabulary. d_x is the derivative of the loss by x.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from microgpt.config import Config
from microgpt.engines import State, Stop, Tokens, Trace
from microgpt.engines.base import PythonEngine
from microgpt.errors import StoppedError

Array = np.ndarray[Any, np.dtype[np.float64]]
Cache = list[list[Array]]  # [layer]: keys and values of the positions so far, each (T, D)


class Layer(NamedTuple):
    """What the backward pass needs of one layer's forward pass."""

    normed1: Array  # (T, D)
    scale1: Array  # (T, 1)
    q: Array  # (H, T, D / H), as k and v
    k: Array
    v: Array
    attention: Array  # (H, T, T): query position, key position
    mixed: Array  # (T, D)
    normed2: Array
    scale2: Array
    hidden: Array  # (T, 4 D)


class NumpyEngine(PythonEngine):
    """Arguments, results and errors: see `microgpt.engines.Engine`."""

    name = "numpy"
    bound = 1e-11  # sums in another order; the largest difference seen on random models is 3e-13

    def __init__(self, config: Config, vocab_size: int, state: State, *, threads: int = 0) -> None:
        super().__init__(config, vocab_size, state, threads=threads)
        self.p, self.m, self.v = (np.array(x) for x in (state.parameters, state.m, state.v))
        self.gradient, self.step = np.zeros_like(self.p), state.step
        self.weights, self.d_weights = self._matrices(self.p), self._matrices(self.gradient)

    @classmethod
    def about(cls) -> str:
        """NumPy's version."""
        return f"NumPy {np.__version__}"

    def _matrices(self, vector: Array) -> dict[str, Array]:
        """The vector's numbers as matrices by name; writing to a matrix writes to the vector."""
        matrices, start = {}, 0
        for name, (rows, columns) in self.config.shapes(self.vocab_size).items():
            matrices[name] = vector[start : start + rows * columns].reshape(rows, columns)
            start += rows * columns
        return matrices

    # ---- the methods that the contract's base class asks for ----

    def _state(self) -> State:
        return State(array("d", self.p), array("d", self.m), array("d", self.v), self.step)

    def _update(self, batch: Sequence[Tokens], rate: float, stop: Stop) -> float:
        with np.errstate(all="ignore"):  # divergence is found below
            loss, c = self._backward_batch(batch, stop), self.config
            g, square = self.gradient, self.gradient**2
            if not (math.isfinite(loss) and np.isfinite(square).all()):
                return math.nan
            self.step += 1
            self.m += (1 - c.beta1) * (g - self.m)
            self.v += (1 - c.beta2) * (square - self.v)
            m_hat = self.m / (1 - c.beta1**self.step)
            v_hat = self.v / (1 - c.beta2**self.step)
            self.p -= rate * m_hat / (np.sqrt(v_hat) + c.eps_adam)
        return loss

    def _gradients(self, batch: Sequence[Tokens], stop: Stop) -> tuple[float, array[float]]:
        return self._backward_batch(batch, stop), array("d", self.gradient)

    def _trace(self, tokens: Tokens, stop: Stop) -> Trace:
        if stop():
            raise StoppedError
        logits, layers, _ = self._forward(np.array(tokens[: self.config.block_size + 1]))
        attention = [
            [[row[: t + 1].tolist() for t, row in enumerate(head)] for head in layer.attention]
            for layer in layers
        ]
        return Trace(softmax(logits).tolist(), attention)

    def _new_cache(self) -> Cache:
        return [[np.zeros((0, self.config.n_embd))] * 2 for _ in range(self.config.n_layer)]

    def _logits(self, token: int, position: int, cache: Cache) -> list[float]:
        w = self.weights
        x, _ = rmsnorm(w["wte"][token] + w["wpe"][position])
        for i, past in enumerate(cache):
            normed, _ = rmsnorm(x)
            q, k, v = (normed @ w[f"layer{i}.attn_w{letter}"].T for letter in "qkv")
            past[:] = np.vstack([past[0], k]), np.vstack([past[1], v])
            keys, values = self._heads(past[0]), self._heads(past[1])
            scores = self._heads(q[None]) @ keys.transpose(0, 2, 1) * self.config.head_dim**-0.5
            mixed = self._joined(softmax(scores) @ values)[0]
            x = x + mixed @ w[f"layer{i}.attn_wo"].T
            hidden = np.maximum(rmsnorm(x)[0] @ w[f"layer{i}.mlp_fc1"].T, 0)
            x = x + hidden @ w[f"layer{i}.mlp_fc2"].T
        logits: list[float] = (x @ w["lm_head"].T).tolist()
        return logits

    # ---- a whole document forward, and back ----

    def _heads(self, x: Array) -> Array:
        """(T, D) -> (H, T, D / H)"""
        return x.reshape(len(x), self.config.n_head, -1).transpose(1, 0, 2)

    def _joined(self, x: Array) -> Array:
        """(H, T, D / H) -> (T, D)"""
        return x.transpose(1, 0, 2).reshape(x.shape[1], -1)

    def _forward(self, tokens: Array) -> tuple[Array, list[Layer], tuple[Array, Array, Array]]:
        """Logits (T, V), each layer's intermediate results, and (embedding, its scale, output)."""
        w, t = self.weights, len(tokens) - 1
        embedding, scale = rmsnorm(w["wte"][tokens[:-1]] + w["wpe"][:t])
        x, layers = embedding, []
        future = np.triu(np.full((t, t), -np.inf), 1)  # added to scores: nobody looks ahead
        for i in range(self.config.n_layer):
            normed1, scale1 = rmsnorm(x)
            q, k, v = (self._heads(normed1 @ w[f"layer{i}.attn_w{letter}"].T) for letter in "qkv")
            attention = softmax(q @ k.transpose(0, 2, 1) * self.config.head_dim**-0.5 + future)
            mixed = self._joined(attention @ v)
            x = x + mixed @ w[f"layer{i}.attn_wo"].T
            normed2, scale2 = rmsnorm(x)
            hidden = np.maximum(normed2 @ w[f"layer{i}.mlp_fc1"].T, 0)
            x = x + hidden @ w[f"layer{i}.mlp_fc2"].T
            layers.append(
                Layer(normed1, scale1, q, k, v, attention, mixed, normed2, scale2, hidden)
            )
        return x @ w["lm_head"].T, layers, (embedding, scale, x)

    def _backward_batch(self, batch: Sequence[Tokens], stop: Stop) -> float:
        """Mean loss of the documents; its gradient is left in `self.gradient`."""
        self.gradient[:] = 0
        loss = 0.0
        for tokens in batch:
            if stop():
                raise StoppedError
            loss += self._backward(np.array(tokens[: self.config.block_size + 1]), len(batch))
        return loss

    def _backward(self, tokens: Array, documents: int) -> float:
        w, dw, t = self.weights, self.d_weights, len(tokens) - 1
        logits, layers, (embedding, scale, x) = self._forward(tokens)
        d_logits, rows, share = softmax(logits), np.arange(t), 1 / (t * documents)
        loss = -share * np.log(d_logits[rows, tokens[1:]]).sum()
        d_logits[rows, tokens[1:]] -= (
            1  # softmax and log together: p - 1 at the target, p elsewhere
        )
        d_logits *= share
        dw["lm_head"] += d_logits.T @ x
        d_x = d_logits @ w["lm_head"]
        for i in reversed(range(self.config.n_layer)):
            d_x = self._backward_layer(f"layer{i}.", layers[i], d_x)
        d_x = rmsnorm_backward(d_x, embedding, scale)
        np.add.at(dw["wte"], tokens[:-1], d_x)
        dw["wpe"][:t] += d_x
        return float(loss)

    def _backward_layer(self, name: str, layer: Layer, d_x: Array) -> Array:
        w, dw = self.weights, self.d_weights
        dw[name + "mlp_fc2"] += d_x.T @ layer.hidden
        d_hidden = d_x @ w[name + "mlp_fc2"] * (layer.hidden > 0)
        dw[name + "mlp_fc1"] += d_hidden.T @ layer.normed2
        d_normed = d_hidden @ w[name + "mlp_fc1"]
        d_x = d_x + rmsnorm_backward(d_normed, layer.normed2, layer.scale2)
        dw[name + "attn_wo"] += d_x.T @ layer.mixed
        d_mixed = self._heads(d_x @ w[name + "attn_wo"])
        d_attention = d_mixed @ layer.v.transpose(0, 2, 1)
        inner = (layer.attention * d_attention).sum(-1, keepdims=True)
        d_scores = layer.attention * (d_attention - inner) * self.config.head_dim**-0.5
        d_q, d_k = d_scores @ layer.k, d_scores.transpose(0, 2, 1) @ layer.q
        d_v = layer.attention.transpose(0, 2, 1) @ d_mixed
        d_normed = np.zeros_like(layer.normed1)
        for letter, d_heads in zip("qkv", (d_q, d_k, d_v)):
            d = self._joined(d_heads)
            dw[name + f"attn_w{letter}"] += d.T @ layer.normed1
            d_normed += d @ w[name + f"attn_w{letter}"]
        return d_x + rmsnorm_backward(d_normed, layer.normed1, layer.scale1)


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rmsnorm(x: Array) -> tuple[Array, Array]:
    """x over the root of its mean square, and the scale that does it."""
    scale = ((x * x).mean(-1, keepdims=True) + 1e-5) ** -0.5
    return x * scale, scale


def rmsnorm_backward(d_y: Array, y: Array, scale: Array) -> Array:
    """d_x, where y, scale = rmsnorm(x)."""
    return scale * (d_y - y * (d_y * y).mean(-1, keepdims=True))
