"""Features on planes: one plane for each pair of axes, in plain torch (Chan et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import torch
from torch import Tensor, nn

from .ranges import check_ranges


@dataclass(frozen=True)
class TriPlaneConfig:
    """Shape of the planes.

    Attributes
    ----------
    dimension
        Of the points: 3 for three planes, 2 for a single one.
    resolution
        Nodes per axis of a plane.
    channels
        Features per node, and of an encoded point.
    """

    dimension: int = 3
    resolution: int = 128
    channels: int = 32

    def __post_init__(self) -> None:
        limits = {"dimension": (2, 3), "resolution": (2, 4096), "channels": (1, 256)}
        check_ranges("tri-plane", self, limits)

    @property
    def width(self) -> int:
        """Number of features of an encoded point."""
        return self.channels


class TriPlane(nn.Module):
    """Encodes (N, d) points in [-1, 1]^d as (N, channels) values.

    A point is projected on every plane; the bilinear interpolations there are summed. The nodes of
    a plane lie on the lattice that includes the border; those of the last axis are neighbours in
    the table, and the planes follow each other in the order xy, xz, yz.
    """

    def __init__(self, config: TriPlaneConfig) -> None:
        super().__init__()
        self.config = config
        self.planes = list(combinations(range(config.dimension), 2))
        rows = len(self.planes) * config.resolution**2
        self.table = nn.Parameter(0.001 * torch.randn(rows, config.channels))

    def forward(self, points: Tensor) -> Tensor:  # [N, d] -> [N, channels]
        resolution = self.config.resolution
        position = (points + 1) / 2 * (resolution - 1)
        low = position.detach().floor().clamp(0, resolution - 2)
        high_weight = position - low
        cell = low.long()
        rows, weights = [], []
        for index, (a, b) in enumerate(self.planes):
            for i, j in product((0, 1), repeat=2):
                row = (index * resolution + cell[:, a] + i) * resolution + cell[:, b] + j
                rows.append(row)
                weights.append(
                    (high_weight[:, a] if i else 1 - high_weight[:, a])
                    * (high_weight[:, b] if j else 1 - high_weight[:, b])
                )
        # [4 corners of each plane, N, channels]; a long row makes embedding the fast way to look up
        corners = nn.functional.embedding(torch.stack(rows), self.table)
        return (torch.stack(weights)[..., None] * corners).sum(dim=0)
