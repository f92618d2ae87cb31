"""Muon's update of a matrix, in plain Python: what `Config.muon` means.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". A matrix moves along its
momentum with all its singular values brought near 1, so that rare directions learn as fast as common ones.
"""

from __future__ import annotations

from collections.abc import Sequence

Matrix = list[list[float]]

# x -> a x + b x^3 + c x^5, five times, takes a singular value in (0, 1] to about 0.7 ... 1.2.
A, B, C = 3.4445, -4.7750, 2.0315


def direction(momentum: Matrix) -> Matrix:
    """The matrix with its singular values near 1, by Newton-Schulz steps; zeros stay zeros."""
    if len(momentum) > len(
        momentum[0]
    ):  # the shorter side first: products are smaller, the result the same
        return transposed(direction(transposed(momentum)))
    length = sum(x * x for row in momentum for x in row) ** 0.5
    x = [[value / max(length, 1e-7) for value in row] for row in momentum]
    for _ in range(5):
        gram = product(x, transposed(x))
        square = product(gram, gram)
        polynomial = [[B * g + C * s for g, s in zip(*rows)] for rows in zip(gram, square)]
        x = [[A * old + new for old, new in zip(*rows)] for rows in zip(x, product(polynomial, x))]
    return x


def update(
    weights: Matrix, gradient: Matrix, momentum: Matrix, rate: float, beta: float, keep: float
) -> tuple[Matrix, Matrix]:
    """New weights and new momentum: weights * keep - rate * 0.2 * sqrt(longer side) * direction.

    The factor makes the step as long as Adam's usually is (Liu et al. 2025, "Muon is scalable for LLM
    training", section 2.2), so that one learning rate serves both. The direction is that of Nesterov's momentum.
    """
    momentum = [
        [beta * m + (1 - beta) * g for m, g in zip(*rows)] for rows in zip(momentum, gradient)
    ]
    ahead = [[beta * m + (1 - beta) * g for m, g in zip(*rows)] for rows in zip(momentum, gradient)]
    step = rate * 0.2 * max(len(weights), len(weights[0])) ** 0.5
    moved = [
        [keep * w - step * d for w, d in zip(*rows)] for rows in zip(weights, direction(ahead))
    ]
    return moved, momentum


def product(left: Sequence[Sequence[float]], right: Matrix) -> Matrix:
    """left right."""
    columns = transposed(right)
    return [[sum(a * b for a, b in zip(row, column)) for column in columns] for row in left]


def transposed(matrix: Matrix) -> Matrix:
    """Rows to columns."""
    return [list(column) for column in zip(*matrix)]
