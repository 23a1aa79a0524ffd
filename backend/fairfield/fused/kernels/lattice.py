"""The coarse base on one block of points: linear interpolation on a dense lattice of values.

The arithmetic is that of `fairfield.fields.coarse_grid`.
"""

from __future__ import annotations

import numpy as np

from .options import LANES, Floats, inlined

_UNIT = np.float32(1)


@inlined
def interpolate_lattice(lattice: Floats, unit: Floats, values: Floats) -> None:
    """Values (BLOCK,) at unit coordinates (3, BLOCK), of a lattice (n, n, n) over the unit cube."""
    cells = np.int32(lattice.shape[0] - 1)
    scale = np.float32(cells)
    nodes = np.uint64(lattice.shape[0])
    flat = lattice.reshape(-1)
    for i in range(LANES):
        x, y, z = unit[0, i] * scale, unit[1, i] * scale, unit[2, i] * scale
        # The far face belongs to the last cell.
        cell_x = min(np.int32(x), cells - np.int32(1))
        cell_y = min(np.int32(y), cells - np.int32(1))
        cell_z = min(np.int32(z), cells - np.int32(1))
        x -= np.float32(cell_x)
        y -= np.float32(cell_y)
        z -= np.float32(cell_z)
        x0y0 = (np.uint64(cell_x) * nodes + np.uint64(cell_y)) * nodes + np.uint64(cell_z)
        x0y1 = x0y0 + nodes
        x1y0 = x0y0 + nodes * nodes
        x1y1 = x1y0 + nodes
        near = (_UNIT - y) * along_z(flat, x0y0, z) + y * along_z(flat, x0y1, z)
        far = (_UNIT - y) * along_z(flat, x1y0, z) + y * along_z(flat, x1y1, z)
        values[i] = (_UNIT - x) * near + x * far


@inlined
def along_z(flat: Floats, node: np.uint64, fraction: np.float32) -> np.float32:
    """Interpolate between a node of a flat lattice and the next one."""
    return (_UNIT - fraction) * flat[node] + fraction * flat[node + np.uint64(1)]
