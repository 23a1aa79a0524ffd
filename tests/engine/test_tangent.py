"""The tangent-plane operator on distances whose derivatives are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fairfield.fused import fused_tangent_jets
from fairfield.jets import Jets
from fairfield.operators.polynomial import as_scale
from fairfield.operators.tangent import (
    both_tangent_jets,
    tangent_frame,
    tangent_jet,
    tangent_stencil,
    torch_jet,
)

RADIUS = 0.7
SPACINGS = (0.72, 0.33)


def _unit_vectors(count: int, dimension: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, dimension, dtype=torch.float64, generator=generator)
    return vectors / vectors.norm(dim=1, keepdim=True)


def _torus(points: torch.Tensor) -> torch.Tensor:
    return torch.hypot(points[:, :2].norm(dim=1) - 0.6, points[:, 2]) - 0.25


def _jets(jet: tuple[torch.Tensor, ...], scale: float) -> Jets:
    value, gradient, hessian = (part.numpy() for part in jet)
    return Jets(value, gradient, hessian, np.full(len(value), scale))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_sphere_has_its_normal_and_curvature(spacing: float) -> None:
    normals = _unit_vectors(50, 3)
    points = RADIUS * normals
    jets = _jets(
        tangent_jet(
            lambda x: x.norm(dim=1) - RADIUS,
            points,
            normals,
            as_scale(points, 0.03),
            tangent_stencil(spacing),
        ),
        0.03,
    )
    np.testing.assert_allclose(jets.normals, normals, atol=1e-9)
    np.testing.assert_allclose(jets.principal_curvatures, 1 / RADIUS, rtol=2e-4)
    np.testing.assert_allclose(jets.value, 0, atol=1e-6)
    assert jets.umbilic.all()
    assert not jets.planar.any()
    assert not jets.vanishing.any()


def test_a_torus_has_its_principal_curvatures_and_directions() -> None:
    u, v = 2 * np.pi * np.random.default_rng(1).random((2, 60))
    normals = np.stack([np.cos(u) * np.cos(v), np.sin(u) * np.cos(v), np.sin(v)], axis=1)
    ring = 0.6 * np.stack([np.cos(u), np.sin(u), 0 * u], axis=1)
    points = torch.from_numpy(ring + 0.25 * normals)
    jets = _jets(
        tangent_jet(
            _torus, points, torch.from_numpy(normals), as_scale(points, 0.01), tangent_stencil(0.72)
        ),
        0.01,
    )
    around = np.cos(v) / (0.6 + 0.25 * np.cos(v))
    np.testing.assert_allclose(jets.principal_curvatures[:, 0], 4.0, rtol=1e-3)
    np.testing.assert_allclose(jets.principal_curvatures[:, 1], around, atol=1e-2)
    along_ring = np.stack([-np.sin(u), np.cos(u), 0 * u], axis=1)
    alignment = np.abs((jets.principal_directions[:, 1] * along_ring).sum(axis=1))
    np.testing.assert_allclose(alignment, 1, atol=1e-5)


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_tilted_disk_gives_the_same_answer(dimension: int) -> None:
    normals = _unit_vectors(40, dimension)
    tilted = normals + 0.3 * _unit_vectors(40, dimension, seed=1)
    tilted = tilted / tilted.norm(dim=1, keepdim=True)
    points = RADIUS * normals

    def measure(across: torch.Tensor) -> Jets:
        stencil = tangent_stencil(0.72, dimension)
        scale = as_scale(points, 0.01)
        return _jets(
            tangent_jet(lambda x: x.norm(dim=1) - RADIUS, points, across, scale, stencil), 0.01
        )

    straight, turned = measure(normals), measure(tilted)
    np.testing.assert_allclose(turned.normals, straight.normals, atol=1e-4)
    np.testing.assert_allclose(turned.mean_curvature, straight.mean_curvature, rtol=2e-3)
    # A distance does not change its slope along the normal.
    along = np.einsum("nij,nj->ni", turned.hessian, turned.normals)
    np.testing.assert_allclose(along, 0, atol=1e-3)


@pytest.mark.parametrize("degrees", [85.0, 89.9, 90.0])
def test_a_disk_along_the_normal_exaggerates_no_curvature(degrees: float) -> None:
    """It sees nothing of the surface's bend across itself, and must not make it up."""
    normals = _unit_vectors(40, 3)
    aside = torch.linalg.cross(normals, normals.roll(1, 1))
    aside = aside / aside.norm(dim=1, keepdim=True)
    angle = np.radians(degrees)
    across = np.cos(angle) * normals + np.sin(angle) * aside
    points = RADIUS * normals
    noise = torch.Generator().manual_seed(0)

    def field(x: torch.Tensor) -> torch.Tensor:
        return x.norm(dim=1) - RADIUS + 1e-6 * torch.randn(len(x), generator=noise)

    jets = _jets(
        tangent_jet(field, points, across, as_scale(points, 0.01), tangent_stencil(0.72)), 0.01
    )
    assert np.abs(jets.mean_curvature).max() < 10 / RADIUS


def test_wide_disks_see_spheres_and_cylinders_without_bias() -> None:
    """Straightened samples of both are quadrics, so even a disk as large as they are will do."""
    normals = _unit_vectors(20, 3)
    for field, axes, mean in (
        (lambda x: x.norm(dim=1) - RADIUS, [1.0, 1, 1], 1 / RADIUS),
        (lambda x: x[:, :2].norm(dim=1) - RADIUS, [1.0, 1, 0], 0.5 / RADIUS),
    ):
        across = normals * normals.new_tensor(axes)
        across = across / across.norm(dim=1, keepdim=True)
        points = RADIUS * across
        jet = tangent_jet(field, points, across, as_scale(points, 0.15), tangent_stencil(0.72))
        jets = _jets(jet, 0.15)
        np.testing.assert_allclose(jets.mean_curvature, mean, rtol=0.01)
        np.testing.assert_allclose(jets.normals, across, atol=1e-6)


def test_the_quadric_sees_wide_spheres_without_bias() -> None:
    normals = _unit_vectors(20, 3)
    points = RADIUS * normals
    for spacing in SPACINGS:
        scale, none = as_scale(points, 0.15), torch.zeros(20, dtype=torch.float64)
        stencil = tangent_stencil(spacing)
        jet = tangent_jet(lambda x: x.norm(dim=1) - RADIUS, points, normals, scale, stencil, none)
        jets = _jets(jet, 0.15)
        np.testing.assert_allclose(jets.mean_curvature, 1 / RADIUS, rtol=0.01)
        np.testing.assert_allclose(jets.normals, normals, atol=1e-6)


def test_a_share_mixes_quartic_and_quadric() -> None:
    normals = _unit_vectors(30, 3)
    points = 0.5 * normals
    both = both_tangent_jets(_torus, points, normals, as_scale(points, 0.1), tangent_stencil(0.33))
    for part, share in zip(both, (1.0, 0.0), strict=True):
        shares = torch.full((30,), share, dtype=torch.float64)
        jet = tangent_jet(
            _torus, points, normals, as_scale(points, 0.1), tangent_stencil(0.33), shares
        )
        for got, expected in zip(jet, part, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
    assert not np.allclose(both[0][1], both[1][1], atol=1e-3)


@pytest.mark.parametrize("tilt", [0.2, 5.0])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_kernels_agree_with_torch(spacing: float, tilt: float) -> None:
    random = np.random.default_rng(3)
    count, scales = 1001, random.uniform(0.01, 0.2, 1001)
    normals = _unit_vectors(count, 3)
    axes = torch.cat([tangent_frame(normals), normals[:, None]], dim=1)
    stencil, turn = tangent_stencil(spacing), tilt * random.standard_normal((count, 3))
    places = stencil.samples @ (scales[:, None, None] * axes.numpy())
    places += 0.7 * (normals.numpy() + turn)[:, None]
    values = np.linalg.norm(places * [1, 1.3, 0.8], axis=2) - 0.7
    values += 1e-3 * random.standard_normal(values.shape)
    inputs = torch.from_numpy(values), axes, torch.from_numpy(scales)
    for share in (None, torch.zeros(count), torch.from_numpy(random.random(count))):
        shares = torch.ones(count) if share is None else share
        arguments = (*(each.numpy() for each in (*inputs, shares)), stencil.arrays)
        jet = fused_tangent_jets(*arguments, threads=1)
        expected = torch_jet(*inputs, stencil, share)
        for got, one in zip(jet, expected, strict=True):
            size = np.abs(one.numpy()).max()
            # Measured: at most 3e-15.
            np.testing.assert_allclose(got, one, atol=1e-12 * size)
        for got, one in zip(fused_tangent_jets(*arguments, threads=3), jet, strict=True):
            np.testing.assert_array_equal(got, one)


def test_the_first_fit_equals_least_squares_done_point_by_point() -> None:
    stencil = tangent_stencil(0.72)
    in_plane = np.abs(stencil.samples[:, 2]) < 1e-12
    places = stencil.samples[in_plane, :2]
    samples = np.random.default_rng(2).standard_normal(len(places))
    x, y = places.T
    powers = [(i, j) for i in range(5) for j in range(5 - i)]
    design = np.stack([x**i * y**j for i, j in powers], axis=1)
    # The Gaussian was laid before the design was stretched to unit deviation.
    stretch = 0.72 / np.sort(np.linalg.norm(places, axis=1))[1]
    root = np.exp(-(stretch**2) * (places**2).sum(axis=1) / 4)
    solution, *_ = np.linalg.lstsq(root[:, None] * design, root * samples)
    fitted = dict(zip(powers, solution, strict=True))
    value, slope_x, slope_y, _, xx, xy, yx, yy = stencil.weights[:, : len(places)] @ samples
    np.testing.assert_allclose(value, fitted[0, 0])
    np.testing.assert_allclose([slope_x, slope_y], [fitted[1, 0], fitted[0, 1]])
    expected = [2 * fitted[2, 0], fitted[1, 1], fitted[1, 1], 2 * fitted[0, 2]]
    np.testing.assert_allclose([xx, xy, yx, yy], expected)


def test_a_plane_is_flagged_and_finite() -> None:
    normals = _unit_vectors(10, 3)
    points = torch.zeros_like(normals)
    normal = normals[:1]
    jets = _jets(
        tangent_jet(
            lambda x: x @ normal[0],
            points,
            normal.expand_as(points),
            as_scale(points, 0.1),
            tangent_stencil(0.72),
        ),
        0.1,
    )
    assert jets.planar.all()
    for name in ("normals", "mean_curvature", "shape_index", "principal_directions"):
        assert np.isfinite(getattr(jets, name)).all()
