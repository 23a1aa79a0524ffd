"""Fits a torus, whose normals and curvature are known exactly, and measures each operator.

    python benchmarks/known_shape.py [--preset standard] [--json]

Prints a table, or with --json the same figures on one line.
"""

from __future__ import annotations

import argparse
import json
import time

import fairfield
import numpy as np
from numpy.typing import NDArray

MAJOR, MINOR = 0.68, 0.26
AROUND, ACROSS = 256, 128
QUERIES = 4000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args()

    vertices, triangles, normals, curvature = torus()
    start = time.perf_counter()
    field = fairfield.fit(fairfield.TriangleMesh(vertices, triangles), options.preset)
    seconds = time.perf_counter() - start
    sample = np.random.default_rng(0).permutation(len(vertices))[:QUERIES]
    operators = {}
    for operator in ("autodiff", "finite-difference", "polynomial"):
        jets = fairfield.differentiate(field, vertices[sample], operator=operator)
        cosine = np.clip((jets.normals * normals[sample]).sum(axis=1), -1, 1)
        relative = np.abs(jets.mean_curvature / curvature[sample] - 1)
        operators[operator] = {
            "mean_normal_error_degrees": float(np.degrees(np.arccos(cosine)).mean()),
            "median_curvature_error": float(np.median(relative)),
        }
    result = {
        "shape": f"torus {MAJOR} / {MINOR}, {len(triangles)} triangles",
        "preset": options.preset,
        "fit_seconds": seconds,
        "near_surface_error": field.report.near_surface_error,
        "operators": operators,
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['shape']}, preset {options.preset}: fitted in {seconds:.1f} s,")
    print(f"near-surface error {field.report.near_surface_error:.2e} half-extents")
    print(f"{'operator':20s}{'normal, mean':>16s}{'curvature, median':>20s}")
    for operator, errors in operators.items():
        print(
            f"{operator:20s}{errors['mean_normal_error_degrees']:12.3f} deg"
            f"{errors['median_curvature_error']:20.1%}"
        )


def torus() -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return vertices, triangles, exact normals and exact mean curvature."""
    u, v = np.meshgrid(
        np.arange(AROUND) * (2 * np.pi / AROUND),
        np.arange(ACROSS) * (2 * np.pi / ACROSS),
        indexing="ij",
    )
    normals = np.stack([np.cos(u) * np.cos(v), np.sin(u) * np.cos(v), np.sin(v)], axis=-1)
    ring = MAJOR * np.stack([np.cos(u), np.sin(u), np.zeros_like(u)], axis=-1)
    curvature = (1 / MINOR + np.cos(v) / (MAJOR + MINOR * np.cos(v))) / 2
    i, j = (index.ravel() for index in np.indices((AROUND, ACROSS)))
    right, up = (i + 1) % AROUND, (j + 1) % ACROSS
    quads = np.stack(
        [i * ACROSS + j, right * ACROSS + j, right * ACROSS + up, i * ACROSS + up], axis=1
    )
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    vertices = (ring + MINOR * normals).reshape(-1, 3)
    return vertices, triangles, normals.reshape(-1, 3), curvature.ravel()


if __name__ == "__main__":
    main()
