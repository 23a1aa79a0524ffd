"""tinycudann's hash grid, where there is one, against the reference; and life without it."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairfield.fields import FieldConfig, HashGridConfig, NeuralField, tiny_cuda
from fairfield.fields.hash_grid import HashGrid
from fairfield.fields.tiny_cuda import TinyCudaEncoding, tiny_cuda_encoding

CONFIG = HashGridConfig(levels=6, log2_table_size=12, base_resolution=8, per_level_scale=1.7)


def _grid() -> HashGrid:
    torch.manual_seed(0)
    grid = HashGrid(CONFIG)
    torch.nn.init.uniform_(grid.table, -1, 1)
    return grid


def _points() -> torch.Tensor:
    return torch.rand(3000, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1


def _compare(encoding: TinyCudaEncoding, grid: HashGrid, points: torch.Tensor) -> None:
    torch.testing.assert_close(encoding(points), grid(points), rtol=0, atol=2e-5)
    upstream = torch.randn(len(points), CONFIG.width, device=points.device)
    slopes = [
        torch.autograd.grad((features * upstream).sum(), grid.table)[0]
        for features in (encoding(points), grid(points))
    ]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=1e-3)


def test_the_real_one_agrees_with_the_reference() -> None:
    if not torch.cuda.is_available():
        pytest.skip("tinycudann needs an NVIDIA GPU")
    pytest.importorskip("tinycudann", reason="tinycudann is not installed", exc_type=Exception)
    grid = _grid().cuda()
    encoding = tiny_cuda_encoding(grid)
    assert encoding is not None
    _compare(encoding, grid, _points().cuda())


class _StandIn(torch.nn.Module):
    """What tinycudann.Encoding does, on the CPU, as far as its interface goes."""

    def __init__(self, dimensions: int, config: dict[str, Any], dtype: torch.dtype) -> None:
        super().__init__()
        assert (config["otype"], config["type"], config["interpolation"]) == (
            "Grid",
            "Hash",
            "Linear",
        )
        assert dtype == torch.float32
        self._grid = HashGrid(
            HashGridConfig(
                dimensions,
                config["n_levels"],
                config["n_features_per_level"],
                config["log2_hashmap_size"],
                config["base_resolution"],
                config["per_level_scale"],
            )
        )
        self.params = torch.nn.Parameter(torch.zeros(self._grid.table.numel()))

    def forward(self, unit: torch.Tensor) -> torch.Tensor:
        table = self.params.reshape(self._grid.table.shape)
        return torch.func.functional_call(self._grid, {"table": table}, (unit * 2 - 1,))


class _OtherLayout(_StandIn):
    def forward(self, unit: torch.Tensor) -> torch.Tensor:
        return super().forward(unit).flip(1)


def test_it_works_on_the_grid_s_own_table() -> None:
    grid = _grid()
    encoding = TinyCudaEncoding(grid, SimpleNamespace(Encoding=_StandIn))
    _compare(encoding, grid, _points())
    with torch.no_grad():
        grid.table.mul_(2)
    _compare(encoding, grid, _points())


@pytest.mark.parametrize("broken", ["other layout", "raises", "cannot be imported"])
def test_a_broken_one_is_left_alone(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("built for another GPU")

    module = SimpleNamespace(Encoding=_OtherLayout if broken == "other layout" else fail)
    monkeypatch.setitem(sys.modules, "tinycudann", None if "import" in broken else module)
    monkeypatch.setattr(HashGrid, "is_on_nvidia_gpu", property(lambda grid: True))
    tiny_cuda._import_tinycudann.cache_clear()
    try:
        assert tiny_cuda_encoding(_grid()) is None
        module.Encoding = _StandIn
        assert (tiny_cuda_encoding(_grid()) is None) == ("import" in broken)
    finally:
        tiny_cuda._import_tinycudann.cache_clear()


def test_it_adds_nothing_to_a_field_s_weights() -> None:
    field = NeuralField(FieldConfig(encoding=CONFIG))
    names = set(field.state_dict())
    field(_points())
    assert set(field.state_dict()) == names
    assert tiny_cuda_encoding(_grid()) is None
