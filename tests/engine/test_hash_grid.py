"""The encoding against an independent evaluation, point by point, from tiny-cuda-nn's rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fairfield.errors import SettingError
from fairfield.fields import DecoderConfig, FieldConfig, HashGridConfig, NeuralField
from fairfield.fields.hash_grid import HashGrid

CONFIGS = [
    HashGridConfig(levels=6, log2_table_size=10, base_resolution=4, per_level_scale=1.7),
    HashGridConfig(
        dimension=2, levels=5, log2_table_size=8, base_resolution=5, per_level_scale=2.0
    ),
    HashGridConfig(levels=2, features=3, log2_table_size=14, base_resolution=16),
]


def _encode_one(grid: HashGrid, point: np.ndarray) -> list[float]:
    """As the header's kernel does it: unsigned 32-bit arithmetic, one corner after another."""
    config, table = grid.config, grid.table.detach().numpy()
    result, offset = [], 0
    for level in range(config.levels):
        scale = np.float32(2 ** (level * np.log2(np.float32(config.per_level_scale))))
        scale = np.float32(scale * config.base_resolution - 1)
        resolution = math.ceil(scale) + 1
        size = min(-(-(resolution**config.dimension) // 8) * 8, 1 << config.log2_table_size)
        position = (point + 1) / 2 * scale + 0.5
        low = np.floor(position).astype(int)
        total = np.zeros(config.features)
        for corner in np.ndindex(*[2] * config.dimension):
            weight = np.prod(np.where(corner, position - low, 1 - (position - low)))
            vertex = [int(value) for value in low + corner]
            stride = index = 0
            stride = 1
            for coordinate in vertex:
                if stride > size:
                    break
                index += coordinate * stride
                stride *= resolution
            if size < stride:
                index = 0
                for coordinate, prime in zip(vertex, (1, 2654435761, 805459861), strict=False):
                    index ^= coordinate * prime % 2**32
            total += weight * table[offset + index % size]
        result += total.tolist()
        offset += size
    assert offset == len(table)
    return result


@pytest.mark.parametrize("config", CONFIGS)
def test_encoding_follows_the_published_layout(config: HashGridConfig) -> None:
    torch.manual_seed(0)
    grid = HashGrid(config)
    torch.nn.init.uniform_(grid.table, -1, 1)
    points = np.random.default_rng(0).uniform(-1, 1, (200, config.dimension)).astype(np.float32)
    encoded = grid(torch.from_numpy(points)).detach().numpy()
    expected = np.array([_encode_one(grid, point) for point in points])
    assert encoded.shape == (200, config.width)
    np.testing.assert_allclose(encoded, expected, atol=2e-4)


def test_both_kinds_of_level_are_covered() -> None:
    kinds = {level.dense for config in CONFIGS for level in HashGrid(config).levels}
    assert kinds == {True, False}


def test_gradients_against_differences() -> None:
    torch.manual_seed(1)
    config = FieldConfig(
        encoding=HashGridConfig(levels=3, log2_table_size=6, base_resolution=3),
        decoder=DecoderConfig(width=4),
    )
    field = NeuralField(config).double()
    torch.nn.init.uniform_(field.encoding.table, -1, 1)
    points = torch.rand(5, 3, dtype=torch.float64) * 2 - 1

    def with_table(table: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(field, {"encoding.table": table}, (points,))

    assert torch.autograd.gradcheck(with_table, (field.encoding.table,))
    assert torch.autograd.gradcheck(field, (points.requires_grad_(),))


@pytest.mark.parametrize(
    "wrong", [{"levels": 0}, {"dimension": 4}, {"log2_table_size": 40}, {"per_level_scale": 0.5}]
)
def test_impossible_shapes_are_refused(wrong: dict) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        HashGridConfig(**wrong)
