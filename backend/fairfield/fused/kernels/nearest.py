"""The nearest points of a mesh: a wide tree of boxes over its triangles, in double precision.

Nothing here branches on what a triangle or a box is like: sixteen of them are measured at once, in
vector instructions. That is also why a leaf holds so many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .options import Doubles, called, entry_point

WIDTH = 16
"""Triangles of a leaf, and children of a node; fewer, and LLVM does not vectorise the loops."""
TRIANGLE = 13
"""Numbers kept of a triangle: a corner, the edges b and c from it, and one over each of |b|^2,
|c|^2, |c - b|^2 and |b|^2 |c|^2 - (b c)^2."""
DEPTH = 8
"""Levels of nodes, at most: enough for as many triangles as an int32 can count."""
A_LITTLE_LESS = 1 - 1e-15
"""Of the distance to a box, so that rounding never hides a triangle in it."""

_LANES = np.uint64(WIDTH)
_ZERO = np.uint64(0)
_NOTHING = -1


@entry_point
def fill_leaves(
    vertices: Doubles, triangles: NDArray[np.int32], order: NDArray[np.intp], leaves: Doubles
) -> None:
    """Write the triangles in this order to (leaves, TRIANGLE, WIDTH); the last one fills up."""
    last = len(order) - 1
    for place in range(leaves.shape[0] * WIDTH):
        leaf, lane = place // WIDTH, place % WIDTH
        corners = triangles[order[min(place, last)]]
        bb = cc = bc = gg = 0.0
        for axis in range(3):
            start = vertices[corners[0], axis]
            b, c = vertices[corners[1], axis] - start, vertices[corners[2], axis] - start
            leaves[leaf, axis, lane] = start
            leaves[leaf, 3 + axis, lane] = b
            leaves[leaf, 6 + axis, lane] = c
            bb += b * b
            cc += c * c
            bc += b * c
            gg += (c - b) * (c - b)
        leaves[leaf, 9, lane] = 1 / bb
        leaves[leaf, 10, lane] = 1 / cc
        leaves[leaf, 11, lane] = 1 / gg
        leaves[leaf, 12, lane] = 1 / (bb * cc - bc * bc)


@entry_point
def nearest_points(
    first: int,
    last: int,
    points: Doubles,
    leaves: Doubles,
    boxes: Doubles,
    first_child: NDArray[np.intp],
    nearest: Doubles,
) -> None:
    """Write the nearest points of the surface, (N, 3), for a range of points, (N, 3).

    Fast if points that follow each other are near each other; but for rounding, the answers do not
    depend on it.

    Parameters
    ----------
    leaves
        (leaves, TRIANGLE, WIDTH), as `fill_leaves` makes them: the first nodes.
    boxes
        (inner nodes, 6, WIDTH) least and greatest coordinates of each child; the root is the last.
    first_child
        (inner nodes,) number of the node that is a node's first child; the others follow it.
    nearest
        Written; NaN for a point that is not finite, or too far away to be measured.
    """
    leaf_count = leaves.shape[0]
    squares = np.empty(WIDTH)
    waiting = np.empty(WIDTH * DEPTH, np.intp)
    least = np.empty(len(waiting))
    leaf, lane = _NOTHING, 0
    for query in range(first, last):
        x, y, z = points[query, 0], points[query, 1], points[query, 2]
        if not abs(x) + abs(y) + abs(z) < np.inf:
            nearest[query] = np.nan
            continue
        best = np.inf
        if leaf != _NOTHING:  # where the last query ended, this one probably will
            squared_distances(leaves[leaf], x, y, z, squares)
            lane = int(squares.argmin())
            best = squares[lane]
        waiting[0], least[0] = leaf_count + len(first_child) - 1, 0.0
        count = 1
        while count > 0:
            count -= 1
            node = waiting[count]
            if least[count] >= best:
                continue
            if node < leaf_count:
                squared_distances(leaves[node], x, y, z, squares)
                for k in range(WIDTH):
                    # The first one of several: not the one that happens to be found first.
                    if squares[k] < best or (squares[k] == best and node < leaf):
                        best, leaf, lane = squares[k], node, k
                continue
            inner = node - leaf_count
            squared_distances_of_boxes(boxes[inner], x, y, z, squares)
            bottom = count
            for k in range(WIDTH):
                if squares[k] < best:
                    # The nearest child is to be on top.
                    at = count
                    while at > bottom and least[at - 1] < squares[k]:
                        waiting[at], least[at] = waiting[at - 1], least[at - 1]
                        at -= 1
                    waiting[at], least[at] = first_child[inner] + k, squares[k]
                    count += 1
        if not best < np.inf:  # so far away that squares overflow
            nearest[query] = np.nan
            continue
        nearest_on_triangle(leaves[leaf, :, lane], x, y, z, nearest[query])


@called
def clamped(share: float) -> float:
    """Return the share within 0 to 1; NaN, from an edge too short to be squared, becomes 0."""
    share = share if share > 0.0 else 0.0
    return share if share < 1.0 else 1.0


@called
def squared_distances(leaf: Doubles, x: float, y: float, z: float, squares: Doubles) -> None:
    """Squared distances, (WIDTH,), to the triangles of a leaf, (TRIANGLE, WIDTH).

    The least of those to the edges and, where the point is above the triangle, to its plane.
    """
    for k in range(_ZERO, _LANES):
        px, py, pz = x - leaf[0, k], y - leaf[1, k], z - leaf[2, k]
        bx, by, bz = leaf[3, k], leaf[4, k], leaf[5, k]
        cx, cy, cz = leaf[6, k], leaf[7, k], leaf[8, k]
        bb, cc = bx * bx + by * by + bz * bz, cx * cx + cy * cy + cz * cz
        bc = bx * cx + by * cy + bz * cz
        pb, pc = px * bx + py * by + pz * bz, px * cx + py * cy + pz * cz

        along = clamped(pb * leaf[9, k])
        dx, dy, dz = px - along * bx, py - along * by, pz - along * bz
        edges = dx * dx + dy * dy + dz * dz

        along = clamped(pc * leaf[10, k])
        dx, dy, dz = px - along * cx, py - along * cy, pz - along * cz
        square = dx * dx + dy * dy + dz * dz
        edges = edges if edges < square else square

        gx, gy, gz = cx - bx, cy - by, cz - bz
        qx, qy, qz = px - bx, py - by, pz - bz
        along = clamped((qx * gx + qy * gy + qz * gz) * leaf[11, k])
        dx, dy, dz = qx - along * gx, qy - along * gy, qz - along * gz
        square = dx * dx + dy * dy + dz * dz
        edges = edges if edges < square else square

        v, w = (cc * pb - bc * pc) * leaf[12, k], (bb * pc - bc * pb) * leaf[12, k]
        dx, dy, dz = px - v * bx - w * cx, py - v * by - w * cy, pz - v * bz - w * cz
        square = dx * dx + dy * dy + dz * dz
        u = 1.0 - v - w
        inside = v if v < w else w
        inside = inside if inside < u else u
        square = square if inside >= 0.0 else edges
        squares[k] = edges if edges < square else square


@called
def squared_distances_of_boxes(
    boxes: Doubles, x: float, y: float, z: float, squares: Doubles
) -> None:
    """Squared distances, (WIDTH,), to a node's children, (6, WIDTH), or a little less."""
    for k in range(_ZERO, _LANES):
        dx = larger(larger(boxes[0, k] - x, x - boxes[3, k]), 0.0)
        dy = larger(larger(boxes[1, k] - y, y - boxes[4, k]), 0.0)
        dz = larger(larger(boxes[2, k] - z, z - boxes[5, k]), 0.0)
        squares[k] = (dx * dx + dy * dy + dz * dz) * A_LITTLE_LESS


@called
def larger(first: float, second: float) -> float:
    """Return the larger one, in a form that vectorises."""
    return first if first > second else second


@called
def nearest_on_triangle(triangle: Doubles, x: float, y: float, z: float, nearest: Doubles) -> None:
    """Write the nearest point, (3,), of one triangle, (TRIANGLE,): of those that are considered
    in `squared_distances` the nearest one."""
    p = (x - triangle[0], y - triangle[1], z - triangle[2])
    b = (triangle[3], triangle[4], triangle[5])
    c = (triangle[6], triangle[7], triangle[8])
    bb, cc, bc = dot(b, b), dot(c, c), dot(b, c)
    pb, pc = dot(p, b), dot(p, c)
    along_b, along_c = clamped(pb * triangle[9]), clamped(pc * triangle[10])
    across = clamped((pc - pb - bc + bb) * triangle[11])
    v, w = (cc * pb - bc * pc) * triangle[12], (bb * pc - bc * pb) * triangle[12]
    best = np.inf
    for share_b, share_c in (
        (along_b, 0.0),
        (0.0, along_c),
        (1.0 - across, across),
        (v, w),
    ):
        if share_b >= 0.0 and share_c >= 0.0 and share_b + share_c <= 1.0 + 1e-12:
            dx = p[0] - share_b * b[0] - share_c * c[0]
            dy = p[1] - share_b * b[1] - share_c * c[1]
            dz = p[2] - share_b * b[2] - share_c * c[2]
            square = dx * dx + dy * dy + dz * dz
            if square < best:
                best = square
                nearest[0], nearest[1], nearest[2] = x - dx, y - dy, z - dz


@called
def dot(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """Scalar product."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
