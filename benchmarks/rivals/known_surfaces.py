"""The exact surfaces of the public shapes: the truth at any place, not only at a mesh's vertices.

A rival that moves the vertices or makes a new mesh is compared with the truth where its own surface
is. Formulas as in the test data's README; each surface is the zero set of a smooth function.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from skimage.measure import marching_cubes

Array = NDArray[np.float64]
Jet = tuple[Array, Array, Array]
"""Value (N,), gradient (N, 3) and Hessian (N, 3, 3) of the function."""

STEPS = 12
SAMPLES = 1 << 14
CELLS = 96


class KnownSurface:
    """The zero set of a function that is negative inside."""

    def __init__(self, jet: Callable[[Array], Jet]) -> None:
        self.jet = jet

    def closest(self, points: Array) -> Array:
        """The surface's nearest points (N, 3) to points (N, 3)."""
        _, nearest = self._tree.query(points)
        return self._settled(points, self.samples[nearest])

    def _settled(self, points: Array, foot: Array) -> Array:
        """Bring places near the surface to the surface's nearest points.

        Newton steps along the gradient, each after a step within the tangent plane towards the
        point in question, so that what is left is perpendicular.
        """
        for _ in range(STEPS):
            _, gradient, _ = self.jet(foot)
            normal = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
            there = points - foot
            foot = foot + there - (there * normal).sum(axis=1, keepdims=True) * normal
            value, gradient, _ = self.jet(foot)
            foot = foot - value[:, None] * gradient / (gradient**2).sum(axis=1, keepdims=True)
        return foot

    def distance(self, points: Array) -> Array:
        """Unsigned distance (N,) from points (N, 3)."""
        return np.linalg.norm(points - self.closest(points), axis=1)

    def truth(self, points: Array) -> tuple[Array, Array]:
        """Unit normals (N, 3) and mean curvature (N,) at the surface's nearest points."""
        _, gradient, hessian = self.jet(self.closest(points))
        square = (gradient**2).sum(axis=1)
        along = np.einsum("ni,nij,nj->n", gradient, hessian, gradient)
        trace = np.trace(hessian, axis1=1, axis2=2)
        curvature = (square * trace - along) / (2 * square**1.5)
        return gradient / np.sqrt(square)[:, None], curvature

    @cached_property
    def samples(self) -> Array:
        """Points (SAMPLES, 3) of the surface, nearly uniform and always the same."""
        axis = np.linspace(-1.05, 1.05, CELLS)
        lattice = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        value, _, _ = self.jet(lattice.reshape(-1, 3))
        vertices, triangles, _, _ = marching_cubes(value.reshape(lattice.shape[:3]), 0.0)
        vertices = axis[0] + vertices * (axis[1] - axis[0])
        points = surface_samples(vertices, triangles, SAMPLES)
        return self._settled(points, points)

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.samples)


def surface_samples(vertices: Array, triangles: NDArray, count: int) -> Array:
    """Points (count, 3) of a mesh, uniform over its area and always the same."""
    random = np.random.default_rng(0)
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = random.choice(len(triangles), count, p=area / area.sum())
    u, v = random.random((2, count, 1))
    outside = (u + v > 1).ravel()
    u[outside], v[outside] = 1 - u[outside], 1 - v[outside]
    return a[chosen] + u * (b[chosen] - a[chosen]) + v * (c[chosen] - a[chosen])


def _sphere(points: Array) -> Jet:
    hessian = np.broadcast_to(2 * np.eye(3), (len(points), 3, 3))
    return (points**2).sum(axis=1) - 0.8**2, 2 * points, hessian


def _torus(points: Array) -> Jet:
    major, minor = 0.68, 0.26
    across = np.maximum(np.hypot(points[:, 0], points[:, 1]), 1e-12)
    outward = np.zeros_like(points)
    outward[:, :2] = points[:, :2] / across[:, None]
    up = np.array([0.0, 0.0, 1.0])
    radial, height = across - major, points[:, 2]
    gradient = 2 * (radial[:, None] * outward + height[:, None] * up)
    straight = outward[:, :, None] * outward[:, None, :]
    around = np.diag([1.0, 1.0, 0.0]) - straight
    hessian = 2 * (straight + (radial / across)[:, None, None] * around + np.outer(up, up))
    return radial**2 + height**2 - minor**2, gradient, hessian


BALLS = np.array(
    [
        [0, 0, 0, 0.34],
        [0.42, 0.10, 0.08, 0.26],
        [-0.38, 0.22, -0.05, 0.28],
        [0.05, -0.45, 0.12, 0.24],
        [-0.10, 0.12, 0.46, 0.25],
        [0.18, 0.30, -0.42, 0.27],
    ]
)
"""Centre and width of each of the metaballs."""


def _metaballs(points: Array) -> Jet:
    total = np.zeros(len(points))
    slope = np.zeros((len(points), 3))
    bend = np.zeros((len(points), 3, 3))
    for *centre, width in BALLS:
        offset = points - centre
        share = np.exp(-(offset**2).sum(axis=1) / width**2)
        push = -2 / width**2 * offset
        total += share
        slope += share[:, None] * push
        each = push[:, :, None] * push[:, None, :] - 2 / width**2 * np.eye(3)
        bend += share[:, None, None] * each
    total = np.maximum(total, 1e-300)
    gradient = -slope / total[:, None]
    hessian = gradient[:, :, None] * gradient[:, None, :] - bend / total[:, None, None]
    return np.log(0.38) - np.log(total), gradient, hessian


KNOWN_SURFACES = {
    "sphere": KnownSurface(_sphere),
    "torus": KnownSurface(_torus),
    "metaballs": KnownSurface(_metaballs),
}
"""By the first part of a shape's name."""
