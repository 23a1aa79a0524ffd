"""The operations at the heart of the kernels, in plain numba; `vectorised` must give the same."""

from __future__ import annotations

import numpy as np

from .options import (
    FOUR,
    LANES,
    ONE,
    POINTS_PER_CALL,
    THREE,
    TWO,
    ZERO,
    Floats,
    Index,
    Indices,
    called,
)

_STEP = np.uint64(POINTS_PER_CALL)
_CORNERS = np.uint64(8)


@called
def interpolate(
    table: Floats, row_offset: Index, rows: Indices, weights: Floats, start: Index, features: Floats
) -> None:
    """Interpolate both features of one level at `POINTS_PER_CALL` points.

    features[f, start + p] = sum over corners c of
    weights[c, start + p] * table[row_offset + rows[c, start + p], f].

    Parameters
    ----------
    table
        (rows, 2) float32.
    row_offset
        First row of the level, uint64.
    rows, weights
        (8, BLOCK) uint32 and float32.
    start
        First of the points, uint64.
    features
        (2, BLOCK) float32; written.
    """
    for point in range(start, start + _STEP):
        first = np.float32(0)
        second = np.float32(0)
        for corner in range(ZERO, _CORNERS):
            row = row_offset + np.uint64(rows[corner, point])
            weight = weights[corner, point]
            first += weight * table[row, 0]
            second += weight * table[row, 1]
        features[0, point] = first
        features[1, point] = second


@called
def add_to_row(
    table: Floats, row: Index, weight: np.float32, first: np.float32, second: np.float32
) -> None:
    """Add weight * (first, second) to a row of a (rows, 2) float32 table; `row` is uint64."""
    table[row, 0] += weight * first
    table[row, 1] += weight * second


@called
def prefetch_row(table: Floats, row: Index) -> None:
    """Announce that a row, uint64, of a (rows, 2) float32 table is needed soon: here, nothing."""


@called
def lattice_sum(
    lattice: Floats, corner: Index, row: Index, plane: Index, weights: Floats, point: Index
) -> np.float32:
    """Weighted sum over the 4^3 nodes of a lattice around one point.

    Parameters
    ----------
    lattice
        Flat float32.
    corner, row, plane
        First node, and from a node to the next along the second and the first axis, uint64.
    weights
        (3, 4, BLOCK) float32, for each axis.
    """
    total0 = total1 = total2 = total3 = np.float32(0)
    for a in range(ZERO, FOUR):
        for b in range(ZERO, FOUR):
            weight = weights[0, a, point] * weights[1, b, point]
            node = corner + a * plane + b * row
            total0 += weight * lattice[node]
            total1 += weight * lattice[node + ONE]
            total2 += weight * lattice[node + TWO]
            total3 += weight * lattice[node + THREE]
    return (
        weights[2, 0, point] * total0
        + weights[2, 1, point] * total1
        + weights[2, 2, point] * total2
        + weights[2, 3, point] * total3
    )


@called
def apply_layer(
    weight: Floats, bias: Floats, inputs: Floats, outputs: Floats, rectify: bool
) -> None:
    """outputs = weight @ inputs + bias, then ReLU if `rectify`.

    weight (J, K) in any layout, bias (J,), inputs (K, BLOCK), outputs (J, BLOCK).
    """
    zero = np.float32(0)
    for j in range(ZERO, np.uint64(weight.shape[0]), FOUR):
        j1, j2, j3 = j + ONE, j + TWO, j + THREE
        for i in range(LANES):
            outputs[j, i] = bias[j]
            outputs[j1, i] = bias[j1]
            outputs[j2, i] = bias[j2]
            outputs[j3, i] = bias[j3]
        for k in range(ZERO, np.uint64(weight.shape[1]), FOUR):
            k1, k2, k3 = k + ONE, k + TWO, k + THREE
            w00, w01, w02, w03 = weight[j, k], weight[j, k1], weight[j, k2], weight[j, k3]
            w10, w11, w12, w13 = weight[j1, k], weight[j1, k1], weight[j1, k2], weight[j1, k3]
            w20, w21, w22, w23 = weight[j2, k], weight[j2, k1], weight[j2, k2], weight[j2, k3]
            w30, w31, w32, w33 = weight[j3, k], weight[j3, k1], weight[j3, k2], weight[j3, k3]
            for i in range(LANES):
                x0, x1, x2, x3 = inputs[k, i], inputs[k1, i], inputs[k2, i], inputs[k3, i]
                outputs[j, i] += w00 * x0 + w01 * x1 + w02 * x2 + w03 * x3
                outputs[j1, i] += w10 * x0 + w11 * x1 + w12 * x2 + w13 * x3
                outputs[j2, i] += w20 * x0 + w21 * x1 + w22 * x2 + w23 * x3
                outputs[j3, i] += w30 * x0 + w31 * x1 + w32 * x2 + w33 * x3
        if rectify:
            for row in range(j, j + FOUR):
                for i in range(LANES):
                    value = outputs[row, i]
                    outputs[row, i] = zero if value < zero else value  # NaN stays NaN
