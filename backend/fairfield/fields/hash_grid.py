"""The multiresolution hash encoding of Instant NGP (Müller et al. 2022), in plain torch.

The memory layout is that of tiny-cuda-nn (include/tiny-cuda-nn/encodings/grid.h), so the same
weights load in tinycudann: level after level, features interleaved, a level dense as long as all
its vertices fit the table. This module is the reference that faster kernels are tested against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .ranges import check_ranges

MAX_LEVELS = 32
HASH_PRIMES = (1, 2654435761, 805459861)


@dataclass(frozen=True)
class HashGridConfig:
    """Shape of a hash grid.

    Attributes
    ----------
    dimension
        Of the points: 2 or 3.
    levels, features
        Number of grids, and of features per grid vertex.
    log2_table_size
        Logarithm of the most vertices that one level stores.
    base_resolution, per_level_scale
        Vertices per axis of the coarsest grid, and the factor from one level to the next.
    """

    dimension: int = 3
    levels: int = 12
    features: int = 2
    log2_table_size: int = 17
    base_resolution: int = 16
    per_level_scale: float = 32.0 ** (1 / 11)

    def __post_init__(self) -> None:
        limits = {
            "dimension": (2, 3),
            "levels": (1, MAX_LEVELS),
            "features": (1, 8),
            "log2_table_size": (4, 24),
            "base_resolution": (2, 4096),
            "per_level_scale": (1.0, 4.0),
        }
        check_ranges("hash grid", self, limits)

    @property
    def width(self) -> int:
        """Number of features of an encoded point."""
        return self.levels * self.features


@dataclass(frozen=True)
class GridLevel:
    """One level: points x in [0, 1] lie at x * scale + 0.5 between `resolution` vertices per axis.

    Its vertices are rows `offset` to `offset + size` of the table.
    """

    scale: float
    resolution: int
    dense: bool
    offset: int
    size: int


def grid_levels(config: HashGridConfig) -> list[GridLevel]:
    """Return the levels as tiny-cuda-nn lays them out (float32 arithmetic included)."""
    table_size = 1 << config.log2_table_size
    log2_scale = np.float32(np.log2(np.float32(config.per_level_scale)))
    levels = []
    offset = 0
    for index in range(config.levels):
        scale = np.exp2(np.float32(index) * log2_scale) * np.float32(config.base_resolution)
        scale = np.float32(scale - np.float32(1))
        resolution = int(np.ceil(scale)) + 1
        vertices = resolution**config.dimension
        size = min((vertices + 7) // 8 * 8, table_size)
        levels.append(GridLevel(float(scale), resolution, vertices <= size, offset, size))
        offset += size
    return levels


class HashGrid(nn.Module):
    """Encodes (N, d) points in [-1, 1]^d as (N, levels * features) values.

    Linear interpolation between grid vertices; the features of one level stand side by side.
    """

    def __init__(self, config: HashGridConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = grid_levels(config)
        rows = self.levels[-1].offset + self.levels[-1].size
        self.table = nn.Parameter(torch.empty(rows, config.features).uniform_(-1e-4, 1e-4))

    @property
    def is_on_nvidia_gpu(self) -> bool:
        """Whether the table lies in the memory of an NVIDIA GPU."""
        return self.table.is_cuda

    def forward(self, points: Tensor) -> Tensor:  # [N, d] -> [N, levels * features]
        unit = (points + 1) / 2
        corners = [self._corners(unit, level) for level in self.levels]
        rows = torch.stack([rows for rows, _ in corners])  # [levels, 2^d, N]
        weights = torch.stack([weights for _, weights in corners])  # [levels, 2^d, N]
        vertices = _Lookup.apply(self.table, rows)  # [levels, 2^d, N, features]
        features = (weights[..., None] * vertices).sum(dim=1)  # [levels, N, features]
        return features.transpose(0, 1).flatten(start_dim=1)

    def _corners(self, unit: Tensor, level: GridLevel) -> tuple[Tensor, Tensor]:
        """Table rows and interpolation weights, both (2^d, N), of the corners around each point."""
        position = unit * level.scale + 0.5
        low = position.detach().floor()
        fraction = position - low
        cell = low.long()
        rows, weights = [], []
        for corner in product((0, 1), repeat=self.config.dimension):
            vertex = [cell[:, axis] + bit for axis, bit in enumerate(corner)]
            factors = [
                fraction[:, axis] if bit else 1 - fraction[:, axis]
                for axis, bit in enumerate(corner)
            ]
            rows.append(self._row(vertex, level))
            weights.append(reduce(torch.mul, factors))
        return torch.stack(rows), torch.stack(weights)

    def _row(self, vertex: list[Tensor], level: GridLevel) -> Tensor:
        if level.dense:
            terms = [index * level.resolution**axis for axis, index in enumerate(vertex)]
            index = reduce(torch.add, terms)
        else:
            terms = [index * HASH_PRIMES[axis] for axis, index in enumerate(vertex)]
            index = reduce(torch.bitwise_xor, terms)
        return index % level.size + level.offset


class _Lookup(torch.autograd.Function):
    """`table[rows]`, with a backward pass that is faster on a CPU than indexing's or embedding's.

    It adds one feature at a time; on a CPU in the order of the rows, so the sums are the same every
    time.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.table_shape = table.shape
        return table[rows]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        (gradient,) = gradients
        length, features = ctx.table_shape
        flat_rows = rows.reshape(-1)
        flat_gradient = gradient.reshape(-1, features)
        sums = [
            gradient.new_zeros(length).index_add_(0, flat_rows, flat_gradient[:, feature])
            for feature in range(features)
        ]
        return torch.stack(sums, dim=1), None
