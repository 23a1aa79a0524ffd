"""The hash grid on one block of points: where its corners are, interpolation, and its gradient.

The arithmetic is that of `fairfield.fields.hash_grid`. A corner's number has the x offset in its
lowest bit, then y, then z.
"""

from __future__ import annotations

import numpy as np

from ...fields.hash_grid import HASH_PRIMES
from ..layout import LevelArrays
from .operations import add_to_row, interpolate, prefetch_row
from .options import LANES, POINTS_PER_CALL, TWO, ZERO, Floats, Index, Indices, called, inlined

_STEP = np.uint64(POINTS_PER_CALL)
_CACHED_ROWS = 1 << 17  # a gradient of so many rows, 1 MiB, fits the second-level cache
_ROWS_PER_LINE = np.uint64(8)
_READ_AHEAD = np.uint64(32)  # rows for each point; with more of them most would be read in vain
_HALF = np.float32(0.5)
_UNIT = np.float32(1)
_PRIME_Y = np.uint32(HASH_PRIMES[1])
_PRIME_Z = np.uint32(HASH_PRIMES[2])


@called
def load_block(points: Floats, first: Index, count: Index, unit: Floats, taint: Floats) -> None:
    """Bring points first to first + count into the unit cube; pad the block with its centre.

    Parameters
    ----------
    points
        (N, 3) float32 in [-1, 1]; what lies outside is clamped.
    unit
        (3, BLOCK) float32; written, always within [0, 1].
    taint
        (BLOCK,) float32; written: 0, or NaN for a point that is not finite.
    """
    zero = np.float32(0)
    for i in range(ZERO, count):
        taint[i] = zero
    for axis in range(ZERO, np.uint64(3)):
        for i in range(ZERO, count):
            coordinate = points[first + i, axis]
            # The comparisons are written so that NaN becomes 0.
            position = coordinate * _HALF + _HALF
            position = position if position > zero else zero
            unit[axis, i] = position if position < _UNIT else _UNIT
            taint[i] += zero * coordinate
        for i in range(count, LANES):
            unit[axis, i] = _HALF
    for i in range(count, LANES):
        taint[i] = zero


@inlined
def grid_cell(coordinate: np.float32, scale: np.float32) -> tuple[np.uint32, np.float32]:
    """Return the cell (uint32) and the position within it (0 to 1) of a unit coordinate."""
    position = coordinate * scale + _HALF
    cell = np.int32(position)  # signed: the faster conversion on most processors
    return np.uint32(cell), position - np.float32(cell)


@inlined
def corner_weights(unit: Floats, scale: np.float32, weights: Floats) -> None:
    """Weights of linear interpolation, (8, BLOCK), for a block of unit coordinates, (3, BLOCK)."""
    for i in range(LANES):
        _, x = grid_cell(unit[0, i], scale)
        _, y = grid_cell(unit[1, i], scale)
        _, z = grid_cell(unit[2, i], scale)
        left = _UNIT - x
        y0z0 = (_UNIT - y) * (_UNIT - z)
        y1z0 = y * (_UNIT - z)
        y0z1 = (_UNIT - y) * z
        y1z1 = y * z
        weights[0, i] = left * y0z0
        weights[1, i] = x * y0z0
        weights[2, i] = left * y1z0
        weights[3, i] = x * y1z0
        weights[4, i] = left * y0z1
        weights[5, i] = x * y0z1
        weights[6, i] = left * y1z1
        weights[7, i] = x * y1z1


@inlined
def wrapped(index: np.uint32, size: np.uint32) -> np.uint32:
    """Return index modulo size for an index below 2 * size: below it, the difference is huge."""
    return min(np.uint32(index), np.uint32(np.uint32(index) - size))


@inlined
def dense_rows(
    unit: Floats, scale: np.float32, resolution: np.uint32, size: np.uint32, rows: Indices
) -> None:
    """Rows of the eight corners, (8, BLOCK) uint32, in a level that stores every vertex.

    The last cell reaches one vertex beyond the grid; as in the reference its index wraps around,
    and stays below 2 * size for every resolution of at least 2.
    """
    for i in range(LANES):
        x, _ = grid_cell(unit[0, i], scale)
        y, _ = grid_cell(unit[1, i], scale)
        z, _ = grid_cell(unit[2, i], scale)
        y0z0 = np.uint32(x + resolution * (y + resolution * z))
        y1z0 = np.uint32(y0z0 + resolution)
        y0z1 = np.uint32(y0z0 + resolution * resolution)
        y1z1 = np.uint32(y0z1 + resolution)
        one = np.uint32(1)
        rows[0, i] = wrapped(y0z0, size)
        rows[1, i] = wrapped(y0z0 + one, size)
        rows[2, i] = wrapped(y1z0, size)
        rows[3, i] = wrapped(y1z0 + one, size)
        rows[4, i] = wrapped(y0z1, size)
        rows[5, i] = wrapped(y0z1 + one, size)
        rows[6, i] = wrapped(y1z1, size)
        rows[7, i] = wrapped(y1z1 + one, size)


@inlined
def hashed_rows(unit: Floats, scale: np.float32, size: np.uint32, rows: Indices) -> None:
    """Rows of the eight corners, (8, BLOCK) uint32, in a hashed level; its size is a power of 2."""
    mask = np.uint32(size - np.uint32(1))
    for i in range(LANES):
        x, _ = grid_cell(unit[0, i], scale)
        y, _ = grid_cell(unit[1, i], scale)
        z, _ = grid_cell(unit[2, i], scale)
        x1 = np.uint32(x + np.uint32(1))
        y0 = np.uint32(y * _PRIME_Y)
        y1 = np.uint32(y0 + _PRIME_Y)
        z0 = np.uint32(z * _PRIME_Z)
        z1 = np.uint32(z0 + _PRIME_Z)
        rows[0, i] = (x ^ y0 ^ z0) & mask
        rows[1, i] = (x1 ^ y0 ^ z0) & mask
        rows[2, i] = (x ^ y1 ^ z0) & mask
        rows[3, i] = (x1 ^ y1 ^ z0) & mask
        rows[4, i] = (x ^ y0 ^ z1) & mask
        rows[5, i] = (x1 ^ y0 ^ z1) & mask
        rows[6, i] = (x ^ y1 ^ z1) & mask
        rows[7, i] = (x1 ^ y1 ^ z1) & mask


@inlined
def locate_corners(
    levels: LevelArrays, level: int, unit: Floats, rows: Indices, weights: Floats
) -> None:
    """Rows within the level, and weights, of the eight corners around each point of a block."""
    scale = levels.scale[level]
    size = levels.size[level]
    corner_weights(unit, scale, weights)
    if levels.dense[level]:
        dense_rows(unit, scale, levels.resolution[level], size, rows)
    else:
        hashed_rows(unit, scale, size, rows)


@called
def read_level(table: Floats, first_row: Index, last_row: Index) -> np.float32:
    """Read a level from end to end, once in each cache line; return a sum without meaning.

    Points ask for rows in no order. After a step the moments have driven the table out of the
    caches, and fetching its lines one by one from memory takes three times as long as reading them
    in order, which processors foresee. They do not foresee it from prefetch instructions.
    """
    total = np.float32(0)
    for row in range(first_row, last_row, _ROWS_PER_LINE):
        total += table[row, 0]
    return total


@called
def encode_level(
    levels: LevelArrays,
    level: int,
    table: Floats,
    unit: Floats,
    count: Index,
    rows: Indices,
    weights: Floats,
    unread: Floats,
    encoded: Floats,
) -> None:
    """Encode `count` blocks by one level, which so stays in the second-level cache.

    Parameters
    ----------
    unit
        (at least count, 3, BLOCK) unit coordinates.
    unread
        (1,) a place for what `read_level` returns: without it, LLVM would not read at all.
    encoded
        (at least count, at least 2 * levels, BLOCK) features; the level's are written.
    """
    offset = np.uint64(levels.offset[level])
    size = np.uint64(levels.size[level])
    if size <= _READ_AHEAD * LANES * count:
        unread[0] = read_level(table, offset, offset + size)
    for block in range(ZERO, count):
        locate_corners(levels, level, unit[block], rows, weights)
        features = encoded[block, 2 * level : 2 * level + 2]
        for start in range(ZERO, LANES, _STEP):
            interpolate(table, offset, rows, weights, start, features)


@called
def prefetch_rows(table: Floats, row_offset: Index, rows: Indices) -> None:
    """Prefetch the corners on the low side of x; their neighbours mostly share the cache line."""
    for corner in range(ZERO, np.uint64(8), TWO):
        for i in range(LANES):
            prefetch_row(table, row_offset + np.uint64(rows[corner, i]))


@inlined
def scatter_block(gradient: Floats, rows: Indices, weights: Floats, upstream: Floats) -> None:
    """Add a block's gradient to a level's: (size, 2) from (2, BLOCK), in a fixed order."""
    for i in range(LANES):
        first = upstream[0, i]
        second = upstream[1, i]
        for corner in range(ZERO, np.uint64(8)):
            row = np.uint64(rows[corner, i])
            add_to_row(gradient, row, weights[corner, i], first, second)


@called
def scatter_level(
    levels: LevelArrays,
    level: int,
    unit: Floats,
    upstream: Floats,
    rows: Indices,
    weights: Floats,
    gradient: Floats,
) -> None:
    """Add the gradient of all blocks to a level's, which the caller has cleared.

    Parameters
    ----------
    unit
        (blocks, 3, BLOCK) unit coordinates.
    upstream
        (levels, blocks, 2, BLOCK) gradient of the loss by the encoded points.
    gradient
        (at least the level's size, 2).
    """
    for block in range(unit.shape[0]):
        locate_corners(levels, level, unit[block], rows, weights)
        if levels.size[level] > _CACHED_ROWS:
            prefetch_rows(gradient, ZERO, rows)
        scatter_block(gradient, rows, weights, upstream[level, block])
