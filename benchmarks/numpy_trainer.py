"""The training step in NumPy, in float32, with padded batches and gradients written by hand."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from microgpt.config import Config

Array = np.ndarray[Any, np.dtype[Any]]
Batch = Sequence[Sequence[int]]
Padded = tuple[Array, Array, Array]  # ids, targets, weights in the loss: [document][position]


def rms_norm(x: Array) -> tuple[Array, Array]:
    """x divided by the root of its mean square, and that scale."""
    scale = 1 / np.sqrt(np.mean(x * x, -1, keepdims=True) + np.float32(1e-5))
    return x * scale, scale


def rms_norm_backward(dy: Array, y: Array, scale: Array) -> Array:
    return scale * (dy - y * np.mean(dy * y, -1, keepdims=True))


def by_weight(dy: Array, x: Array) -> Array:
    """The gradient of W where y = x W^T."""
    return dy.reshape(-1, dy.shape[-1]).T @ x.reshape(-1, x.shape[-1])


class NumpyTrainer:
    """Steps of Adam. Weights, gradients and moments are vectors; the matrices are views of them."""

    def __init__(self, config: Config, vocab_size: int, parameters: array[float]) -> None:
        self.config, self.done = config, 0
        self.p = np.array(parameters, np.float32)
        self.g, self.m, self.v = np.zeros_like(self.p), np.zeros_like(self.p), np.zeros_like(self.p)
        self.weights, self.gradients, start = {}, {}, 0
        for name, (rows, columns) in config.shapes(vocab_size).items():
            part = slice(start, start + rows * columns)
            self.weights[name] = self.p[part].reshape(rows, columns)
            self.gradients[name] = self.g[part].reshape(rows, columns)
            start = part.stop

    def prepare(self, batches: Sequence[Batch]) -> list[Padded]:
        """Arrays padded to the longest document of each batch. This is not timed."""
        padded = []
        for batch in batches:
            lengths = [min(self.config.block_size, len(tokens) - 1) for tokens in batch]
            ids, targets = np.zeros((2, len(batch), max(lengths)), np.int64)
            weights = np.zeros(ids.shape, np.float32)
            for i, (tokens, n) in enumerate(zip(batch, lengths)):
                ids[i, :n], targets[i, :n], weights[i, :n] = (
                    tokens[:n],
                    tokens[1 : n + 1],
                    1 / (n * len(batch)),
                )
            padded.append((ids, targets, weights))
        return padded

    def steps(self, batches: Sequence[Padded], rate: float) -> list[float]:
        losses = []
        for batch in batches:
            losses.append(self._gradients(*batch))
            self._adam(rate)
        return losses

    def _heads(self, x: Array) -> Array:
        """(documents, positions, n_embd) -> (documents, heads, positions, head_dim)"""
        return x.reshape(*x.shape[:2], self.config.n_head, -1).transpose(0, 2, 1, 3)

    def _whole(self, x: Array) -> Array:
        return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)

    def _gradients(self, ids: Array, targets: Array, weights: Array) -> float:
        w, g, positions = self.weights, self.gradients, ids.shape[1]
        embedded, scale0 = rms_norm(w["wte"][ids] + w["wpe"][:positions])
        x, kept = embedded, []
        for i in range(self.config.n_layer):
            x, layer = self._forward(f"layer{i}.", x)
            kept.append(layer)
        logits = x @ w["lm_head"].T
        e = np.exp(logits - logits.max(-1, keepdims=True))
        d = e / e.sum(-1, keepdims=True)
        of_targets = np.take_along_axis(d, targets[..., None], -1)
        loss = float(-(weights * np.log(of_targets[..., 0])).sum())
        np.put_along_axis(d, targets[..., None], of_targets - 1, -1)
        d *= weights[..., None]
        g["lm_head"][:] = by_weight(d, x)
        dx = d @ w["lm_head"]
        for i in reversed(range(self.config.n_layer)):
            dx = self._backward(f"layer{i}.", dx, *kept[i])
        dx = rms_norm_backward(dx, embedded, scale0)
        g["wte"][:], g["wpe"][:positions], g["wpe"][positions:] = 0, dx.sum(0), 0
        np.add.at(g["wte"], ids.ravel(), dx.reshape(-1, dx.shape[-1]))
        return loss

    def _forward(self, name: str, x: Array) -> tuple[Array, tuple[Array, ...]]:
        w, t = self.weights, x.shape[1]
        normed1, scale1 = rms_norm(x)
        q, k, v = (self._heads(normed1 @ w[name + f"attn_w{s}"].T) for s in "qkv")
        scores = q @ k.transpose(0, 1, 3, 2) * np.float32(self.config.head_dim**-0.5)
        scores[:, :, np.triu(np.ones((t, t), bool), 1)] = -np.inf
        e = np.exp(scores - scores.max(-1, keepdims=True))
        attention = e / e.sum(-1, keepdims=True)
        mixed = self._whole(attention @ v)
        x = x + mixed @ w[name + "attn_wo"].T
        normed2, scale2 = rms_norm(x)
        hidden = np.maximum(normed2 @ w[name + "mlp_fc1"].T, 0)
        kept = (normed1, scale1, q, k, v, attention, mixed, normed2, scale2, hidden)
        return x + hidden @ w[name + "mlp_fc2"].T, kept

    def _backward(
        self, name: str, dx: Array,
        normed1: Array, scale1: Array, q: Array, k: Array, v: Array,
        attention: Array, mixed: Array, normed2: Array, scale2: Array, hidden: Array,
    ) -> Array:  # fmt: skip
        w, g = self.weights, self.gradients
        g[name + "mlp_fc2"][:] = by_weight(dx, hidden)
        d_hidden = dx @ w[name + "mlp_fc2"] * (hidden > 0)
        g[name + "mlp_fc1"][:] = by_weight(d_hidden, normed2)
        dx = dx + rms_norm_backward(d_hidden @ w[name + "mlp_fc1"], normed2, scale2)
        g[name + "attn_wo"][:] = by_weight(dx, mixed)
        d_mixed = self._heads(dx @ w[name + "attn_wo"])
        d_attention = d_mixed @ v.transpose(0, 1, 3, 2)
        d_scores = attention * (d_attention - (attention * d_attention).sum(-1, keepdims=True))
        d_scores *= np.float32(self.config.head_dim**-0.5)
        swapped = (0, 1, 3, 2)
        by_heads = (
            d_scores @ k,
            d_scores.transpose(swapped) @ q,
            attention.transpose(swapped) @ d_mixed,
        )
        d_normed = np.zeros_like(normed1)
        for s, d_heads in zip("qkv", by_heads):
            d = self._whole(d_heads)
            g[name + f"attn_w{s}"][:] = by_weight(d, normed1)
            d_normed += d @ w[name + f"attn_w{s}"]
        return dx + rms_norm_backward(d_normed, normed1, scale1)

    def _adam(self, rate: float) -> None:
        self.done += 1
        beta1, beta2 = self.config.beta1, self.config.beta2
        self.m += np.float32(1 - beta1) * (self.g - self.m)
        self.v += np.float32(1 - beta2) * (self.g * self.g - self.v)
        root = np.sqrt(self.v) * np.float32((1 - beta2**self.done) ** -0.5) + np.float32(
            self.config.eps_adam
        )
        self.p -= np.float32(rate / (1 - beta1**self.done)) * self.m / root
