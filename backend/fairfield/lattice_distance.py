"""Signed distances at every node of a lattice over the cube, with few exact queries.

A query far from a surface costs several times one nearby, since many triangles are about equally
far, and nobody looks there closely. So only every second node, and what may lie near the surface,
is asked for exactly; the others choose among the nearest points that their neighbours found.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from .distance import Array, NearestPoints, SignedDistance
from .progress import ProgressCallback, part, silent

STRIDE = 2
EXACT_CELLS = 2.0
"""Nodes nearer to the surface than so many cells are certain to be exact. It must exceed sqrt(3),
so that all corners of a cell with a piece of surface are."""

Lattice = NDArray[np.float64]


def lattice_distance(
    distance: SignedDistance, resolution: int, progress: ProgressCallback = silent
) -> NearestPoints:
    """Return nearest points and signed distances for the n^3 nodes of a lattice over [-1, 1]^3.

    The last axis changes fastest. Far from the surface a point is on the surface, but perhaps not
    the nearest one; the distance to it is never too small, and was at most a tenth too large on
    scans and models. The sign is right everywhere.
    """
    axis = np.linspace(-1, 1, resolution)
    cell = 2 / (resolution - 1)
    nodes = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    nearest = np.empty_like(nodes)
    values = np.empty(nodes.shape[:3])

    def ask(where: tuple[NDArray[np.intp], ...], progress: ProgressCallback) -> None:
        answer = distance.nearest(nodes[where].reshape(-1, 3), progress)
        nearest[where] = answer.nearest.reshape(nearest[where].shape)
        values[where] = answer.distance.reshape(values[where].shape)

    kept = np.append(np.arange(0, resolution - 1, STRIDE), resolution - 1)
    coarse = np.ix_(kept, kept, kept)
    ask(coarse, part(progress, 0.0, 0.6))

    is_coarse = np.zeros(values.shape, np.bool_)
    is_coarse[coarse] = True
    rest = np.argwhere(~is_coarse)
    low = np.searchsorted(kept, rest, side="right") - 1
    between = kept[low] < rest
    found = _Candidates(nodes[tuple(rest.T)])
    # No node is nearer to the surface than a neighbour's distance less the way there.
    at_least = np.zeros(len(rest))
    for corner in product((0, 1), repeat=3):
        rows = np.flatnonzero((between | (np.array(corner) == 0)).all(axis=1))
        node = tuple(kept[low[rows] + corner].T)
        way = np.sqrt(_squared_norm(nodes[node] - found.points[rows]))
        at_least[rows] = np.maximum(at_least[rows], np.abs(values[node]) - way)
        found.offer(rows, nearest[node])

    near = at_least < EXACT_CELLS * cell
    ask(tuple(rest[near].T), part(progress, 0.6, 0.95))

    far = np.flatnonzero(~near)
    nearest[tuple(rest[far].T)] = found.nearest[far]
    for offset in np.concatenate([np.eye(3, dtype=np.intp), -np.eye(3, dtype=np.intp)]):
        neighbour = (rest[far] + offset).clip(0, resolution - 1)
        found.offer(far, nearest[tuple(neighbour.T)])
    where = tuple(rest[far].T)
    nearest[where] = found.nearest[far]
    inside = distance.inside(found.points[far], part(progress, 0.95, 1.0))
    values[where] = np.where(inside, -1, 1) * np.sqrt(found.squared[far])
    return NearestPoints(nodes.reshape(-1, 3), nearest.reshape(-1, 3), values.reshape(-1))


class _Candidates:
    """The best of the surface points offered so far, for each of (N, 3) points."""

    def __init__(self, points: Array) -> None:
        self.points = points
        self.nearest = np.empty_like(points)
        self.squared = np.full(len(points), np.inf)

    def offer(self, rows: NDArray[np.intp], candidates: Array) -> None:
        """Take each of the (M, 3) candidates that is nearer, for the points of M rows."""
        squared = _squared_norm(candidates - self.points[rows])
        better = squared < self.squared[rows]
        self.squared[rows[better]] = squared[better]
        self.nearest[rows[better]] = candidates[better]


def _squared_norm(vectors: Array) -> Array:
    return np.einsum("ni,ni->n", vectors, vectors)
