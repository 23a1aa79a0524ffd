"""The polynomial over a ball, from values on a lattice that all queries share.

Neighbourhoods of neighbouring queries overlap, so a stencil for each asks the field for nearly the
same values again and again. On a lattice they are asked for once. There the least-squares
polynomial is a convolution (Savitzky and Golay 1964; here in space, with Gaussian weights), the
same at every node, and a query takes the polynomial of the node nearest to it. Where queries are
many, as the vertices of an extracted mesh are, that leaves a few evaluations for each.

A lattice belongs to one scale; those of the queries are rounded to a ladder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .polynomial import Stencil, derivative_matrix, least_squares, monomial_exponents, monomials

Array = NDArray[np.float64]
Values = Callable[[NDArray[Any]], NDArray[np.float32]]
"""(N, 3) points to the field's values (N,)."""

DEGREE = 4
SPACING = 0.6
"""Of the nodes, in units of the scale."""
NODES_AROUND = 4
"""How many nodes away a neighbourhood ends: a ball of 257 nodes, of radius 2.4 scales."""
STEP = 2**0.25
"""Ratio of neighbouring scales that have lattices: queries' scales are at most 9 % off."""
SMALLEST_LATTICE_SCALE = 0.011
"""In units of the cube, which takes 300^3 nodes then. Finer ones would need about as many values
as a stencil for each query, and much memory."""
BLOCK = 8
"""Nodes along the side of a block; a block is evaluated as a whole or not at all."""
ROWS = 1 << 10
"""Blocks, nodes or queries that are worked on at a time."""

_TERMS = [len(monomial_exponents(3, degree)) for degree in (DEGREE, DEGREE - 1, DEGREE - 2)]


def nearest_lattice_scale(scale: Array) -> Array:
    """Return those scales (N,), in units of the cube, that have lattices and are nearest."""
    steps = np.rint(np.log(scale / SMALLEST_LATTICE_SCALE) / np.log(STEP))
    return SMALLEST_LATTICE_SCALE * STEP ** np.maximum(steps, 0)


def lattice_jet(values: Values, points: Array, scale: float) -> tuple[Array, Array, Array]:
    """Return value (N,), gradient (N, 3) and Hessian (N, 3, 3) at (N, 3) points, N > 0.

    `scale` is the standard deviation per axis of the neighbourhood, in the points' units. The
    lattice covers the points' bounding box.
    """
    cell = SPACING * scale
    index = np.rint(points / cell).astype(np.int64)
    offset = (points - index * cell) / scale
    first = index.min(axis=0) - NODES_AROUND
    index -= first
    shape = index.max(axis=0) + NODES_AROUND + 1
    flat, owner = np.unique(np.ravel_multi_index(tuple(index.T), shape), return_inverse=True)
    nodes = np.stack(np.unravel_index(flat, shape), axis=1)
    lattice = _filled_around(nodes, shape, lambda at: values((at + first) * cell))
    middle, polynomials = _polynomials(lattice, nodes)
    parts = np.concatenate(
        [_values_at(polynomials[owner[rows]], offset[rows]) for rows in _in_rows(len(points))]
    )
    value, gradient, hessian = np.split(parts, [1, 4], axis=1)
    full = hessian[:, [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]
    return middle[owner] + value[:, 0], gradient / scale, full / scale**2


@lru_cache
def lattice_stencil() -> Stencil:
    """Return the same design about a query that is a node itself."""
    offsets = (SPACING * _neighbourhood()).astype(np.float64)
    return least_squares(offsets, np.exp(-(offsets**2).sum(axis=1) / 2), DEGREE)


def _filled_around(
    nodes: NDArray[np.int64], shape: NDArray[np.int64], values: Values
) -> NDArray[np.float32]:
    """A lattice with values in all blocks that the neighbourhoods of (M, 3) nodes touch."""
    size = -(-shape // BLOCK)
    wanted = np.zeros(size, bool)
    corners = np.stack(np.meshgrid(*[[-NODES_AROUND, NODES_AROUND]] * 3), axis=-1)
    for corner in corners.reshape(-1, 3):
        wanted[tuple(((nodes + corner) // BLOCK).T)] = True
    lattice = np.zeros(size * BLOCK, np.float32)
    inner = np.stack(np.meshgrid(*[np.arange(BLOCK)] * 3, indexing="ij"), axis=-1)
    blocks = np.argwhere(wanted)
    for rows in _in_rows(len(blocks)):
        where = (blocks[rows, None] * BLOCK + inner.reshape(-1, 3)).reshape(-1, 3)
        lattice[tuple(where.T)] = values(where)
    return lattice


def _polynomials(lattice: NDArray[np.float32], nodes: NDArray[np.int64]) -> tuple[Array, Array]:
    """Values (M,) at M nodes, and the polynomials (M, 155) about them, see `_least_squares`.

    The values in the middle are taken off before: so the sums lose fewer digits.
    """
    strides = np.array(lattice.strides) // lattice.itemsize
    window = _neighbourhood() @ strides
    node = nodes @ strides
    middle = lattice.reshape(-1)[node].astype(np.float64)
    solution = _least_squares()
    around = [
        (lattice.reshape(-1)[node[rows, None] + window] - middle[rows, None]) @ solution
        for rows in _in_rows(len(node))
    ]
    return middle, np.concatenate(around)


@lru_cache
def _least_squares() -> Array:
    """The matrix (257, 155) from a neighbourhood's values to the polynomial and its derivatives.

    The columns are the coefficients of the polynomial, of its 3 first and of its 6 second
    derivatives, which are polynomials of a degree less each time.
    """
    places = SPACING * _neighbourhood()
    exponents = monomial_exponents(3, DEGREE)
    root = np.exp(-(places**2).sum(axis=1, keepdims=True) / 4)
    table = np.prod(places[:, None] ** exponents, axis=2)
    fit = root * np.linalg.pinv(root * table).T
    return fit @ derivative_matrix(3, DEGREE)


def _values_at(polynomials: Array, at: Array) -> Array:
    """Value, gradient and half of the Hessian, (N, 10), of polynomials (N, 155) at (N, 3)."""
    table = monomials(at.T, DEGREE)
    ends = np.cumsum(np.repeat(_TERMS, [1, 3, 6]))
    return np.stack(
        [
            np.einsum("nm,mn->n", polynomials[:, end - terms : end], table[:terms])
            for end, terms in zip(ends, np.repeat(_TERMS, [1, 3, 6]), strict=True)
        ],
        axis=1,
    )


@lru_cache
def _neighbourhood() -> NDArray[np.int64]:
    """(257, 3) the nodes around one, and itself."""
    along = np.arange(-NODES_AROUND, NODES_AROUND + 1)
    ball = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3)
    return ball[(ball**2).sum(axis=1) <= NODES_AROUND**2]


def _in_rows(count: int) -> list[slice]:
    return [slice(start, start + ROWS) for start in range(0, count, ROWS)]
