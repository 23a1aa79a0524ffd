"""The part of a mesh that bounds its solid: what lies inside other parts is left out.

Eyes that reach into a head, or parts that were pushed together, have faces with the inside on both
sides. Nobody sees them, and the sign does not change there. But distances to them would come down
to zero in the midst of the solid: where the field is wrong by a little it would have crumbs of
surface there, and the surface nearby would be smoothed together with them.

Triangles are left out as a whole or not at all: those that are partly inside stay, and with them a
strip inside that is as wide as they are. Large ones are cut into smaller ones before.

Noise folds a mesh, and hides some of its triangles in loops as well. Those stay too: what lies
above them is no more the surface than they are. They meet each other at sharp angles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .mesh import TriangleMesh
from .progress import Progress, ProgressCallback, silent
from .subdivision import Subdivided, with_short_edges
from .winding_number import WindingNumber

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

HIDDEN = "triangles inside other parts"
"""What a fit's report calls those that are left out."""
SAMPLES = 1 << 12
"""Triangles that are looked at first: most meshes have nothing inside."""
ASKED_AROUND = 1 << 15
"""Triangles around those that are inside, which are looked at to tell whether all are to be."""
SIDE = 2.5e-4
"""How far off a triangle its sides are looked at, in sizes of the mesh."""
LARGEST, MOST_CUT = 0.02, 1 << 17
"""Length of a triangle's longest edge, in sizes of the mesh, above which a few places do not tell
of all of it: it is cut, or stays in a mesh that would become one of so many triangles."""
WORTH_CUTTING, LARGE_SAMPLES = 0.25, 1 << 9
"""Area, in squares of that length, of triangles that are looked at in more places than one, and how
many of them, the largest first, tell whether any is to be cut."""
LEAST_PATCH, LEAST_COSINE = 16, 0.5
"""Triangles in a patch that is inside, and mean cosine of the angles at which they meet: less is
the work of noise."""
CENTROID = np.full((1, 3), 1 / 3)
CORNERS = np.array([[2.6, 0.2, 0.2], [0.2, 2.6, 0.2], [0.2, 0.2, 2.6]]) / 3
"""Where a triangle is looked at: in the middle, and near its corners."""
LATTICE = np.array([(i, j, 8 - i - j) for i in range(1, 7) for j in range(1, 8 - i)]) / 8
"""And where a large one is, before it is cut."""
ROWS_AT_ONCE = 1 << 14
"""Points per native call: libigl holds Python's lock."""


class OuterSurface(NamedTuple):
    """What of a mesh bounds its solid, and how many triangles lie inside others, or partly do."""

    mesh: TriangleMesh
    hidden: int


def outer_surface(
    mesh: TriangleMesh, winding: WindingNumber, progress: ProgressCallback = silent
) -> OuterSurface:
    """Return a mesh without the triangles that have the inside on both sides.

    It is the same mesh if there are none. `winding` is the mesh's winding number, above 1/2 inside.
    """
    size = float(np.ptp(mesh.vertices, axis=0).max())
    longest = LARGEST * size
    look = _Sides(mesh, winding, SIDE * size, progress)
    areas = mesh.triangle_areas()
    large = np.flatnonzero(areas > WORTH_CUTTING * longest**2)
    large = large[np.argsort(-areas[large], kind="stable")[:LARGE_SAMPLES]]
    if not (look(_some(mesh), CENTROID).any() or look(large, LATTICE).any()):
        return OuterSurface(mesh, 0)
    fine = Subdivided(mesh, np.arange(len(mesh.triangles)))
    if _number_of_parts(mesh, longest) <= MOST_CUT:
        fine = with_short_edges(mesh, longest)
    inside = _inside(_Sides(fine.mesh, winding, SIDE * size, progress), fine.parents, longest)
    if not inside.any():
        return OuterSurface(mesh, 0)
    parts = np.bincount(fine.parents)
    lost = np.bincount(fine.parents, inside)
    partly = (lost > 0) & (lost < parts)
    # What is whole stays so: its vertices are where the surface is known best.
    cut, parents = with_short_edges(mesh, longest, partly)
    inside = lost[parents] == parts[parents]
    rows = np.flatnonzero(partly[parents])
    inside[rows] = _Sides(cut, winding, SIDE * size, progress).all_inside(rows)
    vertices, triangles = np.unique(cut.triangles[~inside], return_inverse=True)
    outer = TriangleMesh(cut.vertices[vertices], triangles.reshape(-1, 3))
    return OuterSurface(outer, int((lost > 0).sum()))


def _inside(look: _Sides, parents: Rows, longest: float) -> NDArray[np.bool_]:
    """Which triangles (F,) have the inside on both sides, but for the work of noise.

    `parents` (F,) are those that they are parts of: within one, nothing is folded.
    """
    mesh = look.mesh
    count = len(mesh.triangles)
    nothing = np.zeros(count, bool)
    some = _some(mesh)
    seeds = some[look(some, CENTROID)[:, 0]]
    if len(seeds) == 0:
        return nothing
    _, pairs = mesh.shared_edges()
    first, second = mesh.triangle_normals()[pairs]
    cosines = (first * second).sum(axis=1)
    cosines[np.equal(*parents[pairs])] = np.nan
    if not _may_be_patches(look, seeds, pairs, cosines, count):
        return nothing
    inside = _longest_edges(mesh) <= longest
    rows = np.flatnonzero(inside)
    inside[rows] = look.all_inside(rows)
    return _in_patches(inside, pairs, cosines)


def _some(mesh: TriangleMesh) -> Rows:
    count = len(mesh.triangles)
    return np.linspace(0, count - 1, min(count, SAMPLES)).astype(np.intp)


def _number_of_parts(mesh: TriangleMesh, longest: float) -> float:
    """About how many triangles take the place of those with edges longer than so."""
    edges = _longest_edges(mesh)
    across = 2 * mesh.triangle_areas() / np.maximum(edges, 1e-300)
    number = 2 * np.ceil(edges / longest) * np.ceil(across / longest)
    return float(number[edges > longest].sum())


def _longest_edges(mesh: TriangleMesh) -> Array:
    corners = mesh.vertices[mesh.triangles]
    longest: Array = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    return longest


def _may_be_patches(look: _Sides, seeds: Rows, pairs: Rows, cosines: Array, count: int) -> bool:
    """Whether what is inside around some triangles (S,) that are is more than the work of noise.

    To ask all triangles of a scan whose noise folds it takes as long as its fit, and longer. So
    those around the seeds are asked, ring after ring; where that would be many, it may be.
    """
    is_smooth = _mean(np.tile(cosines, 2), pairs.reshape(-1), count) > LEAST_COSINE
    links = coo_array((np.ones(pairs.shape[1], np.int8), pairs), shape=(count, count)).tocsr()
    links = links + links.T
    inside, asked = np.zeros(count, bool), np.zeros(count, bool)
    front = seeds[is_smooth[seeds]]
    asked[seeds] = True
    for _ in range(LEAST_PATCH):
        inside[front] = True
        around = np.unique(links[front].indices)
        around = around[~asked[around]]
        asked[around] = True
        if np.count_nonzero(asked) > ASKED_AROUND:
            return True
        front = around[look(around, CENTROID)[:, 0]]
    return bool(_in_patches(inside, pairs, cosines).any())


def _in_patches(inside: NDArray[np.bool_], pairs: Rows, cosines: Array) -> NDArray[np.bool_]:
    """Which of the triangles that are inside belong to a patch that is not the work of noise.

    `pairs` (2, E) of triangles share an edge, with `cosines` (E,) between their normals; not a
    number between two that are parts of one.
    """
    count = len(inside)
    within = inside[pairs].all(axis=0)
    links = coo_array((np.ones(within.sum()), pairs[:, within]), shape=(count, count))
    total, patch = connected_components(links, directed=False)
    mean = _mean(cosines[within], patch[pairs[0, within]], total)
    good = (np.bincount(patch, minlength=total) >= LEAST_PATCH) & (mean > LEAST_COSINE)
    return inside & good[patch]


def _mean(cosines: Array, group: Rows, count: int) -> Array:
    """The mean in each of so many groups, of those that are numbers; 1 where none is."""
    known = ~np.isnan(cosines)
    number = np.bincount(group[known], minlength=count)
    total = np.bincount(group[known], cosines[known], count)
    return np.where(number > 0, total / np.maximum(number, 1), 1.0)


class _Sides:
    """Tells whether triangles have the inside on both sides, at a distance from them."""

    def __init__(
        self,
        mesh: TriangleMesh,
        winding: WindingNumber,
        distance: float,
        progress: ProgressCallback,
    ) -> None:
        self.mesh, self._winding = mesh, winding
        self._distance, self._progress = distance, progress

    def __call__(self, rows: Rows, places: Array) -> NDArray[np.bool_]:
        """Return the answer at (k, 3) places of triangles in rows (N,): (N, k)."""
        corners = self.mesh.vertices[self.mesh.triangles[rows]]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
        points = (places @ corners).reshape(-1, 3)
        step = self._distance * np.repeat(across, len(places), axis=0)
        hidden = np.empty(len(points), bool)
        for start in range(0, len(points), ROWS_AT_ONCE):
            self._progress(Progress(0.0, "Preparing distances"))
            chunk = slice(start, start + ROWS_AT_ONCE)
            hidden[chunk] = self._inside(points[chunk] + step[chunk])
            also = start + np.flatnonzero(hidden[chunk])
            hidden[also] = self._inside(points[also] - step[also])
        return hidden.reshape(-1, len(places))

    def all_inside(self, rows: Rows) -> NDArray[np.bool_]:
        """Return whether triangles in rows (N,) have it at every place that is looked at."""
        result = np.zeros(len(rows), bool)
        middle = np.flatnonzero(self(rows, CENTROID)[:, 0])
        result[middle] = self(rows[middle], CORNERS).all(axis=1)
        return result

    def _inside(self, points: Array) -> NDArray[np.bool_]:
        return self._winding(points) > 0.5
