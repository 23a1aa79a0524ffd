"""Values on a coarse lattice: the base that a network corrects.

With exact distances in it, a network that learns only the remainder reaches in 100 steps what takes
1000 from scratch, and the field is close everywhere, not only near the surface.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

SUPPORT = 4
"""Nodes per axis that a value depends on; a lattice has no fewer."""


class CoarseGrid(nn.Module):
    """Cubic interpolation of values at the n^d nodes of a lattice over [-1, 1]^d.

    The spline is Catmull and Rom's (Keys 1981, a = -1/2): it passes through the values, reaches
    four nodes, and its slope is continuous. A multilinear base bends by several degrees at the
    faces of its cells; the network cannot take that back, and it is what normals by autodiff and
    curvature would suffer from most. Beyond the border the values continue in a straight line.

    The values are no parameters: they are given, and saved with the field.
    """

    values: Tensor

    def __init__(self, resolution: int, dimension: int = 3) -> None:
        super().__init__()
        self.resolution = resolution
        self.register_buffer("values", torch.zeros([resolution] * dimension))

    @property
    def cell(self) -> float:
        """Side of a cell."""
        return 2 / (self.resolution - 1)

    def nodes(self) -> Tensor:
        """The points (n^d, d) where the values belong, in the order of `values.flatten()`."""
        along = torch.linspace(-1, 1, self.resolution, dtype=torch.float64)
        axes = torch.meshgrid(*[along] * self.values.ndim, indexing="ij")
        return torch.stack(axes, dim=-1).reshape(-1, self.values.ndim)

    def forward(self, points: Tensor) -> Tensor:  # [N, d] -> [N]
        position = (points + 1) / self.cell
        low = position.detach().floor().clamp(0, self.resolution - 2)
        weights = _border_folded(_spline_weights(position - low), low, self.resolution)
        first = (low.long() - 1).clamp(0, self.resolution - SUPPORT)
        flat = self.values.reshape(-1)
        total = torch.zeros_like(position[:, 0])
        for corner in product(range(SUPPORT), repeat=points.shape[1]):
            weight, node = torch.ones_like(total), torch.zeros_like(first[:, 0])
            for axis, index in enumerate(corner):
                weight = weight * weights[index][:, axis]
                node = node * self.resolution + first[:, axis] + index
            total = total + weight * flat[node]
        return total


def _spline_weights(t: Tensor) -> list[Tensor]:
    """Weights of the nodes at -1, 0, 1 and 2 for a position t from 0 to 1."""
    return [
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    ]


def _border_folded(weights: list[Tensor], low: Tensor, resolution: int) -> list[Tensor]:
    """In a cell at the border, weights of the four nodes at that border.

    The missing node has the value of the straight line through the two next to it.
    """
    w0, w1, w2, w3 = weights
    nothing = torch.zeros_like(w0)
    at_start = [w1 + 2 * w0, w2 - w0, w3, nothing]
    at_end = [nothing, w0, w1 - w3, w2 + 2 * w3]
    return [
        torch.where(low == 0, start, torch.where(low == resolution - 2, end, inside))
        for start, end, inside in zip(at_start, at_end, weights, strict=True)
    ]
