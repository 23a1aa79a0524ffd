"""Derivatives of a local polynomial instead of the field itself.

Chetan et al., "Accurate Differential Operators for Hybrid Neural Fields" (arXiv 2312.05984), fit a
polynomial to random samples around each query. Here the offsets are one fixed design u_j, so the
least-squares solution is one constant matrix W and the derivatives at x are W f(x + scale * u_j):
no solve per query, and the same answer every time. The design is point-symmetric, hence even terms
cannot leak into the gradient nor odd ones into the value and the Hessian. The fit is done in units
of the scale (centred, well conditioned); dividing by scale^order comes last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Evaluate = Callable[[Tensor], Tensor]
"""(N, d) points to (N,) values, or to (N, c) values of several channels."""


@dataclass(frozen=True, eq=False)
class Stencil:
    """A fixed design and the weights that turn its samples into derivatives.

    Attributes
    ----------
    offsets
        (k, d) in units of the scale; weighted standard deviation 1 per axis.
    value, gradient, hessian
        (k,), (d, k) and (d, d, k) weights, for a scale of 1.
    polynomial
        (m, k) weights for all coefficients, in the order of `monomial_exponents`.
    """

    offsets: NDArray[np.float64]
    value: NDArray[np.float64]
    gradient: NDArray[np.float64]
    hessian: NDArray[np.float64]
    polynomial: NDArray[np.float64]


@lru_cache
def two_shell_stencil(degree: int = 2, dimension: int = 3) -> Stencil:
    """Return the default design: two spheres, least squares of the given degree, 1 to 4.

    In space each sphere carries the 12 vertices of an icosahedron and the 20 of its dual
    dodecahedron, weighted so that sums over a sphere are exact integrals up to degree 9 (McLaren
    1963, weights 25/840 and 27/840); in the plane each circle carries 12 points. That makes the
    operator isotropic for every term that it can see. The radii have the ratio 2.2 / 1.2, which
    measured best on noisy fields. Degree 4 needs a third radius to tell r^2 from r^4: the centre.
    """
    sphere, weights = _icosahedral_sphere() if dimension == 3 else _regular_polygon(12)
    radii = np.array([1.2, 2.2])
    offsets = (radii[:, None, None] * sphere).reshape(-1, dimension)
    weights = np.tile(weights, len(radii)) / len(radii)
    if degree == 4:
        offsets = np.concatenate([offsets, np.zeros((1, dimension))])
        weights = np.append(weights, weights.mean())
        weights /= weights.sum()
    variance = (weights[:, None] * offsets**2).sum(axis=0).mean()
    return least_squares(offsets / np.sqrt(variance), weights, degree)


def polynomial_jet(
    evaluate: Evaluate, points: Tensor, scale: Tensor, stencil: Stencil
) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (N,), gradient (N, d) and Hessian (N, d, d) at (N, d) points.

    Of several channels the results have one more axis, of c, at the end. `scale` (N,) is the
    standard deviation per axis of the neighbourhood, in the points' units.
    """
    count, dimension = points.shape
    offsets = points.new_tensor(stencil.offsets)  # [k, d]
    neighbours = points[:, None, :] + scale[:, None, None] * offsets
    samples = in_float64(evaluate(neighbours.reshape(-1, dimension)))
    channels = samples.shape[1:]
    samples = samples.reshape(count, len(offsets), math.prod(channels))  # [N, k, c]
    # The mean carries no derivative; without it the sums below lose fewer digits.
    mean = samples.mean(dim=1, keepdim=True)
    samples = samples - mean
    length = in_float64(scale).reshape(-1, 1, 1)

    def weighted(weights: NDArray[np.float64]) -> Tensor:
        return torch.einsum("nkc,mk->nmc", samples, samples.new_tensor(weights))

    value = mean[:, 0] + weighted(stencil.value[None])[:, 0]
    gradient = weighted(stencil.gradient) / length
    hessian = weighted(stencil.hessian.reshape(dimension**2, -1)) / length**2
    return (
        value.reshape(count, *channels),
        gradient.reshape(count, dimension, *channels),
        hessian.reshape(count, dimension, dimension, *channels),
    )


def least_squares(
    offsets: NDArray[np.float64], weights: NDArray[np.float64], degree: int
) -> Stencil:
    """Weighted least squares of all monomials up to the degree, as a linear map of the samples."""
    count, dimension = offsets.shape
    exponents = monomial_exponents(dimension, degree)
    table = np.prod(offsets[:, None] ** exponents, axis=2)  # [k, monomials]
    root = np.sqrt(weights)[:, None]
    solution = np.linalg.pinv(root * table) * root.T  # [monomials, k]
    row = {tuple(exponent): solution[index] for index, exponent in enumerate(exponents)}
    nothing = np.zeros(count)
    unit = np.eye(dimension, dtype=int)

    def derivative(*axes: int) -> NDArray[np.float64]:
        exponent = tuple(unit[list(axes)].sum(axis=0))
        factor = 2.0 if len(set(axes)) < len(axes) else 1.0
        return factor * row.get(exponent, nothing)

    axes = range(dimension)
    return Stencil(
        offsets,
        row[(0,) * dimension],
        np.stack([derivative(axis) for axis in axes]),
        np.stack([[derivative(i, j) for j in axes] for i in axes]),
        solution,
    )


def monomial_exponents(dimension: int, degree: int) -> NDArray[np.int_]:
    """Return the exponents (m, d) of all monomials up to a total degree, in order of degree."""
    return np.array(
        [
            [axes.count(axis) for axis in range(dimension)]
            for order in range(degree + 1)
            for axes in combinations_with_replacement(range(dimension), order)
        ]
    )


def _icosahedral_sphere() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 32 unit vectors, antipodal in pairs, and their weights, which sum to 1."""
    golden = (1 + np.sqrt(5)) / 2
    cyclic = [np.roll(np.eye(3), shift, axis=1) for shift in range(3)]
    icosahedron = np.array([[0, a, b * golden] for a, b in product((-1, 1), repeat=2)])
    dodecahedron = np.array([[0, a / golden, b * golden] for a, b in product((-1, 1), repeat=2)])
    # The cube's corners belong to the dodecahedron; rolled the same way, both are dual.
    vertices = np.concatenate([icosahedron @ turn for turn in cyclic])
    dual = np.concatenate(
        [dodecahedron[:, [0, 2, 1]] @ turn for turn in cyclic]
        + [np.array(list(product((-1.0, 1.0), repeat=3)))]
    )
    points = np.concatenate([vertices, dual])
    weights = np.concatenate([np.full(12, 25 / 840), np.full(20, 27 / 840)])
    return points / np.linalg.norm(points, axis=1, keepdims=True), weights


def _regular_polygon(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors of the plane, antipodal in pairs, and their equal weights."""
    angles = 2 * np.pi / count * np.arange(count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1), np.full(count, 1 / count)


def in_float64(values: Tensor) -> Tensor:
    """In double precision, where they are or, as Apple's GPUs have none, on the CPU."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def as_scale(points: Tensor, scale: float) -> Tensor:
    """The same scale for every point, (N,)."""
    return torch.full_like(points[:, 0], scale)


def monomials(at: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """Return the (m, ...) monomials at (d, ...) places, in the order of `monomial_exponents`."""
    exponents = monomial_exponents(len(at), degree)
    table = np.ones((len(exponents), *at.shape[1:]))
    for index, exponent in enumerate(exponents):
        for axis, power in enumerate(exponent):
            for _ in range(power):
                table[index] *= at[axis]
    return table
