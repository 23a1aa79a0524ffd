"""Sums over the vertices above disks, for polynomials through them; in double precision.

See `fairfield.operators.height_polynomials`.
"""

from __future__ import annotations

import numpy as np

from ..layout import MONOMIALS, CellArrays, Disks, HeightSums
from .options import Doubles, called, entry_point

_PADDED = MONOMIALS + 1  # whole SIMD registers


@entry_point
def add_heights(
    first: int,
    last: int,
    disks: Disks,
    ball: float,
    same_side: float,
    cells: CellArrays,
    sums: HeightSums,
) -> None:
    """Write the sums for a range of disks.

    Parameters
    ----------
    ball
        How far from the middle of a disk a vertex above it may be, in its radii.
    same_side
        Least cosine between the normals at the vertex and of the disk.
    """
    lowest, highest = np.empty(3, np.int64), np.empty(3, np.int64)
    powers, gram, moments = np.zeros(_PADDED), np.empty((MONOMIALS, _PADDED)), np.empty(_PADDED)
    for disk in range(first, last):
        gram[:] = 0.0
        moments[:] = 0.0
        square, members = 0.0, 0
        radius = disks.radius[disk]
        reach = ball * radius
        for axis in range(3):
            middle = disks.middle[disk, axis]
            lowest[axis] = cell_at(middle - reach, cells)
            highest[axis] = cell_at(middle + reach, cells)
        for i in range(lowest[0], highest[0] + 1):
            for j in range(lowest[1], highest[1] + 1):
                row = (i * cells.along + j) * cells.along
                for v in range(cells.start[row + lowest[2]], cells.start[row + highest[2] + 1]):
                    if not is_member(disk, disks, reach, same_side, v, cells):
                        continue
                    x, y, height = above_disk(disk, disks, v, cells)
                    if not x * x + y * y < 1:
                        continue
                    members += 1
                    square += height * height
                    fill_powers(x, y, powers)
                    for k in range(MONOMIALS):
                        for m in range(_PADDED):
                            gram[k, m] += powers[k] * powers[m]
                    for k in range(_PADDED):
                        moments[k] += height * powers[k]
        sums.gram[disk] = gram[:, :MONOMIALS]
        sums.moments[disk] = moments[:MONOMIALS]
        sums.square[disk], sums.members[disk] = square, members


@called
def cell_at(coordinate: float, cells: CellArrays) -> int:
    """Return the place of a coordinate's cell along an axis."""
    return min(max(int((coordinate + 1) / cells.side), 0), cells.along - 1)


@called
def is_member(
    disk: int, disks: Disks, reach: float, same_side: float, vertex: int, cells: CellArrays
) -> bool:
    """Return whether a vertex is near enough, and on the disk's side of the surface."""
    distance = cosine = 0.0
    for axis in range(3):
        distance += (cells.vertices[vertex, axis] - disks.middle[disk, axis]) ** 2
        cosine += cells.normals[vertex, axis] * disks.frame[disk, 2, axis]
    return distance < reach * reach and cosine > same_side


@called
def above_disk(
    disk: int, disks: Disks, vertex: int, cells: CellArrays
) -> tuple[float, float, float]:
    """Return where a vertex is above a disk, and its straightened height, in radii."""
    x = y = z = 0.0
    frame = disks.frame[disk]
    for axis in range(3):
        away = (cells.vertices[vertex, axis] - disks.middle[disk, axis]) / disks.radius[disk]
        x += away * frame[0, axis]
        y += away * frame[1, axis]
        z += away * frame[2, axis]
    bend = disks.bend[disk]
    towards = bend[0, 0] * x * x + 2 * bend[0, 1] * x * y + bend[1, 1] * y * y
    return x, y, z - towards / max(x * x + y * y, 1e-12) * z * z / 2


@called
def fill_powers(x: float, y: float, powers: Doubles) -> None:
    """Write the monomials up to degree four, in the order of `polynomial.monomial_exponents`."""
    powers[0] = 1.0
    powers[1], powers[2] = x, y
    powers[3], powers[4], powers[5] = x * x, x * y, y * y
    for k in range(3):
        powers[6 + k] = x * powers[3 + k]
    powers[9] = y * powers[5]
    for k in range(4):
        powers[10 + k] = x * powers[6 + k]
    powers[14] = y * powers[9]
