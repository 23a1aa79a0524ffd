"""A box with rounded edges: are flats smoother, and edges no rounder, than by any one scale?

    python benchmarks/rounded_box.py [--json FILE]

A box of half-extents 0.6, 0.45 and 0.35 with roundings of radius 0.15, its vertices moved by white
noise along the normals, several times for each level. Mean normal error in degrees on the flats and
on the roundings: what Smooth answers, and of a sweep over single scales the best, chosen with the
truth for each of the two alone. Vertices without an answer, a few at 1 % noise, are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import fairfield
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HALF = np.array([0.6, 0.45, 0.35])
RADIUS = 0.15
CELLS = 28
"""Along the side of each of the six faces."""
NOISE = (0.0, 0.001, 0.003, 0.01)
"""In diagonals."""
SEEDS = 4
SCALES = 0.014 * 2 ** (np.arange(15) / 4)
"""In half-extents: 0.014 to 0.158."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = []
    print(f"{'':16s}{'flats: Smooth':>15s}{'best scale':>11s}", end="")
    print(f"{'edges: Smooth':>19s}{'best scale':>11s}")
    for noise in NOISE:
        for seed in range(SEEDS if noise else 1):
            smooth, best = measured(noise, seed)
            rows.append({"noise": noise, "seed": seed, "smooth": smooth, "best": best})
            show(f"{noise:.1%}, seed {seed}", smooth, best)
        of_level = [(row["smooth"], row["best"]) for row in rows if row["noise"] == noise]
        show("mean", *np.mean(of_level, axis=0).tolist())
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def show(label: str, smooth: list[float], best: list[float]) -> None:
    """One line, with the ratio of the two."""
    print(f"{label:16s}", end="")
    for width, ours, other in zip((15, 14), smooth, best, strict=True):
        print(f"{ours:{width}.3f}{other:11.3f}{ours / other:6.3f}", end="")
    print(flush=True)


def measured(noise: float, seed: int) -> tuple[list[float], list[float]]:
    """Errors on flats and roundings: of Smooth, and of the best single scale for each."""
    vertices, triangles = rounded_box()
    diagonal = 2 * float(np.linalg.norm(HALF))
    moves = noise * diagonal * np.random.default_rng(seed).standard_normal(len(vertices))
    vertices = vertices + moves[:, None] * exact_normals(vertices)
    mesh = fairfield.TriangleMesh(vertices, triangles)
    field = fairfield.fit(mesh)
    truth = exact_normals(vertices)
    is_flat = (np.abs(truth) > 1 - 1e-9).any(axis=1)

    def errors(scale: float | str) -> list[float]:
        normals = fairfield.smooth(field, mesh, scale=scale).normals
        angle = np.degrees(2 * np.arcsin(np.linalg.norm(normals - truth, axis=1) / 2))
        return [float(np.nanmean(angle[each])) for each in (is_flat, ~is_flat)]

    sweep = [errors(scale * field.normalization.half_extent) for scale in SCALES]
    return errors("auto"), np.min(sweep, axis=0).tolist()


def rounded_box() -> tuple[Floats, NDArray[np.int64]]:
    """Vertices and triangles: a grid on each face of a box, drawn in to the roundings."""
    axis = np.linspace(-1, 1, CELLS + 1)
    u, v = (each.ravel() for each in np.meshgrid(axis, axis, indexing="ij"))
    corner = (np.arange(CELLS)[:, None] * (CELLS + 1) + np.arange(CELLS)).ravel()
    first, second, third, fourth = corner, corner + CELLS + 1, corner + CELLS + 2, corner + 1
    of_face = np.concatenate(
        [np.stack(each, axis=1) for each in ((first, second, third), (first, third, fourth))]
    )
    points, triangles = [], []
    for turn in range(3):
        for side in (1, -1):
            face = np.stack([np.full_like(u, side), u, side * v], axis=1)
            triangles.append(of_face + len(points) * len(u))
            points.append(np.roll(face, turn, axis=1) * HALF)
    # Faces share the vertices along their edges.
    whole, place = np.unique(np.concatenate(points).round(9), axis=0, return_inverse=True)
    inner = np.clip(whole, RADIUS - HALF, HALF - RADIUS)
    return inner + RADIUS * exact_normals(whole), place.reshape(-1)[np.concatenate(triangles)]


def exact_normals(points: Floats) -> Floats:
    """Of the surface's nearest points to points (N, 3) outside the inner box."""
    away = points - np.clip(points, RADIUS - HALF, HALF - RADIUS)
    return away / np.linalg.norm(away, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
