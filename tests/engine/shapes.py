"""Shapes with exact truth, made here so that no test data is needed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def icosphere(radius: float = 1.0, subdivisions: int = 3) -> tuple[Array, NDArray[np.int64]]:
    """Vertices on a sphere around the origin, and outward triangles."""
    golden = (1 + np.sqrt(5)) / 2
    vertices = np.array(
        [
            [-1, golden, 0],
            [1, golden, 0],
            [-1, -golden, 0],
            [1, -golden, 0],
            [0, -1, golden],
            [0, 1, golden],
            [0, -1, -golden],
            [0, 1, -golden],
            [golden, 0, -1],
            [golden, 0, 1],
            [-golden, 0, -1],
            [-golden, 0, 1],
        ]
    )
    distance = np.linalg.norm(vertices[:, None] - vertices[None], axis=2)
    near = np.abs(distance - 2) < 1e-9
    triangles = np.array(
        [
            (a, b, c)
            for a in range(12)
            for b in range(a)
            for c in range(b)
            if near[a, b] and near[b, c] and near[a, c]
        ]
    )
    a, b, c = vertices[triangles.T]
    inward = np.einsum("ni,ni->n", np.cross(b - a, c - a), a) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    for _ in range(subdivisions):
        vertices, triangles = split(vertices, triangles)
    return radius * vertices / np.linalg.norm(vertices, axis=1, keepdims=True), triangles


def torus(
    major: float = 0.68, minor: float = 0.26, around: int = 96, across: int = 48
) -> tuple[Array, NDArray[np.int64], Array, Array]:
    """Vertices, outward triangles, exact normals, exact mean curvature."""
    u, v = np.meshgrid(
        np.arange(around) * 2 * np.pi / around,
        np.arange(across) * 2 * np.pi / across,
        indexing="ij",
    )
    u, v = u.ravel(), v.ravel()
    normals = np.stack([np.cos(u) * np.cos(v), np.sin(u) * np.cos(v), np.sin(v)], axis=1)
    ring = major * np.stack([np.cos(u), np.sin(u), 0 * u], axis=1)
    curvature = (1 / minor + np.cos(v) / (major + minor * np.cos(v))) / 2
    i, j = (index.ravel() for index in np.indices((around, across)))
    right, up = (i + 1) % around, (j + 1) % across
    a, b, c, d = i * across + j, right * across + j, right * across + up, i * across + up
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return ring + minor * normals, triangles, normals, curvature


def wavy_sphere(
    waves: float, height: float, subdivisions: int = 5
) -> tuple[Array, NDArray[np.int64], Array]:
    """Vertices, triangles and unit normals of a sphere of radius 1 with waves on it.

    Their length is 2 pi / `waves`.
    """
    directions, triangles = icosphere(subdivisions=subdivisions)
    phase = waves * directions + [0, 1, 2]
    factors, slopes = np.sin(phase), waves * np.cos(phase)
    radius = 1 + height * factors.prod(axis=1, keepdims=True)
    x, y, z = factors.T
    slope = height * slopes * np.stack([y * z, z * x, x * y], axis=1)
    slope -= (slope * directions).sum(axis=1, keepdims=True) * directions
    normals = directions - slope / radius
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return radius * directions, triangles, normals


def edges_not_shared_by_two(triangles: NDArray[np.integer]) -> int:
    """Zero for a closed manifold mesh."""
    corners = [triangles[:, list(pair)] for pair in (*pairwise((0, 1, 2)), (2, 0))]
    _, uses = np.unique(np.sort(np.concatenate(corners), axis=1), axis=0, return_counts=True)
    return int((uses != 2).sum())


def volume(vertices: Array, triangles: NDArray[np.integer]) -> float:
    """Signed volume; positive when the triangles face outward."""
    a, b, c = vertices[triangles.T]
    return float(np.einsum("ni,ni->n", a, np.cross(b, c)).sum() / 6)


def angles_in_degrees(first: Array, second: Array) -> Array:
    """Angle between rows of unit vectors."""
    return np.degrees(np.arccos(np.clip((first * second).sum(axis=1), -1, 1)))


def split(vertices: Array, triangles: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Each triangle into four."""
    edges = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    )
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    middle = vertices[unique].mean(axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True) / np.linalg.norm(vertices[0])
    ab, bc, ca = index.reshape(3, -1) + len(vertices)
    a, b, c = triangles.T
    corners = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return (
        np.concatenate([vertices, middle]),
        np.concatenate([np.stack(corner, axis=1) for corner in corners]),
    )
