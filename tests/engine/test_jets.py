"""Quantities from a jet against the known geometry of quadrics."""

from __future__ import annotations

import numpy as np
import pytest
from fairfield.jets import Jets
from shapes import angles_in_degrees, torus


def _jets(value, gradient, hessian) -> Jets:
    return Jets(value, gradient, hessian, np.zeros(len(value)))


def _sphere_distance(points: np.ndarray) -> Jets:
    radius = np.linalg.norm(points, axis=1)
    normal = points / radius[:, None]
    identity = np.eye(points.shape[1])
    hessian = (identity - normal[:, :, None] * normal[:, None, :]) / radius[:, None, None]
    return _jets(radius - 1, normal, hessian)


def test_sphere() -> None:
    points = np.random.default_rng(0).standard_normal((50, 3))
    radius = np.linalg.norm(points, axis=1)
    jets = _sphere_distance(points)
    np.testing.assert_allclose(jets.mean_curvature, 1 / radius)
    np.testing.assert_allclose(jets.gaussian_curvature, 1 / radius**2)
    np.testing.assert_allclose(jets.principal_curvatures, np.stack([1 / radius] * 2, 1))
    np.testing.assert_allclose(jets.shape_index, 1, atol=1e-6)
    np.testing.assert_allclose(jets.curvedness, 1 / radius)
    np.testing.assert_allclose(jets.laplacian, 2 / radius)


def test_the_scale_of_the_function_does_not_matter() -> None:
    """x^2 + y^2 + z^2 has the same level sets as the distance to the origin."""
    points = np.random.default_rng(1).standard_normal((50, 3))
    quadric = _jets((points**2).sum(axis=1), 2 * points, np.broadcast_to(2 * np.eye(3), (50, 3, 3)))
    np.testing.assert_allclose(quadric.mean_curvature, _sphere_distance(points).mean_curvature)


def test_torus() -> None:
    points, _, normals, mean = torus(around=12, across=10)
    major, minor = 0.68, 0.26
    ring = np.hypot(points[:, 0], points[:, 1])
    along = np.stack([-points[:, 1], points[:, 0], 0 * ring], axis=1) / ring[:, None]
    around_tube = np.cross(normals, along)
    k_tube, k_ring = 1 / minor, 1 / minor - 0 * ring
    k_ring = 2 * mean - k_tube
    hessian = k_tube * around_tube[:, :, None] * around_tube[:, None, :]
    hessian = hessian + k_ring[:, None, None] * along[:, :, None] * along[:, None, :]
    jets = _jets(0 * ring, normals, hessian)
    np.testing.assert_allclose(jets.mean_curvature, mean)
    np.testing.assert_allclose(jets.principal_curvatures[:, 0], k_tube)
    np.testing.assert_allclose(jets.principal_curvatures[:, 1], k_ring)
    np.testing.assert_allclose(jets.gaussian_curvature, k_tube * k_ring)
    np.testing.assert_allclose(
        np.abs((jets.principal_directions[:, 0] * around_tube).sum(axis=1)), 1
    )
    np.testing.assert_allclose(np.abs((jets.principal_directions[:, 1] * along).sum(axis=1)), 1)
    assert angles_in_degrees(jets.normals, normals).max() < 1e-5
    assert major > minor


@pytest.mark.parametrize(
    ("k1", "k2", "index"), [(1, 1, 1), (1, 0, 0.5), (1, -1, 0), (0, -1, -0.5), (-2, -2, -1)]
)
def test_shape_index_of_the_five_shapes(k1: float, k2: float, index: float) -> None:
    jets = _jets(np.zeros(1), np.array([[0.0, 0, 1]]), np.diag([k1, k2, 0.0])[None])
    assert jets.shape_index[0] == pytest.approx(index)
    assert jets.curvedness[0] == pytest.approx(np.sqrt((k1**2 + k2**2) / 2))


def test_circle() -> None:
    points = np.random.default_rng(2).standard_normal((20, 2))
    jets = _sphere_distance(points)
    np.testing.assert_allclose(jets.mean_curvature, 1 / np.linalg.norm(points, axis=1))


def test_a_vanishing_gradient_is_flagged_and_finite() -> None:
    gradient = np.array([[0.0, 0, 0], [1e-9, 0, 0], [0, 1, 0]])
    jets = _jets(np.zeros(3), gradient, np.tile(np.eye(3), (3, 1, 1)))
    assert jets.vanishing.tolist() == [True, True, False]
    for name in ("normals", "mean_curvature", "principal_curvatures", "shape_index", "curvedness"):
        assert np.isfinite(getattr(jets, name)).all()
    np.testing.assert_allclose(np.linalg.norm(jets.normals, axis=1), 1)


def test_umbilic_and_planar_points_are_flagged() -> None:
    hessian = np.stack([np.diag([k1, k2, 0.0]) for k1, k2 in ((1, 1), (1, 0.5), (0, 0))])
    jets = Jets(np.zeros(3), np.tile([0.0, 0, 1], (3, 1)), hessian, np.ones(3))
    assert jets.umbilic.tolist() == [True, False, True]
    assert jets.planar.tolist() == [False, False, True]
    assert np.isfinite(jets.shape_index).all()
    assert np.isfinite(jets.principal_directions).all()
