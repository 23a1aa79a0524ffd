"""What else a user has, beside Fairfield at its default, on shapes with exact truth.

    python benchmarks/rivals.py [--shapes PATTERN] [--json FILE]

Each rival with its usual parameter, and with the one that is best for the shape, which nobody knows
without the truth.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import fairfield
import igl
import numpy as np
import trimesh
from fairfield.study.accuracy import QUERIES, Accuracy, accuracy_of
from fairfield.study.shapes import KnownShape, load_shapes
from numpy.typing import NDArray
from scipy.spatial import KDTree

Array = NDArray[np.float64]
Answer = tuple[Array, Array | None]
"""Normals (V, 3), and mean curvature (V,) where there is one."""

ROWS_AT_ONCE = 2000


def angle_weighted_normals(shape: KnownShape, _: int) -> Answer:
    """Blender's own vertex normals: face normals weighted by the angle at the vertex."""
    mesh = trimesh.Trimesh(shape.mesh.vertices, shape.mesh.triangles, process=False)
    return np.asarray(mesh.vertex_normals), None


def taubin(shape: KnownShape, rounds: int) -> Answer:
    """Taubin's smoothing without shrinking, then vertex normals."""
    mesh = trimesh.Trimesh(shape.mesh.vertices, shape.mesh.triangles, process=False)
    trimesh.smoothing.filter_taubin(mesh, iterations=rounds)
    # A new one: the old one may remember its normals.
    smoothed = trimesh.Trimesh(mesh.vertices.copy(), shape.mesh.triangles, process=False)
    return np.asarray(smoothed.vertex_normals), None


def libigl_quadric(shape: KnownShape, ring: int) -> Answer:
    """libigl's quadric fit over a ring of neighbours (Panozzo et al. 2010)."""
    vertices = np.asfortranarray(shape.mesh.vertices)
    faces = np.asfortranarray(shape.mesh.triangles.astype(np.int64))
    result = igl.principal_curvature(vertices, faces, ring, True)
    k1, k2 = result[2], result[3]
    normals, _ = angle_weighted_normals(shape, 0)
    return normals, (np.asarray(k1) + np.asarray(k2)).ravel() / 2


def jet(degree: int) -> Callable[[KnownShape, int], Answer]:
    """A polynomial height field through the nearest vertices: no network (Cazals, Pouget 2005)."""

    def fit_jets(shape: KnownShape, neighbours: int) -> Answer:
        vertices = shape.mesh.vertices
        outward, _ = angle_weighted_normals(shape, 0)
        _, near = KDTree(vertices).query(vertices, neighbours)
        normals, curvature = np.empty_like(vertices), np.empty(len(vertices))
        for start in range(0, len(vertices), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            normals[rows], curvature[rows] = _jets(
                vertices, near[rows], outward[near[rows]], rows, degree
            )
        return normals, curvature

    return fit_jets


def _jets(vertices: Array, near: Array, outward: Array, rows: slice, degree: int) -> Answer:
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
    solution = (np.linalg.pinv(monomials) @ z[..., None])[..., 0]
    at = {power: solution[:, index] for index, power in enumerate(powers)}
    fx, fy = at[1, 0], at[0, 1]
    fxx, fxy, fyy = 2 * at[2, 0], at[1, 1], 2 * at[0, 2]
    root = np.sqrt(1 + fx**2 + fy**2)
    bend = (1 + fy**2) * fxx - 2 * fx * fy * fxy + (1 + fx**2) * fyy
    curvature = -bend / (2 * root**3) / size[:, 0, 0]
    normals = (up - fx[:, None] * frames[:, :, 1] - fy[:, None] * frames[:, :, 2]) / root[:, None]
    return normals, curvature


RIVALS: dict[str, tuple[Callable[[KnownShape, int], Answer], int, tuple[int, ...]]] = {
    "angle-weighted normals (Blender)": (angle_weighted_normals, 0, (0,)),
    "Taubin, then normals": (taubin, 10, (5, 10, 20, 50, 100, 200)),
    "libigl quadric, ring": (libigl_quadric, 5, (2, 3, 5, 8, 12)),
    "jet of degree 2, neighbours": (jet(2), 18, (12, 18, 30, 60, 120, 240)),
    "jet of degree 4, neighbours": (jet(4), 30, (20, 30, 60, 120, 240, 480)),
}


def accuracy(shape: KnownShape, answer: Answer, some: NDArray[np.intp]) -> Accuracy:
    """Of some of the vertices."""
    normals, curvature = answer
    half_extent = float(np.ptp(shape.mesh.vertices, axis=0).max()) / 2
    curvature = np.full(len(normals), 0.0) if curvature is None else curvature
    return accuracy_of(
        _Given(normals[some], curvature[some]),
        shape.normals[some],
        shape.mean_curvature[some],
        half_extent,
    )


class _Given(fairfield.Jets):
    """Normals and curvature that some other program gave, in the place of jets."""

    def __init__(self, normals: Array, mean_curvature: Array) -> None:
        count = len(normals)
        super().__init__(np.zeros(count), normals, np.zeros((count, 3, 3)), np.zeros(count))
        self.__dict__["mean_curvature"] = mean_curvature


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("FAIRFIELD_SHARED") or "../shared")
    parser.add_argument("--data", type=Path, default=shared / "data" / "analytic")
    parser.add_argument("--shapes", default="*")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, object]]] = {}
    print(
        "mean normal error in degrees / rectified RMS of curvature: usual parameter, best of each"
    )
    for shape in load_shapes(options.data, options.shapes):
        some = np.random.default_rng(0).permutation(len(shape.normals))[:QUERIES]
        of_shape = found[shape.name] = {}
        for name, (method, usual, choices) in RIVALS.items():
            measured = {c: accuracy(shape, method(shape, c), some) for c in choices}
            normal = min(measured, key=lambda c: measured[c].normal_mean)
            bend = min(measured, key=lambda c: measured[c].curvature_rms)
            curved = name.split()[0] in ("libigl", "jet")
            of_shape[name] = {
                "usual": [
                    measured[usual].normal_mean,
                    measured[usual].curvature_rms if curved else None,
                ],
                "best": [
                    measured[normal].normal_mean,
                    measured[bend].curvature_rms if curved else None,
                ],
                "best_parameters": [normal, bend],
            }
        field = fairfield.fit(shape.mesh)
        smoothed = fairfield.smooth(field, shape.mesh.vertices[some])
        ours = accuracy_of(
            smoothed,
            shape.normals[some],
            shape.mean_curvature[some],
            field.normalization.half_extent,
        )
        of_shape["Fairfield, default"] = {"usual": [ours.normal_mean, ours.curvature_rms]}
        print(f"\n{shape.name}")
        for name, values in of_shape.items():
            best = _pair(values["best"]) if "best" in values else ""
            print(f"  {name:36s}{_pair(values['usual']):>20s}{best:>20s}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def _pair(values: object) -> str:
    normal, curvature = values  # type: ignore[misc]
    return f"{normal:.3g} / " + ("-" if curvature is None else f"{curvature:.3g}")


if __name__ == "__main__":
    main()
