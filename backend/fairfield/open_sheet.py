"""Open sheets: surfaces that enclose nothing, such as terrain, cloth, or a scan from one side.

Nothing is inside them, yet they have two sides. The winding number, which is a solid angle, rises
by 1 through a sheet from the side that its faces point to: through a closed surface from 0 to 1,
but through a flat sheet from -1/2 to 1/2. So a point is taken for inside where it is above its mean
over both sides of the sheet; being an integral, it does not mind noise.

Beyond the rim, where nothing stands between the sides, the sign would jump between two points that
are both far from the surface. So there the surface goes on straight, along the tangent planes of
the rim; what is measured near the rim needs no care then, and what is extracted is cut off at it.

Where layers lie above each other and their faces point the same way, the sign changes between them
too, and close layers leave pieces of surface there.
"""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .errors import FairfieldError
from .mesh import TriangleMesh
from .progress import Progress, ProgressCallback, silent
from .winding_number import WindingNumber

Array = NDArray[np.float64]

CLEARLY_INSIDE = 0.75
"""The winding number from which on a point is inside without doubt."""
SAMPLES, SIDES = 2000, (5e-4, 5e-5, 5e-6)
"""Triangles at which both sides are looked at, and how far off, in sizes of the mesh: as far as can
be, for noise folds a mesh."""
LEAST_JUMP = 0.5
"""Of the winding number from one side to the other, if nothing else is between."""
OPEN_SHARE = 0.25
"""Of the surface without an inside; above this, the mesh is an open sheet."""
LID_SHARE = 0.25
"""Area of flat lids that would close a mesh, over the mesh's; above this, it is an open sheet too.
It is 1 for a flat one, 1/2 for a half sphere, and a few hundredths for a scan with holes."""
CLOSED, NEARLY_ALL = 0.95, 0.95
"""Winding number behind the surface that so much of it has only where nothing opens into it: then
its rims are seams between parts that touch, as between the faces of a model from CAD."""
OPPOSED = 0.3
"""Triangles around a vertex of the rim whose unit normals, weighted by angles, have a shorter mean
face opposite ways: no plane is tangent there."""
AT_END = 1e-6
"""Shares of an edge below this are 0 but for rounding."""
ON_RIM = 1e-8
"""What is nearer to the rim, in units of the cube, lies on it but for rounding."""
ROWS_AT_ONCE = 1 << 14
"""Points per native call: libigl holds Python's lock."""


@dataclass(frozen=True, eq=False)
class Rim:
    """The edges that only one triangle has.

    Attributes
    ----------
    edges
        (E, 2) vertices, in the order in which the triangle has them.
    owners
        (E,) the triangles.
    """

    edges: NDArray[np.int64]
    owners: NDArray[np.intp]

    @classmethod
    def of(cls, triangles: NDArray[np.integer]) -> Rim:
        """That of triangles (F, 3)."""
        edges = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
        edges = edges.astype(np.int64)
        key = edges.min(axis=1) * (int(edges.max()) + 1) + edges.max(axis=1)
        order = np.argsort(key, kind="stable")
        differs = np.concatenate([[True], np.diff(key[order]) != 0, [True]])
        alone = order[differs[1:] & differs[:-1]]
        return cls(edges[alone], alone // 3)

    def lids(self, vertices: Array) -> tuple[Array, NDArray[np.int64]]:
        """Areas (L,) of flat lids over its loops, and a vertex of each (L,)."""
        _, loop = connected_components(
            coo_array((np.ones(len(self.edges)), self.edges.T), shape=[len(vertices)] * 2),
            directed=False,
        )
        begin = self.edges[:, 0]
        _, first, loop = np.unique(loop[begin], return_index=True, return_inverse=True)
        a, b = vertices[self.edges.T] - vertices.mean(axis=0)
        across = np.cross(a, b) / 2
        areas = np.stack([np.bincount(loop, column) for column in across.T], axis=1)
        return np.linalg.norm(areas, axis=1), begin[first]


def open_sheet(mesh: TriangleMesh, rim: Rim, sides: Array) -> OpenSheet | None:
    """Return a mesh's rim and sides if it is an open sheet.

    `mesh` is in the cube, without triangles that have no area; for `sides` see `winding_at_sides`.
    """
    inside = np.abs(sides).max(axis=0)
    lids = rim.lids(mesh.vertices)[0].sum() / mesh.cumulative_area[-1]
    is_closed = lids <= LID_SHARE or np.quantile(inside, 1 - NEARLY_ALL) > CLOSED
    if is_closed and (inside < CLEARLY_INSIDE).mean() <= OPEN_SHARE:
        return None
    return OpenSheet(mesh, rim, float(sides.mean()))


def winding_at_sides(mesh: TriangleMesh, winding: WindingNumber) -> Array:
    """Return winding numbers (2, S) behind and before some triangles, drawn by area.

    Close to a triangle they differ by 1. Where they do not, another one is between, as the other
    side of a thin wall: there it is looked at from closer by.
    """
    chosen = mesh.spread_by_area(SAMPLES)
    centres = mesh.vertices[mesh.triangles[chosen]].mean(axis=1)
    size, normals = np.ptp(mesh.vertices, axis=0).max(), mesh.triangle_normals()[chosen]
    sides, unsure = np.zeros((2, SAMPLES)), np.arange(SAMPLES)
    for side in SIDES:
        step = side * size * normals[unsure]
        for row, way in enumerate((-step, step)):
            sides[row, unsure] = winding(centres[unsure] + way)
        unsure = unsure[np.abs(sides[0, unsure] - sides[1, unsure]) < LEAST_JUMP]
        if len(unsure) == 0:
            break
    sure: Array = np.delete(sides, unsure, axis=1)
    return sure if sure.size else sides


class OpenSheet:
    """Where an open sheet ends, and its tangent planes there.

    Attributes
    ----------
    level
        Points with a winding number above it are inside.
    """

    def __init__(self, mesh: TriangleMesh, rim: Rim, level: float) -> None:
        self.level = level
        self._vertices = np.asfortranarray(mesh.vertices)
        self._edges = np.asfortranarray(rim.edges)
        self._tree = igl.AABB()
        self._tree.init(self._vertices, self._edges)
        self._edge_normals = mesh.triangle_normals()[rim.owners]
        self._vertex_normals = _vertex_normals(mesh, rim.edges)

    def continued(self, points: Array, nearest: Array, distance: Array) -> Array:
        """Return signed distances (N,) that beyond the rim are heights over its tangent planes.

        `nearest` (N, 3) are the nearest points of the sheet from `points` (N, 3).
        """
        _, normals, on_rim = self._at_rim(nearest)
        height = np.einsum("ni,ni->n", points - nearest, normals)
        return np.where(on_rim, height, distance)

    def beyond_rim(
        self, points: Array, nearest: Array, progress: ProgressCallback = silent
    ) -> Array:
        """Return how far (N,) beyond the rim points are, along the surface; negative within."""
        result = np.empty(len(points))
        for start in range(0, len(points), ROWS_AT_ONCE):
            progress(Progress(start / len(points), "Measuring distances"))
            rows = slice(start, start + ROWS_AT_ONCE)
            to_rim, normals, on_rim = self._at_rim(nearest[rows])
            way = points[rows] - nearest[rows]
            height = np.einsum("ni,ni->n", way, normals)
            along = np.linalg.norm(way - height[:, None] * normals, axis=1)
            result[rows] = np.where(on_rim, along, -to_rim)
        return result

    def _at_rim(self, nearest: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """How far points of the sheet are from the rim (N,), normals there, and which are on it."""
        squared, edge, foot = self._tree.squared_distance(
            self._vertices, self._edges, np.asfortranarray(nearest)
        )
        start, end = self._edges[edge].T
        along = self._vertices[end] - self._vertices[start]
        way = foot - self._vertices[start]
        share = (way * along).sum(axis=1) / (along**2).sum(axis=1)
        corner = np.where(share < 0.5, start, end)
        at_corner = (np.minimum(share, 1 - share) < AT_END) & (
            np.abs(self._vertex_normals[corner]).max(axis=1) > 0
        )
        normals = self._edge_normals[edge]
        normals[at_corner] = self._vertex_normals[corner[at_corner]]
        return np.sqrt(squared), normals, squared < ON_RIM**2


def _vertex_normals(mesh: TriangleMesh, rim: NDArray[np.int64]) -> Array:
    """Angle-weighted unit normals (V, 3) at the rim's vertices; 0 elsewhere, and where none is."""
    on_rim = np.zeros(len(mesh.vertices), np.bool_)
    on_rim[rim] = True
    beside = np.flatnonzero(on_rim[mesh.triangles].any(axis=1))
    corners = mesh.triangles[beside].astype(np.int64)
    angles = igl.internal_angles(mesh.vertices, corners)
    normals = mesh.triangle_normals()[beside]
    total, weight = np.zeros_like(mesh.vertices), np.zeros(len(mesh.vertices))
    np.add.at(total, corners, angles[:, :, None] * normals[:, None])
    np.add.at(weight, corners, angles)
    length = np.linalg.norm(total, axis=1)
    clear = on_rim & (length > OPPOSED * weight)
    total[~clear] = 0
    total[clear] /= length[clear, None]
    return total


def interpolated(lattice: NDArray[np.float32], points: Array) -> Array:
    """Return what a lattice (n, n, n) over the cube holds at (N, 3) points, linearly."""
    places = (points.T + 1) * ((len(lattice) - 1) / 2)
    return map_coordinates(lattice.astype(np.float64), places, order=1, mode="nearest")


def cut_off(
    vertices: Array, triangles: NDArray[np.integer], beyond: Array
) -> tuple[Array, NDArray[np.int64]]:
    """Return what of a triangle mesh is not beyond: `beyond` (V,) is above 0 there.

    Triangles that it ends in are cut along the straight line on which it is 0.

    Raises
    ------
    FairfieldError
        If that is nothing.
    """
    outside = beyond > 0
    # Of a triangle that only touches what is within, nothing is left.
    triangles = triangles[(beyond[triangles] < 0).any(axis=1) | ~outside[triangles].any(axis=1)]
    if len(triangles) == 0:
        raise FairfieldError(
            "Nothing of the surface lies within the open sheet's rim: the sheet is narrower than "
            "the field can tell. Fit it again with a finer preset, or give it thickness."
        )
    count = outside[triangles].sum(axis=1)
    # Of each cut triangle, the corner that is alone on its side, and the two that follow it.
    alone_outside = _turned(triangles[count == 1], outside[triangles[count == 1]])
    alone_within = _turned(triangles[count == 2], ~outside[triangles[count == 2]])
    a, b, c = alone_outside.T
    p, q, r = alone_within.T
    edges = np.concatenate([np.stack(pair, axis=1) for pair in ((a, b), (a, c), (p, q), (p, r))])
    edges, index = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
    first, second = edges.T
    share = beyond[first] / (beyond[first] - beyond[second])
    cuts = vertices[first] + share[:, None] * (vertices[second] - vertices[first])
    lengths = np.cumsum([len(a), len(a), len(p)])
    ab, ac, pq, pr = np.split(len(vertices) + index.reshape(-1), lengths)
    parts = [
        triangles[count == 0],
        *(np.stack(corners, axis=1) for corners in ((ab, b, c), (ab, c, ac), (p, pq, pr))),
    ]
    used, compact = np.unique(np.concatenate(parts), return_inverse=True)
    return np.concatenate([vertices, cuts])[used], compact.reshape(-1, 3)


def _turned(triangles: NDArray[np.integer], first: NDArray[np.bool_]) -> NDArray[np.integer]:
    """Triangles (F, 3) from another corner on: the one that is marked."""
    columns = (first.argmax(axis=1)[:, None] + np.arange(3)) % 3
    return np.take_along_axis(triangles, columns, axis=1)
