"""The hash grid's encoding by tinycudann, where that can be imported and the grid is on a GPU.

tinycudann (github.com/NVlabs/tiny-cuda-nn) has to be built for the GPU at hand and is on no package
index, so nothing relies on it: before it is used for a grid it must give what the reference gives.
Its fused networks compute in half precision, too coarse for distances, and are left alone.
"""

from __future__ import annotations

import functools
import logging
from types import ModuleType

import torch
from torch import Tensor
from torch.func import functional_call

from .hash_grid import HashGrid

log = logging.getLogger("fairfield.fields")

PROBES = 256
TOLERANCE = 1e-4
"""Largest difference from the reference, relative to the largest feature; both are float32."""


class TinyCudaEncoding:
    """Encodes (N, d) points in [-1, 1]^d as a given hash grid does, with that grid's own table.

    Values have a gradient by the table, which is what training needs.
    """

    def __init__(self, grid: HashGrid, tinycudann: ModuleType) -> None:
        config = grid.config
        self._encoding = tinycudann.Encoding(
            config.dimension,
            {
                "otype": "Grid",
                "type": "Hash",
                "n_levels": config.levels,
                "n_features_per_level": config.features,
                "log2_hashmap_size": config.log2_table_size,
                "base_resolution": config.base_resolution,
                "per_level_scale": config.per_level_scale,
                "interpolation": "Linear",
            },
            dtype=torch.float32,
        )
        self._grid = grid

    def __call__(self, points: Tensor) -> Tensor:  # [N, d] -> [N, levels * features]
        table = self._grid.table.reshape(-1)
        return functional_call(self._encoding, {"params": table}, ((points + 1) / 2,))


def tiny_cuda_encoding(grid: HashGrid) -> TinyCudaEncoding | None:
    """Return tinycudann's encoding for a grid, or None if the reference has to do."""
    if not grid.is_on_nvidia_gpu:
        return None
    tinycudann = _import_tinycudann()
    if tinycudann is None:
        return None
    try:
        encoding = TinyCudaEncoding(grid, tinycudann)
        if _agrees(encoding, grid):
            return encoding
        log.warning("tinycudann is not used: it does not give what the reference gives.")
    except Exception as problem:  # built for another torch, driver or GPU, it can raise anything
        log.warning("tinycudann is not used: %s", problem)
    return None


@functools.cache
def _import_tinycudann() -> ModuleType | None:
    try:
        import tinycudann
    except Exception as problem:  # without its compiled part it raises more than ImportError
        log.info("tinycudann is not used: %s", problem)
        return None
    return tinycudann


@torch.no_grad()
def _agrees(encoding: TinyCudaEncoding, grid: HashGrid) -> bool:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(PROBES, grid.config.dimension, generator=generator) * 1.9 - 0.95
    points = points.to(grid.table.device)
    expected = grid(points)
    error = (encoding(points) - expected).abs().max()
    return bool(error <= TOLERANCE * expected.abs().max())
