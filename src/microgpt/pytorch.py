"""The model as a `torch.nn.Module`. Its weights have the reference's names.

Only this module imports torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import Config
from .engines import State
from .tokenizer import Tokenizer


def _rmsnorm(x: Tensor) -> Tensor:
    """x divided by the root of its mean square, over the last dimension, n_embd."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-5) ** -0.5


class Layer(nn.Module):
    """Attention, then a multi-layer perceptron, each added to the residual stream."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.attn_wq = nn.Parameter(torch.empty(n_embd, n_embd))
        self.attn_wk = nn.Parameter(torch.empty(n_embd, n_embd))
        self.attn_wv = nn.Parameter(torch.empty(n_embd, n_embd))
        self.attn_wo = nn.Parameter(torch.empty(n_embd, n_embd))
        self.mlp_fc1 = nn.Parameter(torch.empty(4 * n_embd, n_embd))
        self.mlp_fc2 = nn.Parameter(torch.empty(n_embd, 4 * n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """x and the result: (batch, positions, n_embd)."""
        batch, positions, n_embd = x.shape
        normed = _rmsnorm(x)
        query, key, value = (
            (normed @ weight.T).view(batch, positions, self.n_head, -1).transpose(1, 2)
            for weight in (self.attn_wq, self.attn_wk, self.attn_wv)
        )  # each (batch, n_head, positions, head_dim)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + mixed.transpose(1, 2).reshape(batch, positions, n_embd) @ self.attn_wo.T
        return x + functional.relu(_rmsnorm(x) @ self.mlp_fc1.T) @ self.mlp_fc2.T


class TorchGPT(nn.Module):
    """The model in float64. Its parameters have the reference's names: wte, layer0.attn_wq, ..."""

    def __init__(self, config: Config, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.wte = nn.Parameter(torch.empty(tokenizer.vocab_size, config.n_embd))
        self.wpe = nn.Parameter(torch.empty(config.block_size, config.n_embd))
        self.lm_head = nn.Parameter(torch.empty(tokenizer.vocab_size, config.n_embd))
        for i in range(config.n_layer):
            self.add_module(f"layer{i}", Layer(config.n_embd, config.n_head))
        self.double()

    @classmethod
    def from_state(cls, config: Config, tokenizer: Tokenizer, state: State) -> TorchGPT:
        """A module with the weights of an engine's state."""
        self, start = cls(config, tokenizer), 0
        numbers = torch.frombuffer(bytearray(state.parameters.tobytes()), dtype=torch.float64)
        weights = {}
        for name, (rows, columns) in config.shapes(tokenizer.vocab_size).items():
            weights[name] = numbers[start : start + rows * columns].view(rows, columns)
            start += rows * columns
        self.load_state_dict(weights)
        return self

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits (batch, positions, vocab_size), and with targets the mean loss in nats per token.

        idx, targets: token ids (batch, positions), with at most block_size positions. A target of
        -1 is left out of the loss.
        """
        x = _rmsnorm(self.wte[idx] + self.wpe[: idx.shape[1]])
        for i in range(self.config.n_layer):
            x = self.get_submodule(f"layer{i}")(x)
        logits = x @ self.lm_head.T
        if targets is None:
            return logits, None
        return logits, functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=-1
        )

    @torch.no_grad()
    def generate(
        self, count: int, temperature: float = 0.5, generator: torch.Generator | None = None
    ) -> list[str]:
        """Generate `count` strings with torch's random numbers; not those of `MicroGPT.sample`."""
        bos = self.tokenizer.bos
        idx = torch.full((count, 1), bos)
        for _ in range(self.config.block_size):
            logits = self(idx)[0][:, -1] / temperature
            token = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            idx = torch.cat(
                [idx, torch.where(idx[:, -1:] == bos, bos, token) if idx.shape[1] > 1 else token], 1
            )
        return [self.tokenizer.decode(row[: _end(row, bos)]) for row in idx[:, 1:].tolist()]


def _end(tokens: list[int], bos: int) -> int:
    """Index of the first end token, or the length."""
    return tokens.index(bos) if bos in tokens else len(tokens)
