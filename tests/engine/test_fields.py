"""Every kind of field: values, gradients, and a fit that comes back from its file."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import fairfield
import numpy as np
import pytest
import torch
from conftest import SPHERE_CENTER
from fairfield.distance import SignedDistance
from fairfield.errors import FieldFileError, SettingError
from fairfield.evaluation import Evaluator
from fairfield.fields import (
    KINDS,
    DecoderConfig,
    FieldConfig,
    HashGridConfig,
    NeuralField,
    SirenConfig,
    TriPlaneConfig,
)
from fairfield.fields.coarse_grid import CoarseGrid
from fairfield.fused import reason_unavailable
from scipy.ndimage import map_coordinates
from shapes import icosphere


def _small(kind: str, dimension: int) -> FieldConfig:
    encodings = {
        "hash-grid": HashGridConfig(dimension, 3, 2, 5, 3),
        "dense-grid": HashGridConfig(dimension, 2, 2, 14, 5, 2.0),
        "tri-plane": TriPlaneConfig(dimension, 6, 4),
        "siren": SirenConfig(dimension, 7, 2),
    }
    decoder = DecoderConfig(width=4, hidden_layers=0 if kind == "siren" else 2)
    return FieldConfig(kind, encodings[kind], decoder, base_resolution=4)


def _random(config: FieldConfig) -> NeuralField:
    """A field in float64 whose table, if it has one, has values of the order of one."""
    torch.manual_seed(0)
    field = NeuralField(config).double()
    for name, parameter in field.named_parameters():
        if name == "encoding.table":
            torch.nn.init.uniform_(parameter, -1, 1)
    torch.nn.init.uniform_(field.base.values, -1, 1)
    return field


def _points(count: int, dimension: int, reach: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).uniform(-reach, reach, (count, dimension))


def _dense_features(field: NeuralField, points: np.ndarray) -> np.ndarray:
    config = field.config.encoding
    assert isinstance(config, HashGridConfig)
    dimension = config.dimension
    rest = field.encoding.table.detach().numpy()
    features = []
    for level in range(config.levels):
        scale = config.base_resolution * 2**level - 1
        vertices = (scale + 1) ** dimension
        # The first axis is the last one of the array.
        lattice = rest[:vertices].reshape(*[scale + 1] * dimension, 2)
        position = ((points[:, ::-1] + 1) / 2 * scale + 0.5).T
        features += [map_coordinates(lattice[..., k], position, order=1) for k in range(2)]
        rest = rest[-(-vertices // 8) * 8 :]
    assert len(rest) == 0
    return np.stack(features, axis=1)


def _tri_plane_features(field: NeuralField, points: np.ndarray) -> np.ndarray:
    config = field.config.encoding
    assert isinstance(config, TriPlaneConfig)
    pairs = list(combinations(range(config.dimension), 2))
    size = config.resolution
    planes = field.encoding.table.detach().numpy().reshape(len(pairs), size, size, config.channels)
    total = np.zeros((len(points), config.channels))
    for pair, plane in zip(pairs, planes, strict=True):
        position = (points[:, pair].T + 1) / 2 * (size - 1)
        for channel in range(config.channels):
            total[:, channel] += map_coordinates(plane[..., channel], position, order=1)
    return total


def _siren_features(field: NeuralField, points: np.ndarray) -> np.ndarray:
    features = points
    for layer in field.encoding.layers:
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        features = np.sin(30 * (features @ weight.T + bias))
    return features


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("dense-grid", _dense_features),
        ("tri-plane", _tri_plane_features),
        ("siren", _siren_features),
    ],
)
def test_an_encoding_is_what_it_is_defined_as(kind: str, expected: Any, dimension: int) -> None:
    field = _random(_small(kind, dimension))
    # Half a cell from the border, a grid in tiny-cuda-nn's layout reads beyond it.
    points = _points(200, dimension, reach=0.7 if kind == "dense-grid" else 1.0)
    features = field.encoding(torch.from_numpy(points)).detach().numpy()
    assert features.shape == (200, field.config.encoding.width)
    np.testing.assert_allclose(features, expected(field, points), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_against_differences(kind: str, dimension: int) -> None:
    field = _random(_small(kind, dimension))
    points = torch.from_numpy(_points(5, dimension)).requires_grad_(True)
    names, parameters = zip(*field.named_parameters(), strict=True)

    def values(points: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(field, named, (points,))

    assert torch.autograd.gradcheck(values, (points, *parameters))
    assert torch.autograd.gradgradcheck(field, (points,))


def test_the_sines_keep_their_spread() -> None:
    torch.manual_seed(0)
    field = NeuralField(FieldConfig("siren", SirenConfig(), DecoderConfig(hidden_layers=0)))
    first, *hidden = field.encoding.layers
    assert first.weight.detach().abs().max() == pytest.approx(1 / 3, rel=0.01)
    for layer in [*hidden, field.decoder.first]:
        assert layer.weight.detach().abs().max() == pytest.approx((6 / 256) ** 0.5 / 30, rel=0.02)
    values = field.encoding(torch.from_numpy(_points(1000, 3)).float())
    assert values.detach().std() == pytest.approx(0.5**0.5, rel=0.05)


def test_the_kernels_serve_the_grids_alone() -> None:
    dense = FieldConfig("dense-grid", HashGridConfig(levels=2, log2_table_size=20))
    assert reason_unavailable(NeuralField(dense)) is None
    for kind in ("tri-plane", "siren"):
        assert kind in (reason_unavailable(NeuralField(_small(kind, 3))) or "")


@pytest.mark.parametrize(
    ("kind", "encoding", "says"),
    [
        ("cube", SirenConfig(), "cube"),
        ("siren", TriPlaneConfig(), "needs a SirenConfig"),
        ("hash-grid", SirenConfig(), "needs a HashGridConfig"),
        ("dense-grid", HashGridConfig(), "does not fit"),
    ],
)
def test_parts_that_do_not_match_are_refused(kind: str, encoding: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        FieldConfig(kind, encoding)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (TriPlaneConfig, {"resolution": 1}),
        (TriPlaneConfig, {"dimension": 1}),
        (SirenConfig, {"width": 0}),
        (SirenConfig, {"hidden_layers": 99}),
        (DecoderConfig, {"channels": 0}),
    ],
)
def test_impossible_shapes_are_refused(config: Any, wrong: dict) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        config(**wrong)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_comes_back_from_plain_values(kind: str, dimension: int) -> None:
    config = _small(kind, dimension)
    values = config.to_dict()
    assert FieldConfig.from_dict(values) == config
    with pytest.raises(FieldFileError, match="weight"):
        FieldConfig.from_dict({**values, "encoding": {"weight": 1}})
    with pytest.raises(FieldFileError, match="no field 'cube'"):
        FieldConfig.from_dict({**values, "kind": "cube"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_is_close_and_the_same_in_a_new_process(kind: str, tmp_path: Path) -> None:
    vertices, triangles = icosphere(radius=3.0, subdivisions=3)
    mesh = fairfield.TriangleMesh(vertices + SPHERE_CENTER, triangles)
    field = fairfield.fit(mesh, "draft", kind=kind)
    assert field.module.config.kind == kind
    assert field.report.near_surface_error < 2e-3

    # The base alone is close to a sphere; the network must have learned what it lacks.
    random = np.random.default_rng(0)
    points = mesh.vertices[random.integers(len(mesh.vertices), size=3000)]
    points = points + random.normal(0, 0.03, points.shape)
    exact = SignedDistance(mesh)(points)
    cube = field.tensor(field.normalization.to_cube(points))
    base = Evaluator(field.module).base(cube).double().numpy() * field.normalization.unit
    assert np.abs(field(points) - exact).mean() < 0.97 * np.abs(base - exact).mean()

    paths = [tmp_path / name for name in ("field.safetensors", "points.npy", "values.npy")]
    field.save(paths[0])
    np.save(paths[1], points)
    program = (
        "import sys, numpy, fairfield; points = numpy.load(sys.argv[2]);"
        "numpy.save(sys.argv[3], fairfield.load(sys.argv[1])(points))"
    )
    subprocess.run([sys.executable, "-c", program, *paths], check=True)
    np.testing.assert_array_equal(np.load(paths[2]), field(points))


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("resolution", [4, 9])
def test_the_base_is_exact_for_quadratics_and_continues_straight(
    dimension: int, resolution: int
) -> None:
    base = CoarseGrid(resolution, dimension).double()
    random = np.random.default_rng(0)
    bend, slope = random.normal(size=(2, dimension))
    nodes, cell = base.nodes().numpy(), base.cell

    def fill(values: np.ndarray) -> None:
        base.values.copy_(torch.from_numpy(values).view_as(base.values))

    fill((nodes**2) @ bend + nodes.prod(axis=1) + nodes @ slope + 1)
    inner = _points(500, dimension, reach=1 - cell)
    expected = (inner**2) @ bend + inner.prod(axis=1) + inner @ slope + 1
    np.testing.assert_allclose(base(torch.from_numpy(inner)), expected, atol=1e-12)

    fill(nodes @ slope + 1)
    everywhere = np.concatenate([_points(500, dimension), np.sign(_points(20, dimension))])
    expected = everywhere @ slope + 1
    np.testing.assert_allclose(base(torch.from_numpy(everywhere)), expected, atol=1e-12)


def test_the_slope_of_the_base_does_not_jump() -> None:
    base = CoarseGrid(8).double()
    torch.nn.init.uniform_(base.values, -1, 1)
    at_faces = torch.from_numpy(_points(300, 3))
    at_faces[:, 0] = torch.round((at_faces[:, 0] + 1) / base.cell) * base.cell - 1
    at_faces = at_faces[at_faces[:, 0].abs() < 0.99]
    slopes = []
    for side in (-1e-9, 1e-9):
        points = (at_faces + torch.tensor([side, 0.0, 0.0])).requires_grad_()
        slopes.append(torch.autograd.grad(base(points).sum(), points)[0])
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["hash-grid", "dense-grid"])
def test_the_grids_follow_a_model(shared_data: Path, kind: str) -> None:
    mesh = fairfield.TriangleMesh.load(shared_data / "real" / "suzanne.npz")
    field = fairfield.fit(mesh, "draft", kind=kind)
    assert field.report.near_surface_error < 1e-3
