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

import igl
import numpy as np
from numpy.typing import NDArray

from .mesh import TriangleMesh

Array = NDArray[np.float64]

CLEARLY_INSIDE = 0.75
"""The winding number from which on a point is inside without doubt."""
SAMPLES, SIDE = 2000, 5e-4
"""Triangles at which both sides are looked at, and how far off, in sizes of the mesh."""
ACCURACY = 2.0
"""libigl's accuracy scale of the winding number."""
OPEN_SHARE = 0.25
"""Of the surface without an inside; above this, the mesh is an open sheet."""
LID_SHARE = 0.25
"""Area of a flat lid that would close a mesh, over the mesh's; above this, it is an open sheet too.
It is 1 for a flat one, 1/2 for a half sphere, and a few hundredths for a scan with holes."""
ON_EDGE = 1e-6
"""Barycentric coordinates below this are 0 but for rounding."""


def level_of_sheet(mesh: TriangleMesh, winding: igl.FastWindingNumberBVH) -> float | None:
    """Return the mean winding number of both sides of an open sheet; None for another mesh.

    `winding` is that of the mesh, which must have no triangles without area.
    """
    shares = (np.arange(SAMPLES) + 0.5) / SAMPLES
    chosen = np.searchsorted(mesh.cumulative_area, shares * mesh.cumulative_area[-1])
    centres = mesh.vertices[mesh.triangles[chosen]].mean(axis=1)
    step = SIDE * np.ptp(mesh.vertices, axis=0).max() * mesh.triangle_normals()[chosen]
    sides = np.stack(
        [
            winding.winding_number(np.asfortranarray(side), ACCURACY)
            for side in (centres - step, centres + step)
        ]
    )
    without_inside = np.abs(sides).max(axis=0) < CLEARLY_INSIDE
    # The areas of a closed surface, as vectors, add up to nothing.
    areas = mesh.triangle_areas()
    lid = np.linalg.norm(areas @ mesh.triangle_normals()) / areas.sum()
    open_sheet = without_inside.mean() > OPEN_SHARE or lid > LID_SHARE
    return float(sides.mean()) if open_sheet else None


class OpenSheet:
    """Where an open sheet ends, and its tangent planes there.

    Attributes
    ----------
    level
        Points with a winding number above it are inside.
    """

    def __init__(self, mesh: TriangleMesh, level: float) -> None:
        self.level = level
        self._vertices = np.asfortranarray(mesh.vertices)
        self._triangles = np.asfortranarray(mesh.triangles.astype(np.int64))
        self._tree = igl.AABB()
        self._tree.init(self._vertices, self._triangles)
        self._face_normals = mesh.triangle_normals()
        self._edge_normals, edges, edge_of = igl.per_edge_normals(
            self._vertices,
            self._triangles,
            igl.PerEdgeNormalsWeightingType.PER_EDGE_NORMALS_WEIGHTING_TYPE_UNIFORM,
        )
        self._edge_of = edge_of.reshape(3, -1).T
        """(F, 3) the edge that is opposite each corner."""
        self._vertex_normals = igl.per_vertex_normals(
            self._vertices,
            self._triangles,
            igl.PerVertexNormalsWeightingType.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE,
        )
        self._rim_edges = np.bincount(edge_of) == 1
        rim = edges[self._rim_edges]
        self._rim_vertices = np.zeros(len(mesh.vertices), np.bool_)
        self._rim_vertices[rim] = True
        self._rim = np.asfortranarray(rim.astype(np.int64))
        self._rim_tree = igl.AABB()
        self._rim_tree.init(self._vertices, self._rim)

    def continued(self, points: Array, nearest: Array, distance: Array) -> Array:
        """Return signed distances (N,) that beyond the rim are heights over its tangent planes.

        `nearest` (N, 3) are the nearest points of the sheet from `points` (N, 3).
        """
        normals, on_rim = self._pseudonormals(nearest)
        height = np.einsum("ni,ni->n", points - nearest, normals)
        return np.where(on_rim, height, distance)

    def beyond_rim(self, points: Array, nearest: Array) -> Array:
        """Return how far (N,) beyond the rim points are, along the surface; negative within."""
        normals, on_rim = self._pseudonormals(nearest)
        way = points - nearest
        height = np.einsum("ni,ni->n", way, normals)
        along = np.linalg.norm(way - height[:, None] * normals, axis=1)
        squared, _, _ = self._rim_tree.squared_distance(
            self._vertices, self._rim, np.asfortranarray(nearest)
        )
        return np.where(on_rim, along, -np.sqrt(squared))

    def _pseudonormals(self, nearest: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Unit normals (N, 3) at points (N, 3) of the surface, and whether they are on the rim."""
        places = np.asfortranarray(nearest)
        _, triangle, _ = self._tree.squared_distance(self._vertices, self._triangles, places)
        corners = self._triangles[triangle]
        weights = igl.barycentric_coordinates(
            places, *(np.asfortranarray(self._vertices[corner]) for corner in corners.T)
        )
        on = weights < ON_EDGE
        normals = self._face_normals[triangle]
        on_rim = np.zeros(len(nearest), np.bool_)

        rows = np.flatnonzero(on.sum(axis=1) == 1)
        edge = self._edge_of[triangle[rows], on[rows].argmax(axis=1)]
        normals[rows], on_rim[rows] = self._edge_normals[edge], self._rim_edges[edge]

        rows = np.flatnonzero(on.sum(axis=1) >= 2)
        vertex = corners[rows, weights[rows].argmax(axis=1)]
        normals[rows], on_rim[rows] = self._vertex_normals[vertex], self._rim_vertices[vertex]
        return normals / np.linalg.norm(normals, axis=1, keepdims=True), on_rim


def cut_off(
    vertices: Array, triangles: NDArray[np.integer], beyond: Array
) -> tuple[Array, NDArray[np.int64]]:
    """Return what of a triangle mesh is not beyond: `beyond` (V,) is above 0 there.

    Triangles that it ends in are cut along the straight line on which it is 0.
    """
    outside = beyond > 0
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
