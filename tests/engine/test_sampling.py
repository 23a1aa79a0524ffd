"""Training samples carry the distances that asking at each of them would give."""

from __future__ import annotations

import numpy as np
import pytest
from fairfield.distance import NearestPoints, SignedDistance
from fairfield.lattice_distance import lattice_distance
from fairfield.mesh import TriangleMesh
from fairfield.sampling import TrainingSamples, near_points, surface_points
from shapes import icosphere, torus


def _shape(kind: str) -> TriangleMesh:
    if kind == "torus":
        vertices, triangles, _, _ = torus()
        return TriangleMesh(vertices, triangles)
    vertices, triangles = icosphere(0.5, subdivisions=3)
    both = np.concatenate([vertices - [0.3, 0, 0], vertices + np.array([0.3, 0, 0])])
    return TriangleMesh(both, np.concatenate([triangles, triangles + len(vertices)]))


@pytest.mark.parametrize("kind", ["torus", "overlapping spheres"])
def test_distances_of_samples_are_exact(kind: str) -> None:
    mesh = _shape(kind)
    distance = SignedDistance(mesh)
    random = np.random.default_rng(0)
    mesh = distance.surface
    near = distance.nearest(near_points(mesh, 9000, random))
    samples = TrainingSamples(mesh, near, lattice_distance(distance, 32), random)
    points, values = samples.draw(20_000, 0)
    assert points.shape == (20_000, 3)
    assert points.dtype == values.dtype == np.float32
    exact = distance(points.astype(np.float64))
    # Far nodes know a point of the surface that is only about the nearest.
    wrong = np.abs(values - exact) > 1e-5
    assert wrong.mean() < 0.06
    assert (np.abs(values - exact)[wrong] / np.abs(exact)[wrong]).max() < 0.12
    clear = np.abs(exact) > 1e-5
    np.testing.assert_array_equal(np.sign(values)[clear], np.sign(exact)[clear])
    # A third on the surface, most of the rest near it on both sides, some everywhere.
    assert (values == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert (np.abs(values) < 0.1).mean() > 0.85
    assert (values < -1e-4).mean() == pytest.approx((values > 1e-4).mean(), rel=0.3)
    assert np.abs(values).max() > 0.3


def test_every_query_is_used_about_as_often_and_never_the_same_way() -> None:
    mesh = _shape("torus")
    random = np.random.default_rng(0)
    directions = np.eye(3)[random.integers(3, size=500)]
    origin = np.arange(500)[:, None] * np.array([[1.0, 0, 0]])
    # Each query lies on a line of its own, so that a sample tells whose it is.
    near = NearestPoints(origin + 0.5 * directions, origin, np.full(500, 0.5))
    samples = TrainingSamples(mesh, near, near, random)
    drawn = np.concatenate([samples.draw(1000, batch)[0][300:900] for batch in range(10)])
    owners = np.bincount(np.floor(drawn[:, 0] + 1e-6).astype(int), minlength=500)
    assert owners.min() >= 10
    assert owners.max() <= 14
    assert len(np.unique(drawn, axis=0)) > 0.999 * len(drawn)


def test_a_batch_is_the_same_in_any_order_and_spread_evenly() -> None:
    mesh = _shape("torus")
    near = SignedDistance(mesh).nearest(near_points(mesh, 3000, np.random.default_rng(0)))
    samples = TrainingSamples(mesh, near, near, np.random.default_rng(1))
    first, second = (samples.draw(2000, batch)[0] for batch in (0, 1))
    np.testing.assert_array_equal(samples.draw(2000, 0)[0], first)
    assert not np.isin(second[:, 0], first[:, 0]).any()
    # Of 600 points on the surface random ones would leave or take too many in an octant: 9 apart.
    octant = (first[:600] > 0) @ [1, 2, 4]
    assert np.abs(np.bincount(octant, minlength=8) - 75).max() <= 5


def test_surface_points_are_spread_by_area() -> None:
    mesh = TriangleMesh(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [8, 0, 0], [5, 1, 0]], [[0, 1, 2], [3, 4, 5]]
    )
    points = surface_points(mesh, 20_000, np.random.default_rng(0))
    large = points[:, 0] > 4
    assert large.mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(points[large].mean(axis=0), [6, 1 / 3, 0], atol=0.03)
