"""Exact signed distances to a triangle mesh, and nearest points on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import igl
import numpy as np
from numpy.typing import NDArray

from .mesh import TriangleMesh
from .open_sheet import OpenSheet, Rim, open_sheet, winding_at_sides
from .outer_surface import outer_surface
from .progress import Progress, ProgressCallback, silent
from .threads import thread_count
from .winding_number import WindingNumber

Array = NDArray[np.float64]

CHUNK = 1 << 14
"""Points per native call. libigl holds the GIL, so a call must stay under 0.2 s."""
SORTED = 16 * CHUNK
"""Points that are brought into Morton order together."""
COARSE_ACCURACY = 1.0
"""libigl's scale of the winding number's accuracy that takes a third of the full one's time; it was
off by less than 0.15 for 99.9 % of points on clean, open and noisy meshes."""
UNCERTAIN = 0.25
"""Coarse winding numbers that are nearer than this to 1/2 are computed again."""


@dataclass(frozen=True, eq=False)
class NearestPoints:
    """Points of space, and what is known about the surface from there.

    Attributes
    ----------
    points
        (N, 3).
    nearest
        (N, 3) nearest point of the surface.
    distance
        (N,) signed distance, negative inside.
    """

    points: Array
    nearest: Array
    distance: Array

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: NDArray[np.integer]) -> NearestPoints:
        return NearestPoints(self.points[rows], self.nearest[rows], self.distance[rows])

    @staticmethod
    def concatenate(*parts: NearestPoints) -> NearestPoints:
        """One after the other."""
        return NearestPoints(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.nearest for part in parts]),
            np.concatenate([part.distance for part in parts]),
        )


class NearestTree(Protocol):
    """Whatever finds nearest points of a mesh."""

    def nearest(self, points: Array) -> Array:
        """Return the nearest point of the surface for each of (N, 3) points."""
        ...


class LibiglTree:
    """Nearest points by libigl, where there are no kernels: about three times as slow."""

    def __init__(self, mesh: TriangleMesh) -> None:
        self._vertices = np.asfortranarray(mesh.vertices)
        self._triangles = np.asfortranarray(mesh.triangles.astype(np.int64))
        self._tree = igl.AABB()
        self._tree.init(self._vertices, self._triangles)

    def nearest(self, points: Array) -> Array:
        """See `NearestTree.nearest`."""
        _, _, nearest = self._tree.squared_distance(
            self._vertices, self._triangles, np.asfortranarray(points)
        )
        return nearest


class SignedDistance:
    """Signed distance to one mesh: negative inside, positive outside.

    The magnitude is the exact distance to the nearest triangle, but for those inside other parts of
    the mesh: see `outer_surface`. The sign comes from the winding number: inside where it is above
    1/2, of a mesh that is inside out where that of the mesh turned around is. Its absolute value
    would not do: it is as large above a few open layers that lie on each other. Both trees are
    built once. An open sheet has no inside: see `OpenSheet`.

    Attributes
    ----------
    sheet
        The mesh's sides, if it is an open sheet.
    surface
        What distances are measured to: the mesh but for what is inside others of its parts.
    hidden
        How many triangles lie inside other parts, wholly or partly.
    faces_inward
        Whether the mesh is inside out.
    """

    def __init__(self, mesh: TriangleMesh, progress: ProgressCallback = silent) -> None:
        progress(Progress(0.0, "Preparing distances"))
        self._winding = WindingNumber.of(mesh)
        rim = Rim.of(mesh.triangles)
        self.sheet: OpenSheet | None = None
        if len(rim.edges):
            sides = winding_at_sides(mesh, self._winding)
            self.sheet = open_sheet(mesh, rim, sides)
            inward = float(sides.mean()) < 0
        else:
            inward = mesh.volume() < 0
        self.surface, self.hidden = mesh, 0
        self.faces_inward = self.sheet is None and inward
        if self.faces_inward:
            self._winding = self._winding.turned()
        if self.sheet is None:
            self.surface, self.hidden = outer_surface(mesh, self._winding, progress)
        progress(Progress(0.0, "Preparing distances"))
        self._tree = _nearest_tree(self.surface)

    def __call__(self, points: Array, progress: ProgressCallback = silent) -> Array:
        """Return the (N,) signed distances at (N, 3) points, in the mesh's units."""
        return self.nearest(points, progress).distance

    def nearest(self, points: Array, progress: ProgressCallback = silent) -> NearestPoints:
        """Return the nearest points of the surface, and signed distances, for (N, 3) points."""
        nearest, distance = np.empty((len(points), 3)), np.empty(len(points))
        for rows in _morton_chunks(points, progress):
            chunk = points.take(rows, axis=0)
            foot = nearest[rows] = self._tree.nearest(chunk)
            distance[rows] = self._signed(chunk, foot)
        return NearestPoints(points, nearest, distance)

    def signed(self, points: Array, nearest: Array, progress: ProgressCallback = silent) -> Array:
        """Return signed distances (N,) of (N, 3) points whose nearest points are known."""
        distance = np.empty(len(points))
        for rows in _morton_chunks(points, progress):
            distance[rows] = self._signed(points[rows], nearest[rows])
        return distance

    def _signed(self, points: Array, nearest: Array) -> Array:
        inside = self._inside(points)
        distance = np.where(inside, -1.0, 1.0) * np.linalg.norm(points - nearest, axis=1)
        return self.sheet.continued(points, nearest, distance) if self.sheet else distance

    def _inside(self, points: Array) -> NDArray[np.bool_]:
        level = self.sheet.level if self.sheet else 0.5
        above = self._winding(points, COARSE_ACCURACY) - level
        uncertain = np.flatnonzero(np.abs(above) < UNCERTAIN)
        above[uncertain] = self._winding(points[uncertain]) - level
        return above > 0


def unsigned_distance(
    mesh: TriangleMesh, points: Array, progress: ProgressCallback = silent
) -> Array:
    """Return the (N,) distances from (N, 3) points to the nearest triangle of a mesh."""
    tree, distance = _nearest_tree(mesh), np.empty(len(points))
    for rows in _morton_chunks(points, progress):
        chunk = points.take(rows, axis=0)
        distance[rows] = np.linalg.norm(chunk - tree.nearest(chunk), axis=1)
    return distance


def _nearest_tree(mesh: TriangleMesh) -> NearestTree:
    from .fused import TriangleTree, reason_not_compiled

    if reason_not_compiled() is None:
        return TriangleTree(mesh.vertices, mesh.triangles, thread_count())
    return LibiglTree(mesh)


def _morton_chunks(points: Array, progress: ProgressCallback) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of one chunk after the other, reporting before each."""
    for start in range(0, len(points), CHUNK):
        progress(Progress(start / len(points), "Measuring distances"))
        if start % SORTED == 0:
            order = start + morton_order(points[start : start + SORTED])
        yield order[start % SORTED : start % SORTED + CHUNK]


def morton_order(points: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the order of (N, 3) points along a Z-curve, in which neighbours follow each other.

    Tree queries in this order find most of the tree in the cache.
    """
    if len(points) == 0:
        return np.zeros(0, np.intp)
    # Column by column: numpy takes ten times as long for the least of each row's three numbers.
    low = [column.min() for column in points.T]
    extents = [column.max() - least for column, least in zip(points.T, low, strict=True)]
    extent = float(max(extents)) or 1.0
    code = np.zeros(len(points), np.uint32)
    for axis, column in enumerate(points.T):
        cells = ((column - low[axis]) * (1023.0 / extent)).astype(np.uint32)
        code |= _spread_bits(cells) << np.uint32(axis)
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
