"""The copy of a mesh that a fit works on: what scans and models get wrong is put right in it.

An artist sees none of it: two faces on each other look like one, and so does a seam that a file's
rounding has opened. To a distance with a sign they are walls and rims.
"""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .errors import MeshError
from .mesh import TriangleMesh, distinct_rows
from .open_sheet import LID_SHARE, Rim
from .progress import Progress, ProgressCallback, silent
from .winding_number import WindingNumber

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Triangles = NDArray[np.int64]

CHECKING = Progress(0.0, "Checking the mesh")
GAP, GAP_OF_EDGE, WELDED = 1e-5, 0.1, 8
"""Vertices of rims that are no farther apart, in sizes of the mesh and in lengths of the rim's
edges there, are one; so many at most are looked at around each."""
FLAT = 1e-4
"""Volume of a closed part, over its area to the power of 3/2, up to which it has no inside (that of
a sphere is 0.09)."""
EVEN = 1e-6
"""Share of all volume by which rounding may tip the balance between what faces in and out."""
CAVITY, LOOKED_AT = 0.95, 64
"""Share of a part within others from which on it may be a cavity, and triangles that tell it."""


@dataclass(frozen=True)
class RepairedMesh:
    """The copy that a fit works on, and what was changed to get it.

    Attributes
    ----------
    mesh
        Vertices that triangles use; no duplicate or degenerate triangles, nor walls between solids;
        neighbouring triangles oriented alike, and closed parts as the larger ones are.
    repairs
        How many of what were removed or turned; only what is not zero.
    """

    mesh: TriangleMesh
    repairs: dict[str, int]


def repair(mesh: TriangleMesh, progress: ProgressCallback = silent) -> RepairedMesh:
    """Return a copy fit for signed distances.

    Vertices at exactly the same place count as one here, so that the triangles of a soup are
    recognised as neighbours; so do those of rims that only rounding has parted.

    Orientation: within each patch of triangles joined by manifold edges the larger area decides;
    among closed parts that are no cavities of others, the larger volume. So a consistently oriented
    mesh is left as it is, inside out or not.

    Raises
    ------
    MeshError
        If no triangle with an area is left.
    """
    first, merged_index = distinct_rows(mesh.vertices)
    vertices = mesh.vertices[first]
    triangles = merged_index[mesh.triangles]
    size = float(np.ptp(vertices, axis=0).max())

    progress(CHECKING)
    triangles = triangles[~_collapsed(triangles)]
    if len(triangles):
        progress(CHECKING)
        triangles = _welded(vertices, triangles, size)
        triangles = triangles[_have_area(vertices, triangles, size)]
    if len(triangles) == 0:
        raise MeshError(
            f"All {len(mesh.triangles)} triangles of the mesh have no area. "
            "Choose a mesh with a surface."
        )
    degenerate = len(mesh.triangles) - len(triangles)

    progress(CHECKING)
    triangles, duplicates, walls = _without_duplicates(triangles)
    progress(CHECKING)
    turned = 0
    if not _is_oriented_alike(triangles):
        progress(CHECKING)
        triangles, turned = _orient_alike(vertices, triangles)
    progress(CHECKING)
    triangles, turned_parts = _orient_parts(vertices, triangles)

    progress(CHECKING)
    used = np.bincount(triangles.reshape(-1), minlength=len(vertices)) > 0
    compact = np.cumsum(used) - 1
    uses = np.bincount(mesh.triangles.reshape(-1), minlength=len(mesh.vertices))
    counts = {
        "unused vertices": int((uses == 0).sum()),
        "degenerate triangles": degenerate,
        "duplicate triangles": duplicates,
        "triangles of walls inside": walls,
        "turned triangles": turned,
        "turned parts": turned_parts,
    }
    repairs = {name: count for name, count in counts.items() if count}
    return RepairedMesh(TriangleMesh(vertices[used], compact[triangles]), repairs)


def _collapsed(triangles: Triangles) -> NDArray[np.bool_]:
    """Which (F,) have a corner twice."""
    return (triangles == np.roll(triangles, 1, axis=1)).any(axis=1)


def _have_area(vertices: Array, triangles: Triangles, size: float) -> NDArray[np.bool_]:
    """Which (F,) have an area, in numbers that do not vanish when they are multiplied."""
    a, b, c = (vertices / (size or 1.0))[triangles.T]
    return ~_collapsed(triangles) & (np.linalg.norm(np.cross(b - a, c - a), axis=1) > 0)


def _welded(vertices: Array, triangles: Triangles, size: float) -> Triangles:
    """Triangles (F, 3) whose rims are joined where they nearly touch."""
    edges = Rim.of(triangles).edges
    if len(edges) == 0:
        return triangles
    rim, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(-1, 2)
    length = np.linalg.norm(np.subtract(*vertices[edges.T]), axis=1)
    reach = np.full(len(rim), GAP * size)
    for end in ends.T:
        np.minimum.at(reach, end, GAP_OF_EDGE * length)
    distance, near = cKDTree(vertices[rim]).query(
        vertices[rim], k=range(2, WELDED + 1), distance_upper_bound=GAP * size
    )
    one, other = np.nonzero(distance <= reach[:, None])
    pairs = one, near[one, other]
    links = coo_array((np.ones(len(one), np.int8), pairs), shape=[len(rim)] * 2)
    _, cluster = connected_components(links, directed=False)
    _, first = np.unique(cluster, return_index=True)
    stands_for = np.arange(len(vertices))
    stands_for[rim] = rim[first][cluster]
    return stands_for[triangles]


def _without_duplicates(triangles: Triangles) -> tuple[Triangles, int, int]:
    """Return one triangle of each kind, but none of walls; count duplicates, and those of walls.

    Where two solids share a face, each brings its own, and the two look opposite ways: that is a
    wall with the inside on either side. It ends at edges where both solids go on. A sheet that has
    faces on both sides looks alike, but ends where nothing does: of its faces one stays.
    """
    corners = np.sort(triangles, axis=1)
    first, kind = distinct_rows(corners)
    if len(first) == len(triangles):
        return triangles, 0, 0
    way = np.where(_is_odd_permutation(corners, triangles), -1, 1)
    cancels = np.bincount(kind, way) == 0
    is_wall = np.zeros(len(first), bool)
    is_wall[cancels] = _are_walls(corners[first[cancels]], corners[first[~cancels]])
    kept = np.sort(first[~is_wall])
    walls = int(is_wall[kind].sum())
    return triangles[kept], len(triangles) - walls - len(kept), walls


def _are_walls(some: Triangles, rest: Triangles) -> NDArray[np.bool_]:
    """Which (S,) of some triangles belong to patches that end only where others go on."""
    if len(some) == 0:
        return np.zeros(0, bool)
    together = np.concatenate([some, rest])
    ends = np.stack([together[:, [0, 1]], together[:, [1, 2]], together[:, [0, 2]]], axis=1)
    _, edge = np.unique(ends[..., 0] * (together.max() + 1) + ends[..., 1], return_inverse=True)
    edge = edge.reshape(-1, 3)
    of_some, of_rest = edge[: len(some)], edge[len(some) :]
    count = int(edge.max()) + 1
    # Triangles and their edges make a graph; its pieces are the patches.
    which = np.repeat(np.arange(len(some)), 3)
    links = coo_array(
        (np.ones(len(which), np.int8), (which, len(some) + of_some.reshape(-1))),
        shape=[len(some) + count] * 2,
    )
    patch = connected_components(links, directed=False)[1][: len(some)]
    at_end = np.bincount(of_some.reshape(-1), minlength=count)[of_some] == 1
    goes_on = np.bincount(of_rest.reshape(-1), minlength=count)[of_some] >= 2
    ends_of = np.bincount(patch, at_end.sum(axis=1))
    bad_ends_of = np.bincount(patch, (at_end & ~goes_on).sum(axis=1))
    return ((ends_of > 0) & (bad_ends_of == 0))[patch]


def _is_oriented_alike(triangles: Triangles) -> bool:
    """Whether no two triangles run along an edge in the same direction."""
    start, end = triangles, np.roll(triangles, -1, axis=1)
    edges = np.sort(start * (int(triangles.max()) + 1) + end, axis=None)
    return not bool((edges[1:] == edges[:-1]).any())


def _orient_alike(vertices: Array, triangles: Triangles) -> tuple[Triangles, int]:
    """Turn the triangles that disagree with the larger part of their patch; count them."""
    oriented, patch = igl.bfs_orient(triangles.astype(np.int64))
    patch = np.asarray(patch).reshape(-1)
    cross = np.cross(
        vertices[triangles[:, 1]] - vertices[triangles[:, 0]],
        vertices[triangles[:, 2]] - vertices[triangles[:, 0]],
    )
    area = np.linalg.norm(cross, axis=1)
    reversed_by_bfs = _is_odd_permutation(triangles, oriented)
    reversed_area = np.bincount(patch, area * reversed_by_bfs)
    total_area = np.bincount(patch, area)
    turn = reversed_by_bfs ^ (reversed_area > total_area / 2)[patch]
    result = triangles.copy()
    result[turn] = result[turn][:, ::-1]
    return result, int(turn.sum())


def _is_odd_permutation(before: Triangles, after: Triangles) -> NDArray[np.bool_]:
    """Whether each row of three distinct indices was reversed, whatever corner it starts at."""
    follower = np.where(
        before[:, :1] == after[:, :1],
        after[:, 1:2],
        np.where(before[:, :1] == after[:, 1:2], after[:, 2:3], after[:, :1]),
    )
    return (follower != before[:, 1:2]).reshape(-1)


def _orient_parts(vertices: Array, triangles: Triangles) -> tuple[Triangles, int]:
    """Turn the closed parts that face the other way than most of the volume does; count them.

    Those within others are cavities, and stay. What is open says too little of its inside.
    """
    of_vertex = _parts(triangles, len(vertices))
    part = of_vertex[triangles[:, 0]]
    if (part == part[0]).all():
        return triangles, 0
    count = int(of_vertex.max()) + 1
    # About a middle of its own: what is missing of an open part far from it would count most.
    number = np.bincount(part, minlength=count)
    middles = vertices[triangles].mean(axis=1)
    middles = np.stack([np.bincount(part, column, count) for column in middles.T], axis=1)
    a, b, c = vertices[triangles.T] - (middles / np.maximum(number, 1)[:, None])[part]
    across = np.cross(b - a, c - a)
    area = np.bincount(part, np.linalg.norm(across, axis=1) / 2, count)
    volume = np.bincount(part, np.einsum("ni,ni->n", a, across) / 6, count)
    lids, ends = Rim.of(triangles).lids(vertices)
    open_area = np.bincount(of_vertex[ends], lids, count)
    has_inside = (open_area <= LID_SHARE * area) & (np.abs(volume) > FLAT * area**1.5)
    # Of as much either way, as of a copy and its mirror image, what faces outward stays.
    total = volume[has_inside]
    sign = -1.0 if total.sum() < -EVEN * np.abs(total).sum() else 1.0
    against = has_inside & (sign * volume < 0)
    if not against.any():
        return triangles, 0
    rows = np.flatnonzero(against[part])
    rest = WindingNumber.of(TriangleMesh(vertices, np.delete(triangles, rows, axis=0)))
    # Drawn, for at regular intervals one finds the same corner of what was subdivided.
    order = np.random.default_rng(0).permutation(rows)
    order = order[np.argsort(part[order], kind="stable")]
    rank = np.arange(len(order)) - np.searchsorted(part[order], part[order])
    some = order[rank < LOOKED_AT]
    within = sign * rest(vertices[triangles[some]].mean(axis=1)) > 0.5
    looked_at = np.maximum(np.bincount(part[some], minlength=count), 1)
    against &= np.bincount(part[some], within, count) < CAVITY * looked_at
    result = triangles.copy()
    result[against[part]] = result[against[part]][:, ::-1]
    return result, int(against.sum())


def _parts(triangles: Triangles, count: int) -> Rows:
    """To which of the parts that hang together each of so many vertices (V,) belongs."""
    ends = triangles[:, [0, 1]].T.reshape(-1), triangles[:, [1, 2]].T.reshape(-1)
    links = coo_array((np.ones(2 * len(triangles), np.int8), ends), shape=[count] * 2)
    part: Rows = connected_components(links, directed=False)[1].astype(np.intp)
    return part
