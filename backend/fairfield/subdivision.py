"""Triangles cut into smaller ones that still share whole edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .mesh import TriangleMesh

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Triangles = NDArray[np.integer]


class Subdivided(NamedTuple):
    """A mesh whose triangles were cut, and which (F',) triangle each is a part of."""

    mesh: TriangleMesh
    parents: Rows


def with_short_edges(
    mesh: TriangleMesh, longest: float, chosen: NDArray[np.bool_] | None = None
) -> Subdivided:
    """Return the same surface with no edge longer than so, in the mesh's units.

    Parameters
    ----------
    chosen
        (F,) of which triangles the edges are cut, those of all by default.
    """
    vertices = mesh.vertices
    triangles: Triangles = mesh.triangles.astype(np.int64)
    parents = np.arange(len(triangles))
    chosen = np.ones(len(triangles), bool) if chosen is None else chosen
    while True:
        ends = np.sort(np.stack([triangles, np.roll(triangles, -1, axis=1)]), axis=0)
        number, of_triangle = np.unique(ends[0] * len(vertices) + ends[1], return_inverse=True)
        of_triangle = of_triangle.reshape(-1, 3)
        begin, end = np.divmod(number, len(vertices))
        is_long = np.linalg.norm(vertices[begin] - vertices[end], axis=1) > longest
        is_chosen = np.zeros(len(number), bool)
        is_chosen[of_triangle[chosen[parents]]] = True
        long = np.flatnonzero(is_long & is_chosen)
        if len(long) == 0:
            return Subdivided(TriangleMesh(vertices, triangles), parents)
        cut = np.full(len(number), -1)
        cut[long] = len(vertices) + np.arange(len(long))
        vertices = np.concatenate([vertices, (vertices[begin[long]] + vertices[end[long]]) / 2])
        triangles, parts_of = pieces(triangles, cut[of_triangle], vertices)
        parents = parents[parts_of]


def pieces(triangles: Triangles, cut: Rows, places: Array) -> tuple[Triangles, Rows]:
    """Triangles (F', 3) with new vertices on their edges, and which (F',) they are parts of.

    Parameters
    ----------
    cut
        (F, 3) the new vertex between each corner and the next; -1 for none.
    """
    number = (cut >= 0).sum(axis=1)
    whole = np.flatnonzero(number == 0)
    parts, parents = [triangles[whole]], [whole]

    def add(rows: Rows, *corners: Rows) -> None:
        parts.append(np.stack(corners, axis=1))
        parents.append(rows)

    for turn in range(3):
        corners, cuts = np.roll(triangles, -turn, axis=1), np.roll(cut, -turn, axis=1)
        rows = np.flatnonzero((number == 1) & (cuts[:, 0] >= 0))
        (a, b, c), ab = corners[rows].T, cuts[rows, 0]
        add(rows, a, ab, c)
        add(rows, ab, b, c)
        rows = np.flatnonzero((number == 2) & (cuts[:, 1] < 0))
        (a, b, c), ab, ca = corners[rows].T, cuts[rows, 0], cuts[rows, 2]
        add(rows, a, ab, ca)
        # The shorter diagonal of what is left.
        first = np.linalg.norm(places[ab] - places[c], axis=1)
        is_first = first < np.linalg.norm(places[ca] - places[b], axis=1)
        add(rows, ab, b, np.where(is_first, c, ca))
        add(rows, np.where(is_first, ab, b), c, ca)
    rows = np.flatnonzero(number == 3)
    (a, b, c), (ab, bc, ca) = triangles[rows].T, cut[rows].T
    for piece in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)):
        add(rows, *piece)
    return np.concatenate(parts), np.concatenate(parents)
