"""Triangles that all face a polygon's way and have its area cover it once, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from fairfield.polygons import triangulate
from numpy.typing import NDArray

POLYGONS = {
    "square": "00 10 11 01",
    "dart": "00 30 11 03",
    "L": "00 20 21 11 12 02",
    "comb": "00 70 73 61 53 41 33 21 13",
    "corners on straight edges": "00 10 20 21 22 12 02 01",
    "square with a square hole": "00 40 44 04 00 11 13 33 31 11",
    "spiral": "00 90 99 09 03 63 66 56 54 14 18 88 81 01",
}
TILTED = np.linalg.qr(np.array([[1.0, 2, 3], [0, 1, 5], [2, 0, 1]]))[0]


def normals(vertices: NDArray, triangles: NDArray) -> NDArray:
    """As long as the triangles' areas."""
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    return np.cross(b - a, c - a) / 2


@pytest.mark.parametrize("name", POLYGONS)
@pytest.mark.parametrize("backwards", [False, True])
def test_triangles_cover_a_polygon_once(name: str, backwards: bool) -> None:
    digits = [[int(digit) for digit in corner] for corner in POLYGONS[name].split()]
    x, y = np.array(digits, float).T[:, :: -1 if backwards else 1]
    area = (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    vertices = np.stack([x, y, 0 * x], axis=1) @ TILTED + [3, -4, 5]
    for turn in range(len(x)):
        corners = np.roll(np.arange(len(x)), turn)
        triangles = triangulate(vertices, corners, np.array([len(x)]))
        assert triangles.shape == (len(x) - 2, 3)
        along = normals(vertices, triangles) @ TILTED[2]
        assert (along * np.sign(area)).min() > 0.01
        assert along.sum() == pytest.approx(area)


def test_a_warped_star_of_many_corners() -> None:
    count = 400
    rng = np.random.default_rng(0)
    angle = np.arange(count) * (2 * np.pi / count)
    radius, height = rng.uniform(0.2, 1, count), rng.uniform(-0.01, 0.01, count)
    vertices = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
    triangles = triangulate(vertices, np.arange(count), np.array([count]))
    along = normals(vertices, triangles)[:, 2]
    sectors = radius * np.roll(radius, -1) * np.sin(2 * np.pi / count) / 2
    # The polygon's own normal is tilted a little.
    assert along.min() > -1e-4
    assert np.abs(along).sum() == pytest.approx(sectors.sum(), rel=1e-3)


def test_polygons_keep_their_order_and_convex_ones_are_fans() -> None:
    vertices = np.array([[0.0, 0, 0], [2, 0, 0], [3, 1, 0], [2, 2, 0], [0, 2, 0]])
    corners = np.array([0, 1, 3, 4, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4, 2, 3, 4])
    triangles = triangulate(vertices, corners, np.array([4, 3, 2, 0, 5, 3]))
    fans = [[0, 1, 3], [0, 3, 4], [1, 2, 3], [0, 1, 2], [0, 2, 3], [0, 3, 4], [2, 3, 4]]
    assert triangles.tolist() == fans


@pytest.mark.parametrize(
    "points",
    [
        [[0, 0, 0]] * 5,
        [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]],
        [[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]],
        [[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0], [0.5, 2, 1], [0.5, -1, 1]],
        [[0, 0, 0], [1, 0, 0], [1, 1, np.nan], [0, 1, 0]],
        [[0, 0, 0], [1e300, 0, 0], [1, 1, np.inf], [0, 1e-300, 0]],
        [[0, 0, 0], [1, 0, 0], [1, 1, 0]],
    ],
)
def test_what_is_no_simple_polygon_gives_as_many_triangles(points: list) -> None:
    corners = np.array([0, 1, 2, 99]) if len(points) == 3 else np.arange(len(points))
    triangles = triangulate(np.array(points, float), corners, np.array([len(corners)]))
    assert triangles.shape == (len(corners) - 2, 3)
    assert set(triangles.ravel()) == set(corners)
