"""Exact signed distances to a triangle mesh, by libigl."""

from __future__ import annotations

import igl
import numpy as np
from numpy.typing import NDArray

from .mesh import TriangleMesh
from .progress import Progress, ProgressCallback, silent

CHUNK = 1 << 14
"""Points per native call. libigl holds the GIL, so a call must stay under 0.2 s."""
SORTED = 16 * CHUNK
"""Points that are brought into Morton order together."""


class SignedDistance:
    """Signed distance to one mesh: negative inside, positive outside.

    The magnitude is the exact distance to the nearest triangle (libigl's AABB tree). The sign
    comes from the fast winding number (Barill et al. 2018): inside where its absolute value is
    above 1/2, so that a mesh that is inside out gives the same answer. Both trees are built once.
    """

    def __init__(self, mesh: TriangleMesh, progress: ProgressCallback = silent) -> None:
        self._vertices = np.asfortranarray(mesh.vertices)
        self._triangles = np.asfortranarray(mesh.triangles.astype(np.int64))
        self._nearest = igl.AABB()
        self._nearest.init(self._vertices, self._triangles)
        progress(Progress(0.0, "Preparing distances"))
        self._winding = igl.FastWindingNumberBVH()
        self._winding.init(self._vertices, self._triangles)

    def __call__(
        self, points: NDArray[np.float64], progress: ProgressCallback = silent
    ) -> NDArray[np.float64]:
        """Return the (N,) signed distances at (N, 3) points, in the mesh's units."""
        distances = np.empty(len(points))
        for start in range(0, len(points), CHUNK):
            progress(Progress(start / len(points), "Measuring distances"))
            if start % SORTED == 0:
                order = start + morton_order(points[start : start + SORTED])
            rows = order[start % SORTED : start % SORTED + CHUNK]
            chunk = np.asfortranarray(points[rows])
            squared, _, _ = self._nearest.squared_distance(self._vertices, self._triangles, chunk)
            winding = self._winding.winding_number(chunk)
            distances[rows] = np.where(np.abs(winding) > 0.5, -1.0, 1.0) * np.sqrt(squared)
        return distances


def morton_order(points: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the order of (N, 3) points along a Z-curve, in which neighbours follow each other.

    Tree queries in this order find most of the tree in the cache.
    """
    if len(points) == 0:
        return np.zeros(0, np.intp)
    low = points.min(axis=0)
    extent = float((points.max(axis=0) - low).max()) or 1.0
    cells = ((points - low) * (1023.0 / extent)).astype(np.uint32)
    code = np.zeros(len(points), np.uint32)
    for axis in range(3):
        code |= _spread_bits(cells[:, axis]) << np.uint32(axis)
    return np.argsort(code, kind="stable")


def _spread_bits(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Insert two zero bits between each of the lowest ten bits."""
    for shift, mask in (
        (16, 0x030000FF),
        (8, 0x0300F00F),
        (4, 0x030C30C3),
        (2, 0x09249249),
    ):
        values = (values | (values << np.uint32(shift))) & np.uint32(mask)
    return values
