"""Signed distances at every node of a lattice over the cube, with few exact queries.

A query far from a surface costs several times one nearby, since many triangles are about equally
far, and nobody looks there closely. So only every second node, and what may lie near the surface,
is asked for exactly; the others choose among the nearest points that their neighbours found.
"""

from __future__ import annotations

from itertools import chain, combinations, product

import numpy as np
from numpy.typing import NDArray

from .distance import NearestPoints, SignedDistance
from .progress import ProgressCallback, part, silent
from .threads import run_shares, share_bounds, thread_count

EXACT_CELLS = 2.0
"""Nodes nearer to the surface than so many cells are certain to be exact. It must exceed sqrt(3),
so that all corners of a cell with a piece of surface are."""

Rows = NDArray[np.intp]


def lattice_distance(
    distance: SignedDistance, resolution: int, progress: ProgressCallback = silent
) -> NearestPoints:
    """Return nearest points and signed distances for the n^3 nodes of a lattice over [-1, 1]^3.

    The last axis changes fastest. Far from the surface a point is on the surface, but perhaps not
    the nearest one; the distance to it is never too small, and was at most a tenth too large on
    scans and models. The sign is right everywhere.
    """
    lattice = _Lattice(distance, resolution)
    index = np.arange(resolution)
    # Every second node along an axis, and the last one; the others lie between two of those.
    between = (index % 2 == 1) & (index < resolution - 1)
    between_axes = np.stack(np.meshgrid(between, between, between, indexing="ij")).reshape(3, -1)
    lattice.ask(np.flatnonzero(~between_axes.any(axis=0)), part(progress, 0.0, 0.6))

    # No node is nearer to the surface than a neighbour is, less the way there. All neighbours were
    # asked for already, so threads need not wait for each other.
    at_least = np.zeros(len(lattice.points))
    threads = thread_count()

    def choose_between(share: int) -> None:
        for axes in chain.from_iterable(combinations(range(3), count) for count in (1, 2, 3)):
            kind = np.array([[axis in axes] for axis in range(3)])
            rows = np.flatnonzero((between_axes == kind).all(axis=0))
            rows = rows[slice(*share_bounds(share, threads, len(rows)))]
            way = lattice.cell * len(axes) ** 0.5
            for signs in product((-1, 1), repeat=len(axes)):
                neighbours = rows + int(np.dot(signs, lattice.steps[list(axes)]))
                lattice.choose(rows, neighbours)
                known = np.abs(lattice.distance[neighbours]) - way
                at_least[rows] = np.maximum(at_least[rows], known)

    run_shares(threads, choose_between)
    between_any = between_axes.any(axis=0)
    near = between_any & (at_least < EXACT_CELLS * lattice.cell)
    lattice.ask(np.flatnonzero(near), part(progress, 0.6, 0.95))

    far = np.flatnonzero(between_any & ~near)
    for axis, sign in product(range(3), (-1, 1)):
        position = far // lattice.steps[axis] % resolution + sign
        rows = far[(position >= 0) & (position < resolution)]
        lattice.choose(rows, rows + sign * lattice.steps[axis])
    lattice.distance[far] = distance.signed(
        lattice.points[far], lattice.nearest[far], part(progress, 0.95, 1.0)
    )
    return NearestPoints(lattice.points, lattice.nearest, lattice.distance)


class _Lattice:
    """The nodes, and the best that is known from each: infinitely far until something is."""

    def __init__(self, exact: SignedDistance, resolution: int) -> None:
        axis = np.linspace(-1, 1, resolution)
        self._exact = exact
        self.cell = 2 / (resolution - 1)
        self.steps = np.array([resolution**2, resolution, 1])
        """From a node to the next along each axis."""
        self.points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        self.nearest = np.zeros_like(self.points)
        self.distance = np.full(len(self.points), np.inf)

    def ask(self, rows: Rows, progress: ProgressCallback) -> None:
        """Ask for the nearest point and signed distance of these nodes."""
        answer = self._exact.nearest(self.points[rows], progress)
        self.nearest[rows] = answer.nearest
        self.distance[rows] = answer.distance

    def choose(self, rows: Rows, neighbours: Rows) -> None:
        """Take the nearest points of neighbours (M,) where they are nearer to nodes (M,)."""
        # `take` gathers rows of three numbers several times as fast as an index does.
        candidates = self.nearest.take(neighbours, axis=0)
        difference = candidates - self.points.take(rows, axis=0)
        length = np.sqrt(np.einsum("ni,ni->n", difference, difference))
        better = length < self.distance[rows]
        self.nearest[rows[better]] = candidates[better]
        self.distance[rows[better]] = length[better]
