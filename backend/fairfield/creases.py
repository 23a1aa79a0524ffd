"""Sharp edges of a model, and surfaces that have them.

Marching cubes draw through each of their cells a surface that bends gently: it cuts the model's
sharp edges off, here more and there less, so that they come out ragged by up to a cell. Extended
marching cubes (Kobbelt et al., *Feature Sensitive Surface Extraction from Volume Data*, SIGGRAPH
2001) guess the edges from the field's gradients. Here they are known, since the field was fitted to
the model: the surface beside an edge is put onto the faces that meet there, and every edge of a
triangle that goes from one to the other gets a vertex where it passes the model's edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .mesh import TriangleMesh
from .progress import Progress, ProgressCallback, silent
from .subdivision import pieces
from .threads import thread_count

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Triangles = NDArray[np.integer]

CREASE_DEGREES = (44.0, 160.0)
"""Angles between two faces that meet at an edge: beyond, one is turned around, or they lie on each
other."""
CLEAN, LARGEST_NOISE = 1e-4, 2e-3
"""Noise of the mesh (in the cube) up to which all its sharp edges are the shape's, and from which
on none is."""
ON_EDGES = 0.95
"""Share of vertices on sharp edges from which on their scatter about the surface is no noise."""
SMOOTH_BESIDE, MOST = 0.35, 0.8
"""At most so many times the angle at a crease have the other edges of the triangles beside it, for
that share of its length."""
LEAST_FACE = 1e-3
"""Area (in the cube) of a triangle that may be a face alone, with three sharp edges."""
LEAST_LENGTH = 0.1
"""Length (in the cube) of creases that hang together: shorter ones are dents of a scan."""
MOST_LENGTH = 1000.0
"""Total length (in the cube) of all: a model that has more is not followed."""
SPACING = 0.5
"""Cells between the places of a crease by which the nearest one is found."""
CANDIDATES = 8
"""Places near a point, of which the segments are compared."""
ALIKE = 0.5
"""Least cosine between a vertex's normal and one of the faces at a crease, or what is between them:
what is farther off lies on the other side of a thin wall."""
FLAT_WITHIN, REACH = 1.5, 2.5
"""Cells from a crease within which vertices are put onto the faces beside it, and from which on
they stay."""
ON_CREASE = 0.3
"""Cells from a crease within which a vertex is put onto it."""
EXACTLY_ON, ALONG = 1e-3, 0.1
"""Cells from a crease within which a vertex is on it, and the middle of an edge along it."""
ACROSS = 1.5
"""Cells from a crease to the middle of an edge that may pass it."""
NEAR_CORNER = 1.2
"""Most cells from a corner of creases to the vertex that is put there."""
CORNER_DEGREES = 30.0
"""Angle by which a crease turns at a corner."""
FLAT, TURNED_OVER = 0.02, 0.01
"""Area (in squared cells) below which a triangle on a crease is none, and by which a triangle may
face backwards."""
ROUNDS = 8
"""In which what would leave no area, or turn triangles over, is taken back."""
POINTS_PER_CHUNK = 1 << 16
TINY = 1e-300
"""Keeps quotients finite."""


class Sharpened(NamedTuple):
    """A surface with creases.

    Attributes
    ----------
    vertices, triangles
        Those that were given, and after them the new vertices; triangles are cut in place.
    parents
        (K, 2) the ends of the edges that each new vertex lies between.
    """

    vertices: Array
    triangles: Triangles
    parents: Rows


@dataclass(frozen=True, eq=False)
class Creases:
    """E segments, in units of the cube.

    Attributes
    ----------
    segments
        (E, 4, 3) the ends of each, and the unit normals of the faces on its left and on its right,
        as seen from outside along it.
    """

    segments: NDArray[np.float32]

    @classmethod
    def of(cls, mesh: TriangleMesh, noise: float) -> Creases | None:
        """The creases of a mesh in the cube; None of one that has none, or has only noise.

        Faces meet there at 44 degrees or more; if the mesh may have noise, they are smooth beside,
        which tells creases from rough places. And creases are long, which tells them from dents.
        Where most of what is sharp is not like that, nothing is.
        """
        edges, (first, second) = mesh.shared_edges()
        normals = np.nan_to_num(mesh.triangle_normals())
        cosine = _dot(normals.take(first, axis=0), normals.take(second, axis=0))
        least, most = np.cos(np.radians(CREASE_DEGREES))
        is_smooth = cosine > least
        # Triangles without area have no normal.
        has_area = _dot(normals, normals) > 0.5
        is_sharp = ~is_smooth & (cosine >= most) & has_area[first] & has_area[second]
        if not is_sharp.any():
            return None
        if noise >= LARGEST_NOISE:
            used = len(np.unique(mesh.triangles))
            if len(np.unique(edges[is_sharp])) < ON_EDGES * used:
                return None
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        # A triangle with nothing but sharp edges is a face only if it is large; else it is noise.
        beside = np.where(mesh.triangle_areas() < LEAST_FACE, np.inf, 0.0)
        for side in (first, second):
            beside[side[is_smooth]] = 0.0
        for side in (first, second):
            np.maximum.at(beside, side[is_smooth], angle[is_smooth])
        edges, first, second, angle = (each[is_sharp] for each in (edges, first, second, angle))
        is_clear = np.maximum(beside[first], beside[second]) <= SMOOTH_BESIDE * angle
        is_clear |= noise < CLEAN
        length = np.linalg.norm(np.subtract(*mesh.vertices[edges.T]), axis=1)
        group = _groups(edges, len(mesh.vertices))
        whole, clear = np.bincount(group, length), np.bincount(group, length * is_clear)
        kept = ((whole >= LEAST_LENGTH) & (clear > MOST * whole))[group]
        total = length[kept].sum()
        if not length.sum() / 2 < total <= MOST_LENGTH:
            return None
        # An edge runs as it does in the first of its triangles, which so lies on its left.
        begin, end = mesh.vertices[edges[kept].T]
        parts = begin, end, normals[first[kept]], normals[second[kept]]
        return cls(np.stack(parts, axis=1).astype(np.float32))

    def sharpened(
        self,
        vertices: Array,
        triangles: Triangles,
        normals: Array,
        cell: float,
        progress: ProgressCallback = silent,
    ) -> Sharpened:
        """Give a surface in the cube these creases.

        Parameters
        ----------
        normals
            (V, 3) unit normals at the vertices: they tell which creases are theirs, and no triangle
            is made that faces away from them.
        cell
            Side of the cells that the surface was extracted with.
        """
        nearby = _Nearby(self.segments.astype(np.float64), cell, progress)
        normals = np.nan_to_num(normals)
        feet = nearby.feet(vertices, normals, REACH)
        is_near = feet.segment >= 0
        beside = is_near[triangles].any(axis=1)
        some = triangles[beside]
        facing = _unit(normals[some].sum(axis=1))
        place, is_on = _moved(vertices, normals, feet, some, facing, nearby)
        for _ in range(ROUNDS):
            wrong = _facing_area(place, some, facing) < -TURNED_OVER * cell**2
            if not wrong.any():
                break
            back = some[wrong].ravel()
            place[back], is_on[back] = vertices[back], False
        cut = _cut(place, normals, some, facing, is_near & ~is_on, nearby)
        return cut._replace(triangles=np.concatenate([triangles[~beside], cut.triangles]))

    def edges_of(self, surface: TriangleMesh, cell: float) -> NDArray[np.int64]:
        """Which edges (K, 2) of a surface in the cube, by their vertices, lie on creases."""
        nearby = _Nearby(self.segments.astype(np.float64), cell, silent)
        is_on = nearby.feet(surface.vertices, None, EXACTLY_ON).segment >= 0
        corners = surface.triangles.astype(np.int64)
        edges = np.stack([corners, np.roll(corners, -1, axis=1)], axis=2).reshape(-1, 2)
        edges = np.unique(np.sort(edges[is_on[edges].all(axis=1)], axis=1), axis=0)
        middles = surface.vertices[edges].mean(axis=1)
        return edges[nearby.feet(middles, None, ALONG).segment >= 0]


class _Feet(NamedTuple):
    """The nearest points of creases to N points: segments (N,), -1 where none is within reach,
    distances (N,) and places (N, 3)."""

    segment: Rows
    distance: Array
    place: Array


class _Nearby:
    """Finds the nearest points of creases (E, 4, 3), for a surface of cells of some size."""

    def __init__(self, segments: Array, cell: float, progress: ProgressCallback) -> None:
        self.cell = cell
        self._progress = progress
        self.begin, end, self.left, self.right = segments.transpose(1, 0, 2)
        self.along = end - self.begin
        self.across = _unit(np.cross(self.left + self.right, self.along))
        """(E, 3) from the face on the right to that on the left."""
        self._faces = self.left, self.right, _unit(self.left + self.right)
        self.corners = _corners(self.begin, end)
        length = np.linalg.norm(self.along, axis=1)
        parts = np.ceil(length / (SPACING * cell)).astype(np.intp) + 1
        owner = np.repeat(np.arange(len(segments)), parts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
        way = number / np.maximum(parts - 1, 1)[owner]
        self._tree = cKDTree(self.begin[owner] + way[:, None] * self.along[owner])
        self._owner = np.append(owner, -1)

    def feet(self, points: Array, normals: Array | None, cells: float) -> _Feet:
        """Of points (N, 3) of a surface with unit normals (N, 3), within so many cells.

        Without normals, of any creases.
        """
        starts = range(0, max(len(points), 1), POINTS_PER_CHUNK)
        parts = [
            self._feet(points[rows], None if normals is None else normals[rows], cells * self.cell)
            for rows in (slice(start, start + POINTS_PER_CHUNK) for start in starts)
        ]
        return _Feet(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _feet(self, points: Array, normals: Array | None, reach: float) -> _Feet:
        self._progress(Progress(0.5, "Following sharp edges"))
        _, near = self._tree.query(
            points,
            k=range(1, CANDIDATES + 1),
            distance_upper_bound=reach + SPACING * self.cell,
            workers=thread_count(),
        )
        segment = self._owner[near]  # [N, k]
        begin, along = self.begin[segment], self.along[segment]
        way = np.einsum("nki,nki->nk", points[:, None] - begin, along)
        way /= np.maximum(np.einsum("nki,nki->nk", along, along), TINY)
        place = begin + np.clip(way, 0, 1)[:, :, None] * along
        distance = np.linalg.norm(points[:, None] - place, axis=2)
        distance[(segment < 0) | (distance > reach)] = np.inf
        if normals is not None:
            cosines = [(each[segment] @ normals[:, :, None])[:, :, 0] for each in self._faces]
            distance[np.max(cosines, axis=0) < ALIKE] = np.inf
        best = np.arange(len(points)), distance.argmin(axis=1)
        distance = distance[best]
        return _Feet(np.where(np.isfinite(distance), segment[best], -1), distance, place[best])


def _moved(
    vertices: Array,
    normals: Array,
    feet: _Feet,
    triangles: Triangles,
    facing: Array,
    nearby: _Nearby,
) -> tuple[Array, NDArray[np.bool_]]:
    """The vertices (V, 3) on faces and creases, and which (V,) are on a crease now."""
    rows = np.flatnonzero(feet.segment >= 0)
    segment, away = feet.segment[rows], vertices[rows] - feet.place[rows]
    is_left = _dot(away, nearby.across[segment]) > 0
    face = np.where(is_left[:, None], nearby.left[segment], nearby.right[segment])
    share = np.clip((REACH - feet.distance[rows] / nearby.cell) / (REACH - FLAT_WITHIN), 0, 1)
    on_face = vertices.copy()
    on_face[rows] -= (share * _dot(away, face))[:, None] * face

    feet = nearby.feet(on_face[rows], normals[rows], ON_CREASE)
    near = feet.segment >= 0
    place, way = on_face.copy(), np.full(len(vertices), -1.0)
    place[rows[near]], way[rows[near]] = feet.place[near], feet.distance[near]
    if len(rows):
        distance, nearest = cKDTree(place[rows]).query(nearby.corners, workers=thread_count())
        near = distance < NEAR_CORNER * nearby.cell
        place[rows[nearest[near]]], way[rows[nearest[near]]] = nearby.corners[near], 0.0
    # Of three on a crease, or of two on either side of it, the farthest goes back to its face.
    for _ in range(ROUNDS):
        is_flat = _facing_area(place, triangles, facing) < FLAT * nearby.cell**2
        is_flat &= (way[triangles] >= 0).sum(axis=1) >= 2
        some = triangles[is_flat]
        farthest = some[np.arange(len(some)), way[some].argmax(axis=1)]
        farthest = farthest[way[farthest] > 0]
        if len(farthest) == 0:
            break
        place[farthest], way[farthest] = on_face[farthest], -1.0
    return place, way >= 0


def _cut(
    vertices: Array,
    normals: Array,
    triangles: Triangles,
    facing: Array,
    is_beside: NDArray[np.bool_],
    nearby: _Nearby,
) -> Sharpened:
    """Cut those triangles (F, 3) that lie across a crease, with vertices beside it, along it."""
    ends = np.sort(np.stack([triangles, np.roll(triangles, -1, axis=1)]), axis=0).astype(np.int64)
    number, of_triangle = np.unique(ends[0] * len(vertices) + ends[1], return_inverse=True)
    edges = np.stack(np.divmod(number, len(vertices)), axis=1)
    of_triangle = of_triangle.reshape(-1, 3)
    passing, place = _passing(vertices, normals, edges, is_beside, nearby)
    while True:
        cut = np.full(len(edges), -1)
        cut[passing] = len(vertices) + np.arange(len(passing))
        everything = np.concatenate([vertices, place])
        parts, parent = pieces(triangles, cut[of_triangle], everything)
        area = _facing_area(everything, parts, facing[parent])
        wrong = area < -TURNED_OVER * nearby.cell**2
        bad = np.isin(passing, of_triangle[parent[wrong]])
        if not bad.any():
            return Sharpened(everything, parts, edges[passing])
        passing, place = passing[~bad], place[~bad]


def _passing(
    vertices: Array, normals: Array, edges: Rows, is_beside: NDArray[np.bool_], nearby: _Nearby
) -> tuple[Rows, Array]:
    """Which of the edges (E, 2) pass a crease (K,), and where (K, 3)."""
    rows = np.flatnonzero(is_beside[edges].all(axis=1))
    begin, end = vertices[edges[rows, 0]], vertices[edges[rows, 1]]
    around = _unit(normals[edges[rows]].sum(axis=1))
    middle = nearby.feet((begin + end) / 2, around, ACROSS)
    across = nearby.across[middle.segment]
    before, behind = (_dot(each - middle.place, across) for each in (begin, end))
    kept = np.flatnonzero((middle.segment >= 0) & (before * behind < 0))
    way = before[kept] / (before[kept] - behind[kept])
    feet = nearby.feet(begin[kept] + way[:, None] * (end - begin)[kept], around[kept], 1.0)
    found = feet.segment >= 0
    return rows[kept[found]], feet.place[found]


def _facing_area(vertices: Array, triangles: Triangles, facing: Array) -> Array:
    """Areas (F,) of triangles as seen from the directions (F, 3) that they should face."""
    a, b, c = vertices.take(triangles.T, axis=0)
    return _dot(np.cross(b - a, c - a), facing) / 2


def _corners(begin: Array, end: Array) -> Array:
    """Where other than two segments (E, 3) end, or where two make a sharp turn: (C, 3)."""
    places, which = np.unique(np.concatenate([begin, end]), axis=0, return_inverse=True)
    which = which.reshape(-1)
    outward = np.zeros_like(places)
    np.add.at(outward, which, np.concatenate([_unit(end - begin), _unit(begin - end)]))
    # Where a crease goes straight on, the two ways cancel.
    turns = np.linalg.norm(outward, axis=1) > 2 * np.sin(np.radians(CORNER_DEGREES) / 2)
    return places[(np.bincount(which) != 2) | turns]


def _groups(edges: Rows, count: int) -> Rows:
    """By which of those that hang together (E,) each of the edges (E, 2) is."""
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(count, count))
    of_vertex = connected_components(graph, directed=False)[1]
    group: Rows = np.unique(of_vertex[edges[:, 0]], return_inverse=True)[1].reshape(-1)
    return group


def _dot(first: Array, second: Array) -> Array:
    product: Array = np.einsum("ni,ni->n", first, second)
    return product


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), TINY)
