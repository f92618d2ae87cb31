"""The training step in PyTorch, written to be fast: padded batches, fused attention, fused Adam."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from microgpt.config import Config

Batch = Sequence[Sequence[int]]
# ids, targets, weights in the loss if they differ: [document][position]
Padded = tuple[Tensor, Tensor, Tensor | None]


def rms_norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], eps=1e-5)


class Layer(nn.Module):
    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.wo = nn.Linear(n_embd, n_embd, bias=False)
        self.fc1 = nn.Linear(n_embd, 4 * n_embd, bias=False)
        self.fc2 = nn.Linear(4 * n_embd, n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, positions, n_embd = x.shape
        heads = self.qkv(rms_norm(x)).view(batch, positions, 3, self.n_head, -1).transpose(1, 3)
        mixed = functional.scaled_dot_product_attention(
            heads[:, :, 0], heads[:, :, 1], heads[:, :, 2], is_causal=True
        )
        x = x + self.wo(mixed.transpose(1, 2).reshape(batch, positions, n_embd))
        return x + self.fc2(functional.relu(self.fc1(rms_norm(x))))


class Model(nn.Module):
    """ids, targets, weights -> loss."""

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, config.n_embd)
        self.wpe = nn.Parameter(torch.empty(config.block_size, config.n_embd))
        self.lm_head = nn.Linear(config.n_embd, vocab_size, bias=False)
        self.layers = nn.Sequential(
            *(Layer(config.n_embd, config.n_head) for _ in range(config.n_layer))
        )

    def forward(self, ids: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        x = self.layers(rms_norm(self.wte(ids) + self.wpe[: ids.shape[1]]))
        logits = self.lm_head(x).flatten(0, 1)
        if weights is None:
            return functional.cross_entropy(logits, targets.flatten())
        return (
            functional.cross_entropy(logits, targets.flatten(), reduction="none")
            @ weights.flatten()
        )


class TorchTrainer:
    """Steps of Adam in float32, on one core unless torch is configured otherwise."""

    def __init__(
        self, config: Config, vocab_size: int, parameters: array[float], *, compiled: bool = False
    ) -> None:
        self.config = config
        model = Model(config, vocab_size)
        self._load(model, vocab_size, torch.tensor(parameters, dtype=torch.float32))
        betas = (config.beta1, config.beta2)
        self.adam = torch.optim.Adam(
            model.parameters(), betas=betas, eps=config.eps_adam, fused=True
        )
        self.loss = torch.compile(model) if compiled else model

    @torch.no_grad()
    def _load(self, model: Model, vocab_size: int, numbers: Tensor) -> None:
        """The weights, in the order of `reference.shapes`."""
        shapes = self.config.shapes(vocab_size)
        parts = numbers.split([rows * columns for rows, columns in shapes.values()])
        by_name = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts)}
        model.wte.weight.copy_(by_name["wte"])
        model.wpe.copy_(by_name["wpe"])
        model.lm_head.weight.copy_(by_name["lm_head"])
        for i, layer in enumerate(model.layers):
            layer.qkv.weight.copy_(torch.cat([by_name[f"layer{i}.attn_w{x}"] for x in "qkv"]))
            layer.wo.weight.copy_(by_name[f"layer{i}.attn_wo"])
            layer.fc1.weight.copy_(by_name[f"layer{i}.mlp_fc1"])
            layer.fc2.weight.copy_(by_name[f"layer{i}.mlp_fc2"])

    def prepare(self, batches: Sequence[Batch]) -> list[Padded]:
        """Tensors padded to the longest document of each batch. This is not timed."""
        return [self._padded(batch) for batch in batches]

    def _padded(self, batch: Batch) -> Padded:
        lengths = [min(self.config.block_size, len(tokens) - 1) for tokens in batch]
        longest = max(lengths)
        ids, targets = torch.zeros(2, len(batch), longest, dtype=torch.int64)
        weights = torch.zeros(len(batch), longest)
        for i, (tokens, n) in enumerate(zip(batch, lengths)):
            ids[i, :n], targets[i, :n] = torch.tensor(tokens[:n]), torch.tensor(tokens[1 : n + 1])
            weights[i, :n] = 1.0 / (n * len(batch))
        return ids, targets, None if min(lengths) == longest else weights

    def steps(self, batches: Sequence[Padded], rate: float) -> list[float]:
        self.adam.param_groups[0]["lr"] = rate
        losses = []
        for ids, targets, weights in batches:
            loss = self.loss(ids, targets, weights)
            self.adam.zero_grad(set_to_none=True)
            loss.backward()
            self.adam.step()
            losses.append(loss.detach())
        return torch.stack(losses).tolist()
