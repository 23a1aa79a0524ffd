"""Rivals that work on the mesh's own vertices, without any network and without other programs."""

from __future__ import annotations

from collections.abc import Callable

import fairfield
import igl
import numpy as np
import trimesh
from judging import Answer, asked_vertices
from known_surfaces import Array
from numpy.typing import NDArray
from scipy.spatial import KDTree

ROWS_AT_ONCE = 1000


def angle_weighted_normals(mesh: fairfield.TriangleMesh) -> Array:
    """Normals (V, 3) of the vertices, those of the faces weighted by the angle at the vertex."""
    return igl.per_vertex_normals(
        mesh.vertices,
        mesh.triangles.astype(np.int64),
        igl.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE,
    )


def taubin(mesh: fairfield.TriangleMesh, rounds: float) -> Answer:
    """Taubin's smoothing without shrinking (Taubin 1995)."""
    smoothed = trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False)
    trimesh.smoothing.filter_taubin(smoothed, iterations=int(rounds))
    surface = fairfield.TriangleMesh(np.array(smoothed.vertices), mesh.triangles)
    return Answer(surface=surface, surface_normals=angle_weighted_normals(surface), moved=True)


def libigl_quadric(mesh: fairfield.TriangleMesh, ring: float) -> Answer:
    """libigl's quadric fit over a ring of neighbours (Panozzo et al. 2010)."""
    result = igl.principal_curvature(
        np.asfortranarray(mesh.vertices),
        np.asfortranarray(mesh.triangles.astype(np.int64)),
        int(ring),
        True,
    )
    return Answer(curvature=(np.ravel(result[2]) + np.ravel(result[3])) / 2)


def jet(degree: int) -> Callable[[fairfield.TriangleMesh, float], Answer]:
    """A polynomial height field through the nearest vertices (Cazals and Pouget 2005).

    Fitted at the vertices that are asked; the others are not a number.
    """

    def fit_jets(mesh: fairfield.TriangleMesh, neighbours: float) -> Answer:
        vertices = mesh.vertices
        outward = angle_weighted_normals(mesh)
        tree = KDTree(vertices)
        normals = np.full_like(vertices, np.nan)
        curvature = np.full(len(vertices), np.nan)
        asked = asked_vertices(len(vertices))
        for start in range(0, len(asked), ROWS_AT_ONCE):
            rows = asked[start : start + ROWS_AT_ONCE]
            _, near = tree.query(vertices[rows], int(neighbours))
            normals[rows], curvature[rows] = _jets(vertices, near, outward[near], rows, degree)
        return Answer(normals=normals, curvature=curvature)

    return fit_jets


def _jets(
    vertices: Array,
    near: NDArray[np.intp],
    outward: Array,
    rows: NDArray[np.intp],
    degree: int,
) -> tuple[Array, Array]:
    offsets = vertices[near] - vertices[rows][:, None]
    centred = offsets - offsets.mean(axis=1, keepdims=True)
    _, frames = np.linalg.eigh(np.einsum("nki,nkj->nij", centred, centred))
    up = frames[:, :, 0]
    # The sign that most of the neighbours agree on.
    up = up * np.sign(np.einsum("ni,nki->n", up, outward))[:, None]
    local = np.stack(
        [np.einsum("nki,ni->nk", offsets, axis) for axis in (frames[:, :, 1], frames[:, :, 2], up)],
        -1,
    )
    size = np.abs(local[..., :2]).max(axis=(1, 2))[:, None, None]
    x, y, z = np.moveaxis(local / size, -1, 0)
    powers = [(o - i, i) for o in range(degree + 1) for i in range(o + 1)]
    monomials = np.stack([x**a * y**b for a, b in powers], axis=-1)
    # Least squares by an orthogonal basis: a tenth of a pseudo-inverse's time.
    basis, triangle = np.linalg.qr(monomials)
    triangle = triangle + 1e-12 * np.eye(len(powers))
    solution = np.linalg.solve(triangle, np.swapaxes(basis, 1, 2) @ z[..., None])[..., 0]
    at = {power: solution[:, index] for index, power in enumerate(powers)}
    fx, fy = at[1, 0], at[0, 1]
    fxx, fxy, fyy = 2 * at[2, 0], at[1, 1], 2 * at[0, 2]
    root = np.sqrt(1 + fx**2 + fy**2)
    bend = (1 + fy**2) * fxx - 2 * fx * fy * fxy + (1 + fx**2) * fyy
    curvature = -bend / (2 * root**3) / size[:, 0, 0]
    normals = (up - fx[:, None] * frames[:, :, 1] - fy[:, None] * frames[:, :, 2]) / root[:, None]
    return normals, curvature
