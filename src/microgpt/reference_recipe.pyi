"""Types of reference_recipe.py, kept apart so that the file for readers stays free of them."""

from collections.abc import Sequence

from .reference import Value

def batch_indices(step: int, batch_size: int, count: int) -> list[int]: ...
def batch_loss(losses: Sequence[Value]) -> Value: ...
