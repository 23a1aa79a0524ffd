"""The operations in use: vectorised, or plain numba where a check says so.

`FAIRFIELD_KERNELS=plain` selects plain numba, and so does a numba version or a processor for which
the vector instructions do not compile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from . import plain, vectorised
from .options import BLOCK, POINTS_PER_CALL, Floats, Indices, entry_point


@entry_point
def _probe(
    table: Floats,
    rows: Indices,
    weights: Floats,
    features: Floats,
    layer: Floats,
    outputs: Floats,
    lattice: Floats,
    axes: Floats,
) -> np.float32:
    vectorised.prefetch_row(table, np.uint64(3))
    vectorised.interpolate(table, np.uint64(1), rows, weights, np.uint64(0), features)
    vectorised.add_to_row(table, np.uint64(2), np.float32(0.5), np.float32(4), np.float32(8))
    vectorised.apply_layer(layer, layer[0], weights, outputs, True)
    one, row, plane = np.uint64(1), np.uint64(4), np.uint64(16)
    return vectorised.lattice_sum(lattice, one, row, plane, axes, one)


def _chosen() -> ModuleType:
    """Compile the vectorised operations and compare them with what they should give."""
    if os.environ.get("FAIRFIELD_KERNELS") == "plain":
        return plain
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    rows = np.full((8, BLOCK), 2, np.uint32)
    weights = np.full((8, BLOCK), 0.25, np.float32)
    features = np.zeros((2, BLOCK), np.float32)
    layer = np.arange(-16, 16, dtype=np.float32).reshape(4, 8)
    outputs = np.zeros((4, BLOCK), np.float32)
    lattice = np.arange(65, dtype=np.float32)
    axes = np.full((3, 4, BLOCK), 0.25, np.float32)
    try:
        total = _probe(table, rows, weights, features, layer, outputs, lattice, axes)
    except Exception:  # whatever numba or LLVM raises, the plain form is there
        return plain
    right = (
        total == 32.5
        and (features[:, :POINTS_PER_CALL] == [[12], [14]]).all()
        and (table[2] == [6, 9]).all()
        and (outputs == np.maximum(layer.sum(axis=1) / 4 + layer[0, :4], 0)[:, None]).all()
    )
    return vectorised if right else plain


_operations: Any = _chosen()
interpolate: Callable[..., None] = _operations.interpolate
lattice_sum: Callable[..., np.float32] = _operations.lattice_sum
add_to_row: Callable[..., None] = _operations.add_to_row
prefetch_row: Callable[..., None] = _operations.prefetch_row
apply_layer: Callable[..., None] = _operations.apply_layer
