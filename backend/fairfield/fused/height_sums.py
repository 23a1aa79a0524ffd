"""Heights of a mesh's vertices above disks, with the compiled kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..threads import run_shares, share_bounds
from .layout import MONOMIALS, CellArrays, Disks, HeightSums
from .loading import load_kernels

Array = NDArray[np.float64]

CELLS = 64
"""Along an axis of the cube."""


class VertexCells:
    """Vertices (V, 3) in the cube, and unit normals (V, 3) there, sorted into cells once."""

    def __init__(self, vertices: Array, normals: Array) -> None:
        side = 2 / CELLS
        place = np.clip(((vertices + 1) / side).astype(np.int64), 0, CELLS - 1)
        cell = (place[:, 0] * CELLS + place[:, 1]) * CELLS + place[:, 2]
        order = np.argsort(cell, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=CELLS**3))])
        self._cells = CellArrays(vertices[order], normals[order], start, CELLS, side)

    def height_sums(self, disks: Disks, ball: float, same_side: float, threads: int) -> HeightSums:
        """Return the sums that polynomials through the vertices above M disks are made of.

        Parameters
        ----------
        ball
            How far from the middle of a disk a vertex above it may be, in its radii.
        same_side
            Least cosine between the normals at the vertex and of the disk.
        threads
            At most so many. The sums do not depend on it, to the last bit.
        """
        kernels, count = load_kernels(), len(disks.radius)
        sums = HeightSums(
            np.empty((count, MONOMIALS, MONOMIALS)),
            np.empty((count, MONOMIALS)),
            np.empty(count),
            np.empty(count, np.int64),
        )
        disks = Disks(*(np.ascontiguousarray(each, np.float64) for each in disks))
        run_shares(
            threads,
            lambda share: kernels.add_heights(
                *share_bounds(share, threads, count), disks, ball, same_side, self._cells, sums
            ),
        )
        return sums
