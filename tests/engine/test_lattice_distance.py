"""The base's distances: exact near the surface, usable far from it, right in sign everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from fairfield.distance import NearestPoints, SignedDistance
from fairfield.errors import Cancelled
from fairfield.lattice_distance import lattice_distance
from fairfield.mesh import TriangleMesh
from fairfield.repair import repair
from shapes import icosphere, torus

RESOLUTION = 40


def _mesh(kind: str) -> TriangleMesh:
    vertices, triangles = icosphere(0.8, subdivisions=4)
    if kind == "torus":
        vertices, triangles, _, _ = torus()
    elif kind == "thin plate":
        # Thinner than a twentieth of a cell, and between the nodes.
        vertices = vertices * [1, 1, 0.002] + np.array([0, 0, 0.011])
    elif kind == "needle":
        vertices = vertices * [0.01, 0.01, 1] + np.array([0.012, 0.017, 0])
    elif kind == "far apart":
        small = 0.1 * vertices
        vertices = np.concatenate([small - 0.85, small + 0.85])
        triangles = np.concatenate([triangles, triangles + len(small)])
    elif kind == "inward":
        triangles = triangles[:, ::-1]
    elif kind == "open":
        triangles = triangles[vertices[triangles].mean(axis=1)[:, 2] < 0.4]
    elif kind == "overlapping":
        half = 0.5 * vertices
        vertices = np.concatenate([half - [0.2, 0, 0], half + np.array([0.2, 0, 0])])
        triangles = np.concatenate([triangles, triangles + len(half)])
    return repair(TriangleMesh(vertices, triangles)).mesh


@pytest.mark.parametrize(
    "kind",
    ["sphere", "torus", "thin plate", "needle", "far apart", "inward", "open", "overlapping"],
)
def test_against_exact_distances(kind: str) -> None:
    distance = SignedDistance(_mesh(kind))
    found = lattice_distance(distance, RESOLUTION)
    exact = distance(found.points)
    cell = 2 / (RESOLUTION - 1)
    near = np.abs(exact) < 2 * cell
    np.testing.assert_array_equal(found.distance[near], exact[near])
    np.testing.assert_array_equal(found.distance < 0, exact < 0)
    # Nothing is nearer than the nearest point, and what was found is on the surface.
    excess = np.abs(found.distance) - np.abs(exact)
    assert excess.min() > -1e-12
    assert (excess / np.abs(exact)).max() < 0.12
    assert excess.mean() < 0.03 * cell
    sample = np.random.default_rng(0).integers(len(exact), size=500)
    assert np.abs(distance(found.nearest[sample])).max() < 1e-6
    way = np.linalg.norm(found.points - found.nearest, axis=1)
    np.testing.assert_allclose(way, np.abs(found.distance), atol=1e-9)


@pytest.mark.parametrize("resolution", [2, 3, 5])
def test_on_the_smallest_lattices(resolution: int) -> None:
    distance = SignedDistance(_mesh("sphere"))
    found = lattice_distance(distance, resolution)
    assert len(found) == resolution**3
    np.testing.assert_allclose(found.distance, distance(found.points), atol=1e-12)


def test_most_nodes_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    nearest = SignedDistance.nearest

    def counting(self: SignedDistance, points: np.ndarray, *rest: object) -> NearestPoints:
        asked.append(len(points))
        return nearest(self, points, *rest)

    monkeypatch.setattr(SignedDistance, "nearest", counting)
    lattice_distance(SignedDistance(_mesh("sphere")), 64)
    assert sum(asked) < 0.3 * 64**3


def test_it_can_be_cancelled() -> None:
    fractions = []

    def stop(progress) -> None:
        fractions.append(progress.fraction)
        if progress.fraction > 0.96:
            raise Cancelled

    with pytest.raises(Cancelled):
        lattice_distance(SignedDistance(_mesh("torus")), RESOLUTION, stop)
    assert fractions == sorted(fractions)
