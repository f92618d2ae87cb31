"""The lines that Karpathy's original script prints, for `microgpt train --transcript`."""

from __future__ import annotations

SAMPLES_TITLE = "\n--- inference (new, hallucinated names) ---"


def header(documents: int, vocab_size: int, parameters: int) -> str:
    """The three lines before the first step."""
    return f"num docs: {documents}\nvocab size: {vocab_size}\nnum params: {parameters}"


def step_line(step: int, num_steps: int, loss: float) -> str:
    """The line of one step, counted from 1."""
    return f"step {step:4d} / {num_steps:4d} | loss {loss:.4f}"


def sample_line(number: int, document: str) -> str:
    """The line of one sample, counted from 1."""
    return f"sample {number:2d}: {document}"
