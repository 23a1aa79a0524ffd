"""Where a field is trained and measured: points on, near and away from the surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .mesh import TriangleMesh
from .normalization import HALF_EXTENT_IN_CUBE

Array = NDArray[np.float64]

NEAR_SHARE = 0.75
NEAR_DEVIATIONS = (0.005, 0.03)
"""Standard deviations of the displacement, one for each half of the near samples (cube units)."""


def surface_points(mesh: TriangleMesh, count: int, random: np.random.Generator) -> Array:
    """Return (count, 3) points, uniform over the mesh's area."""
    return surface_samples(mesh, count, random)[0]


def surface_samples(
    mesh: TriangleMesh, count: int, random: np.random.Generator
) -> tuple[Array, NDArray[np.intp]]:
    """Return (count, 3) points, uniform over the mesh's area, and their triangles (count,)."""
    cumulative_area = mesh.cumulative_area
    where = random.random(count) * cumulative_area[-1]
    chosen = np.minimum(np.searchsorted(cumulative_area, where), len(cumulative_area) - 1)
    a, b, c = mesh.vertices[mesh.triangles[chosen].T]
    u, v = random.random((2, count, 1))
    # The square's upper half folds back onto the triangle.
    folded = u + v > 1
    u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
    return a + u * (b - a) + v * (c - a), chosen


def training_points(mesh: TriangleMesh, count: int, random: np.random.Generator) -> Array:
    """Return (count, 3) points of the cube to train on, in random order.

    Three quarters lie near the surface of the (normalised) mesh, in two bands; the rest is spread
    over the whole cube, so that the field is usable everywhere.
    """
    near = round(NEAR_SHARE * count)
    deviation = np.repeat(NEAR_DEVIATIONS, [near // 2, near - near // 2])
    displaced = surface_points(mesh, near, random)
    displaced += random.standard_normal((near, 3)) * deviation[random.permutation(near), None]
    anywhere = random.uniform(-1, 1, (count - near, 3))
    points = np.clip(np.concatenate([displaced, anywhere]), -1, 1)
    return points[random.permutation(count)]


def near_surface_points(mesh: TriangleMesh, count: int, random: np.random.Generator) -> Array:
    """Return the (count, 3) points that the near-surface error is measured at.

    Surface samples displaced by N(0, 0.01 half-extents) per axis.
    """
    deviation = 0.01 * HALF_EXTENT_IN_CUBE
    points = surface_points(mesh, count, random)
    points += random.standard_normal((count, 3)) * deviation
    return np.clip(points, -1, 1)
