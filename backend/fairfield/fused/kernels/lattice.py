"""The coarse base on one block of points: cubic interpolation on a dense lattice of values.

The arithmetic is that of `fairfield.fields.coarse_grid`.
"""

from __future__ import annotations

import numpy as np

from ...fields.coarse_grid import SUPPORT
from .operations import lattice_sum
from .options import BLOCK, LANES, THREE, ZERO, Floats, Indices, called

_HALF = np.float32(0.5)
_UNIT = np.float32(1)
_TWICE = np.float32(2)
_TRIPLE = np.float32(3)
_FOURFOLD = np.float32(4)
_FIVEFOLD = np.float32(5)


@called
def interpolate_lattice(lattice: Floats, unit: Floats, values: Floats) -> None:
    """Values (BLOCK,) at unit coordinates (3, BLOCK), of a lattice (n, n, n) over the unit cube."""
    nodes = np.uint32(lattice.shape[0])
    flat = lattice.reshape(-1)
    first = np.empty((3, BLOCK), np.uint32)
    weights = np.empty((3, SUPPORT, BLOCK), np.float32)
    for axis in range(ZERO, THREE):
        place_on_axis(unit[axis], nodes, first[axis], weights[axis])
    row, plane = np.uint64(nodes), np.uint64(nodes * nodes)
    for i in range(LANES):
        corner = np.uint64((first[0, i] * nodes + first[1, i]) * nodes + first[2, i])
        values[i] = lattice_sum(flat, corner, row, plane, weights, i)


@called
def place_on_axis(unit: Floats, nodes: np.uint32, first: Indices, weights: Floats) -> None:
    """First node (BLOCK,) and weights (SUPPORT, BLOCK) along one axis."""
    scale = np.float32(nodes - np.uint32(1))
    last_cell = np.int32(nodes) - np.int32(2)
    zero = np.float32(0)
    for i in range(LANES):
        position = unit[i] * scale
        # The far face belongs to the last cell.
        cell = min(np.int32(position), last_cell)
        t = position - np.float32(cell)
        w0 = ((_TWICE - t) * t - _UNIT) * t * _HALF
        w1 = ((_TRIPLE * t - _FIVEFOLD) * t * t + _TWICE) * _HALF
        w2 = ((_FOURFOLD - _TRIPLE * t) * t + _UNIT) * t * _HALF
        w3 = (t - _UNIT) * t * t * _HALF
        start, end = cell == 0, cell == last_cell
        weights[0, i] = w1 + _TWICE * w0 if start else (zero if end else w0)
        weights[1, i] = w2 - w0 if start else (w0 if end else w1)
        weights[2, i] = w3 if start else (w1 - w3 if end else w2)
        weights[3, i] = zero if start else (w2 + _TWICE * w3 if end else w3)
        first[i] = np.uint32(
            min(max(cell - np.int32(1), np.int32(0)), np.int32(nodes) - np.int32(SUPPORT))
        )
