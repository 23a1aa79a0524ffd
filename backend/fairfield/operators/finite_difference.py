"""Central differences: two field values per first and pure second derivative."""

from __future__ import annotations

import torch
from torch import Tensor

from .polynomial import Evaluate, in_float64


def finite_difference_jet(
    evaluate: Evaluate, points: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (N,), gradient (N, d) and Hessian (N, d, d) at (N, d) points.

    `step` (N,) is the distance of the differences, in the points' units. Second-order accurate;
    mixed derivatives use the four diagonal neighbours.
    """
    dimension = points.shape[1]
    offset = step[:, None] * torch.eye(dimension, dtype=points.dtype, device=points.device)[:, None]

    def at(displacement: Tensor | float) -> Tensor:
        return in_float64(evaluate(points + displacement))

    value = at(0.0)
    ahead = [at(offset[axis]) for axis in range(dimension)]
    behind = [at(-offset[axis]) for axis in range(dimension)]
    length = in_float64(step)
    gradient = torch.stack(
        [(a - b) / (2 * length) for a, b in zip(ahead, behind, strict=True)], dim=1
    )
    hessian = value.new_empty(len(points), dimension, dimension)
    for i in range(dimension):
        hessian[:, i, i] = (ahead[i] - 2 * value + behind[i]) / length**2
        for j in range(i):
            plus, minus = offset[i] + offset[j], offset[i] - offset[j]
            mixed = (at(plus) - at(minus) - at(-minus) + at(-plus)) / (4 * length**2)
            hessian[:, i, j] = hessian[:, j, i] = mixed
    return value, gradient, hessian
