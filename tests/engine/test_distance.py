"""Signed distances against the sphere's own, whatever is wrong with the mesh."""

from __future__ import annotations

import numpy as np
import pytest
from fairfield.distance import SignedDistance, morton_order
from fairfield.errors import Cancelled
from fairfield.mesh import TriangleMesh, repair
from shapes import icosphere

RADIUS = 0.8


def _damaged(kind: str) -> TriangleMesh:
    vertices, triangles = icosphere(RADIUS, subdivisions=4)
    random = np.random.default_rng(0)
    if kind == "inward":
        triangles = triangles[:, ::-1]
    elif kind == "a tenth flipped":
        flipped = random.random(len(triangles)) < 0.1
        triangles[flipped] = triangles[flipped][:, ::-1]
    elif kind == "soup":
        vertices = vertices[triangles].reshape(-1, 3)
        triangles = np.arange(len(vertices)).reshape(-1, 3)
    elif kind == "a fifth duplicated":
        triangles = np.concatenate([triangles, triangles[: len(triangles) // 5]])
    return TriangleMesh(vertices, triangles)


@pytest.mark.parametrize(
    "kind", ["clean", "inward", "a tenth flipped", "soup", "a fifth duplicated"]
)
def test_distances_to_a_sphere(kind: str) -> None:
    random = np.random.default_rng(1)
    points = random.uniform(-1, 1, (5000, 3))
    distances = SignedDistance(repair(_damaged(kind)).mesh)(points)
    # The facets lie inside the sphere, by at most this much.
    expected = np.linalg.norm(points, axis=1) - RADIUS
    assert (distances - expected).max() < 2e-3
    assert (distances - expected).min() > -1e-6


def test_overlapping_spheres_are_one_solid() -> None:
    vertices, triangles = icosphere(RADIUS / 2, subdivisions=3)
    both = np.concatenate([vertices - [0.2, 0, 0], vertices + np.array([0.2, 0, 0])])
    mesh = TriangleMesh(both, np.concatenate([triangles, triangles + len(vertices)]))
    points = np.random.default_rng(2).uniform(-1, 1, (5000, 3))
    inside = SignedDistance(repair(mesh).mesh)(points) < 0
    nearest = np.minimum(
        np.linalg.norm(points - [0.2, 0, 0], axis=1), np.linalg.norm(points + [0.2, 0, 0], axis=1)
    )
    clear = np.abs(nearest - RADIUS / 2) > 0.01
    np.testing.assert_array_equal(inside[clear], (nearest < RADIUS / 2)[clear])


def test_measuring_can_be_cancelled() -> None:
    def stop(progress) -> None:
        if progress.fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        SignedDistance(_damaged("clean"))(np.zeros((100_000, 3)), stop)


def test_morton_order_is_a_permutation_that_keeps_neighbours_together() -> None:
    points = np.random.default_rng(3).uniform(-1, 1, (4096, 3))
    order = morton_order(points)
    assert sorted(order) == list(range(4096))
    steps = np.linalg.norm(np.diff(points[order], axis=0), axis=1).mean()
    assert steps < 0.25 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()
    assert len(morton_order(np.zeros((0, 3)))) == 0
    assert sorted(morton_order(np.ones((5, 3)))) == list(range(5))
