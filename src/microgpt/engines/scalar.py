"""The definition as an engine: `reference.py`, one number at a time, slow and readable."""

from __future__ import annotations

import math
import platform
from array import array
from collections.abc import Sequence
from typing import Any

from .. import reference, reference_recipe
from ..config import Config, physical_memory
from ..errors import ConfigError, StoppedError
from .base import PythonEngine
from .contract import State, Stop, Tokens, Trace

Number = Any  # reference.Value: a file for readers, without annotations
GRAPH_BYTES = 570  # the graph of a product and its sum, two Values; measured on CPython 3.11


class ScalarEngine(PythonEngine):
    """Runs the reference's own functions. Arguments, results and errors: see `Engine`."""

    name = "scalar"
    bound = 0.0

    def __init__(self, config: Config, vocab_size: int, state: State, *, threads: int = 0) -> None:
        super().__init__(config, vocab_size, state, threads=threads)
        self._step = state.step
        numbers = iter(state.parameters)
        self._weights = {
            name: [[reference.Value(next(numbers)) for _ in range(columns)] for _ in range(rows)]
            for name, (rows, columns) in config.shapes(vocab_size).items()
        }
        self._parameters: list[Number] = reference.parameters_of(self._weights)
        self._m, self._v = list(state.m), list(state.v)

    @classmethod
    def supports(cls, config: Config) -> bool:
        """Every configuration: this engine is the definition."""
        return True

    @classmethod
    def about(cls) -> str:
        """The Python that runs it."""
        return f"reference.py on {platform.python_implementation()} {platform.python_version()}"

    def _state(self) -> State:
        parameters = array("d", [p.data for p in self._parameters])
        return State(parameters, array("d", self._m), array("d", self._v), self._step)

    def _update(self, batch: Sequence[Tokens], rate: float, stop: Stop) -> float:
        loss = self._backward(batch, stop, self.config.input_dropout)
        if not (
            math.isfinite(loss) and all(math.isfinite(p.grad * p.grad) for p in self._parameters)
        ):
            self._clear_gradients()
            return math.nan
        reference_recipe.update(self._weights, self._m, self._v, self._step, rate, self.config)
        self._step += 1
        return loss

    def _gradients(self, batch: Sequence[Tokens], stop: Stop) -> tuple[float, array[float]]:
        loss = self._backward(batch, stop)
        gradients = array("d", [p.grad for p in self._parameters])
        self._clear_gradients()
        return loss, gradients

    def _trace(self, tokens: Tokens, stop: Stop) -> Trace:
        cache = self._new_cache()
        probabilities, positions = [], []
        for position in range(min(self.config.block_size, len(tokens) - 1)):
            if stop():
                raise StoppedError
            logits, attention = reference.gpt(
                tokens[position], position, cache, self._weights, self.config
            )
            probabilities.append([p.data for p in reference.softmax(logits)])
            positions.append(attention)
        layers, heads = range(self.config.n_layer), range(self.config.n_head)
        return Trace(
            probabilities,
            [
                [[[w.data for w in a[layer][h]] for a in positions] for h in heads]
                for layer in layers
            ],
        )

    def _new_cache(self) -> Any:
        return reference.empty_cache(self.config)

    def _logits(self, token: int, position: int, cache: Any) -> list[float]:
        logits, _ = reference.gpt(token, position, cache, self._weights, self.config)
        return [logit.data for logit in logits]

    def _backward(self, batch: Sequence[Tokens], stop: Stop, hidden: float = 0.0) -> float:
        """Loss of a batch, its gradients left in the parameters. Raises StoppedError.

        The loss is NaN where Python's arithmetic raises: there a compiled engine gets an infinity.
        Raises ConfigError if memory cannot hold the graph of the whole batch.
        """
        self._require_memory(batch)
        losses = []
        for tokens in batch:
            if stop():
                raise StoppedError
            try:
                losses.append(self._document_loss(tokens, hidden))
            except (ArithmeticError, ValueError):
                return math.nan
        if stop():
            raise StoppedError
        try:
            loss = reference_recipe.batch_loss(losses)
            loss.backward()
        except (ArithmeticError, ValueError):
            return math.nan
        return float(loss.data)

    def _require_memory(self, batch: Sequence[Tokens]) -> None:
        c = self.config
        by_weights = 12 * c.n_layer * c.n_embd**2 + self.vocab_size * c.n_embd  # at one position
        products = 0
        for tokens in batch:
            n = min(c.block_size, len(tokens) - 1)
            products += n * by_weights + n * (n + 1) * c.n_layer * c.n_embd  # the rest: attention
        if products * GRAPH_BYTES > (limit := physical_memory()):
            raise ConfigError(
                f"the graph of one update, {products:,} products, needs about "
                f"{products * GRAPH_BYTES / 1e9:,.1f} GB of memory; this machine has "
                f"{limit / 1e9:,.1f} GB",
                where="engine scalar",
                fix="another engine, a smaller batch_size, n_embd or n_layer",
            )

    def _document_loss(self, tokens: Tokens, hidden: float) -> Number:
        """The reference's loss; a share of the inputs may be hidden, but never a target."""
        inputs, targets = tokens[:-1], tokens[1:]
        if hidden:
            inputs = reference_recipe.hidden_inputs(inputs, self.vocab_size - 1, self._step, hidden)
        return reference.document_loss(inputs, targets, self._weights, self.config)

    def _clear_gradients(self) -> None:
        for p in self._parameters:
            p.grad = 0
