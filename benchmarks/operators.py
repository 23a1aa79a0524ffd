"""Accuracy and speed of every operator on the same fields, against exact truth.

    python benchmarks/operators.py [--cases clean coarse ...] [--queries 2000] [--json FILE]

For each public shape, one field of preset "standard" and, on it: the published operator (256 random
samples) at its best scale of a sweep with truth, autodiff, the tangent polynomial at automatic
scale and at its best single scale of the same sweep, the ball's stencil at automatic scale, and the
mesh's own vertex normals; and what Smooth answers for the mesh, which takes the mesh's own
polynomials where they are better. Then the surface extracted at automatic scale: how far off it is,
how far off normals and curvature at its vertices are by the shared lattice and by the stencil, and
the time that they take, and Extract's own answer, against the published operator's.

Prints tables; --json writes the figures. The public meshes are looked for in FAIRFIELD_SHARED.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import fairfield
import igl
import numpy as np
import torch
from fairfield.extraction import LEAST_SPACING, extract_with_jets
from fairfield.jets import Jets
from fairfield.study.accuracy import counted
from fairfield.surface_patches import surface_patches
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks" / "rivals"))

from known_surfaces import KNOWN_SURFACES  # noqa: E402

SHAPES = ("sphere", "torus", "metaballs")
CASES = ("clean", "coarse", "noise0p1", "noise0p3", "noise1p0")
SCALES = 0.004 * np.sqrt(2) ** np.arange(13)
"""The sweep, in half-extents."""
SWEPT_QUERIES = 500
RESOLUTION = 256
ACCURATE_VERTICES = 5000
"""Of the extraction's vertices, at how many answers are compared with the exact ones."""
DISTINCT = 0.1
"""Principal curvatures that differ by more than this share of the curvedness have directions."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    shared = Path(os.environ.get("FAIRFIELD_SHARED") or ROOT.parent / "shared") / "data/analytic"
    rows = {}
    for case in options.cases:
        for shape in options.shapes:
            rows[f"{shape} {case}"] = row = measure(shape, case, shared, options.queries)
            print(f"{shape} {case}: {row['automatic']['normal']:.3f} degrees", file=sys.stderr)
    print_tables(rows)
    if options.json:
        options.json.write_text(
            json.dumps({"threads": torch.get_num_threads(), "shapes": rows}, indent=1)
        )


def measure(shape: str, case: str, shared: Path, queries: int) -> dict[str, Any]:
    """All operators on one field; angles in degrees, curvature as rectified RMS."""
    path = shared / f"{shape}_{case}.npz"
    truth = dict(np.load(path))
    on_surface = truth.get("closest", truth["vertices"]).astype(np.float64)
    truth["directions"] = principal_directions(shape, on_surface)
    mesh = fairfield.TriangleMesh.load(path)
    field = fairfield.fit(mesh)
    half_extent = field.normalization.half_extent
    rows = np.random.default_rng(0).permutation(len(mesh.vertices))[:queries]
    few = rows[:SWEPT_QUERIES]
    # On a noisy mesh the truth is that of the closest point, so the foot point is what is asked;
    # a clean mesh's vertices lie on the surface, and every operator is asked right there.
    noisy = "closest" in truth

    def errors(which: NDArray, operator: str, scale: float | str) -> dict[str, float]:
        ask = fairfield.smooth if noisy and operator != "autodiff" else fairfield.differentiate
        start = time.perf_counter()
        with counted(field) as count:
            jets = ask(field, mesh.vertices[which], scale=scale, operator=operator)
        seconds = time.perf_counter() - start
        return {
            **compare(jets, truth, which, half_extent),
            "evaluations": count[0] / len(which),
            "microseconds": 1e6 * seconds / len(which),
        }

    sweeps = {
        operator: [errors(few, operator, float(scale) * half_extent) for scale in SCALES]
        for operator in ("polynomial", "polynomial-random")
    }
    best = {
        f"{operator} {name}": float(SCALES[np.nanargmin([row[name] for row in sweep])])
        for operator, sweep in sweeps.items()
        for name in ("normal", "curvature")
    }

    def at_best(operator: str) -> dict[str, float]:
        row = errors(rows, operator, best[f"{operator} normal"] * half_extent)
        wide = errors(rows, operator, best[f"{operator} curvature"] * half_extent)
        return {**row, "curvature": wide["curvature"]}

    with counted(field) as asked:
        smoothed = fairfield.smooth(field, mesh)
    return {
        "near_surface_error": field.report.near_surface_error,
        "noise": field.report.noise,
        "automatic": errors(rows, "polynomial", "auto"),
        "smooth": {
            **compare(smoothed[rows], truth, rows, half_extent),
            "from mesh": float(smoothed.from_mesh.mean()),
            "evaluations": asked[0] / len(mesh.vertices),
        },
        "best single scale": at_best("polynomial"),
        "published": at_best("polynomial-random"),
        "autodiff": errors(rows, "autodiff", "auto"),
        "stencil": errors(rows, "polynomial-volume", "auto"),
        "best scales": best,
        "extraction": measure_extraction(field, shape),
        **{
            f"mesh, {name} weighted": float(angle(vertex_normals, truth["normals"]).mean())
            for name, vertex_normals in mesh_normals(mesh).items()
        },
    }


def mesh_normals(mesh: fairfield.TriangleMesh) -> dict[str, NDArray]:
    """The mesh's own vertex normals, as Blender weights them and by area."""
    triangles = mesh.triangles.astype(np.int64)
    return {
        name: igl.per_vertex_normals(mesh.vertices, triangles, weighting)
        for name, weighting in (
            ("angle", igl.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE),
            ("area", igl.PER_VERTEX_NORMALS_WEIGHTING_TYPE_AREA),
        )
    }


def compare(jets: Jets, truth: dict[str, NDArray], rows: NDArray, unit: float) -> dict[str, float]:
    """Mean angle of normals, rectified RMS of H, medians of what k1, k2 and directions are off.

    Principal curvatures by the curvedness; directions in degrees, where curvatures are distinct.
    """
    exact = truth["mean_curvature"][rows] * unit
    bend = np.abs(jets.mean_curvature * unit - exact) / np.maximum(np.abs(exact), 1)
    pair = truth["principal_curvatures"][rows]
    size = np.sqrt((pair**2).mean(axis=1, keepdims=True))
    distinct = pair[:, 0] - pair[:, 1] > DISTINCT * size[:, 0]
    turn = np.abs((jets.principal_directions[:, 0] * truth["directions"][rows]).sum(axis=1))
    turn = np.degrees(np.arccos(np.clip(turn[distinct], 0, 1)))
    return {
        "directions": float(np.nanmedian(turn)) if len(turn) else 0.0,
        "normal": float(np.nanmean(angle(jets.normals, truth["normals"][rows]))),
        "curvature": float(np.sqrt(np.nanmean(bend**2))),
        "principal": float(np.nanmedian(np.abs(jets.principal_curvatures - pair) / size)),
        "unanswered": int(jets.unanswered),
    }


def angle(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Degrees between rows of unit vectors."""
    return np.degrees(2 * np.arcsin(np.minimum(np.linalg.norm(first - second, axis=1) / 2, 1)))


def measure_extraction(field: fairfield.Field, shape: str) -> dict[str, Any]:
    """The smoothed surface's distance to the exact one, and microseconds for each of its vertices.

    Medians of three interleaved runs. The published operator, for which all would take minutes, is
    timed on every 16th vertex.
    """
    start = time.process_time()
    surface, _ = extract_with_jets(field, RESOLUTION, "auto")
    extract_seconds = time.process_time() - start
    diagonal = np.linalg.norm(np.ptp(surface.vertices, axis=0))
    timed: dict[str, list[float]] = {}
    cube = field.normalization.to_cube(surface.vertices)
    for _ in range(3):
        for operator, step in (
            ("polynomial-lattice", 1),
            ("polynomial", 4),
            ("polynomial-volume", 4),
            ("polynomial-random", 16),
        ):
            points = surface.vertices[::step]
            start = time.perf_counter()
            fairfield.differentiate(field, points, operator=operator)
            seconds = time.perf_counter() - start
            timed.setdefault(operator, []).append(1e6 * seconds / len(points))
        patches = surface_patches(field, cube, "auto", 1.0, LEAST_SPACING * 2 / RESOLUTION)
        if patches is not None:
            start = time.perf_counter()
            patches.at(cube)
            seconds = time.perf_counter() - start
            timed.setdefault("Extract's patches", []).append(1e6 * seconds / len(cube))
    exact = KNOWN_SURFACES[shape]
    rows = np.random.default_rng(0).permutation(len(cube))[:ACCURATE_VERTICES]
    normals, curvature = exact.truth(surface.vertices[rows])
    unit = field.normalization.half_extent

    def errors(jets: Jets) -> dict[str, float]:
        bend = (jets.mean_curvature - curvature) * unit / np.maximum(np.abs(curvature) * unit, 1)
        return {
            "normal": float(np.nanmean(angle(jets.normals, normals))),
            "curvature": float(np.sqrt(np.nanmean(bend**2))),
        }

    def answers(operator: str, points: NDArray) -> Jets:
        return fairfield.differentiate(field, points, operator=operator)

    published = timed["polynomial-random"]
    return {
        "vertices": len(surface.vertices),
        "seconds": extract_seconds,
        "distance": float(exact.distance(surface.vertices).mean() / diagonal),
        "lattice": errors(answers("polynomial-lattice", surface.vertices)[rows]),
        "stencil": errors(answers("polynomial-volume", surface.vertices[rows])),
        "microseconds": {name: float(np.median(each)) for name, each in timed.items()},
        "share": {
            name: float(np.median(np.divide(each, published))) for name, each in timed.items()
        },
    }


def principal_directions(shape: str, points: NDArray) -> NDArray:
    """The exact directions of the larger principal curvature, at points of the surface."""
    jets = Jets(*KNOWN_SURFACES[shape].jet(points), np.zeros(len(points)))
    return jets.principal_directions[:, 0]


def print_tables(rows: dict[str, Any]) -> None:
    """Everything, one line for each shape."""
    print("\nnormals: mean error in degrees; H: rectified RMS\n")
    print(
        f"{'':19s}{'Smooth':^26s}|{'automatic':^17s}|{'best single':^16s}|"
        f"{'published, best':^16s}|{'autodiff':^9s}|{'mesh':^15s}"
    )
    print(
        f"{'':19s}{'normals':>9s}{'H':>9s}{'mesh':>8s}|{'normals':>9s}{'H':>8s}|"
        f"{'normals':>8s}{'H':>8s}|{'normals':>8s}{'H':>8s}|{'normals':>9s}|"
        f"{'angle':>7s}{'area':>8s}"
    )
    for name, row in rows.items():
        auto, best, published = row["automatic"], row["best single scale"], row["published"]
        smooth = row["smooth"]
        print(
            f"{name:19s}{smooth['normal']:9.4f}{smooth['curvature']:9.5f}"
            f"{smooth['from mesh']:8.1%}|{auto['normal']:9.3f}{auto['curvature']:8.4f}|"
            f"{best['normal']:8.3f}{best['curvature']:8.4f}|"
            f"{published['normal']:8.3f}{published['curvature']:8.4f}|"
            f"{row['autodiff']['normal']:9.3f}|{row['mesh, angle weighted']:7.3f}"
            f"{row['mesh, area weighted']:8.2f}"
        )
    print("\nk, dir: medians, of curvedness and in degrees; evals: of the field, for each query")
    print("surface: mean distance of the extraction at automatic scale, % of the diagonal\n")
    print(
        f"{'':19s}{'Smooth':^24s}|{'automatic':^28s}|{'published':^10s}|{'stencil':^16s}|"
        f"{'surface':>9s}|"
        f"{'lattice there':^16s}|{'stencil there':^16s}"
    )
    print(
        f"{'':19s}{'k':>8s}{'dir':>8s}{'evals':>8s}|{'k':>8s}{'dir':>8s}{'evals':>7s}{'lost':>5s}|"
        f"{'evals':>10s}|"
        f"{'normals':>8s}{'H':>8s}|{'':9s}|{'normals':>8s}{'H':>8s}|{'normals':>8s}{'H':>8s}"
    )
    for name, row in rows.items():
        auto, stencil, there = row["automatic"], row["stencil"], row["extraction"]
        smooth = row["smooth"]
        print(
            f"{name:19s}{smooth['principal']:8.2%}{smooth['directions']:8.2f}"
            f"{smooth['evaluations']:8.1f}|{auto['principal']:8.2%}{auto['directions']:8.2f}"
            f"{auto['evaluations']:7.0f}{auto['unanswered']:5d}|"
            f"{row['published']['evaluations']:10.0f}|"
            f"{stencil['normal']:8.3f}{stencil['curvature']:8.4f}|"
            f"{100 * there['distance']:9.4f}|"
            f"{there['lattice']['normal']:8.3f}{there['lattice']['curvature']:8.4f}|"
            f"{there['stencil']['normal']:8.3f}{there['stencil']['curvature']:8.4f}"
        )
    print("\nprocessor seconds of an extraction with its jets; and microseconds per vertex of it")
    print("by operator, and share of the published one's\n")
    for name, row in rows.items():
        times, shares = row["extraction"]["microseconds"], row["extraction"]["share"]
        columns = (f"{key} {times[key]:.1f} ({shares[key]:.1%})" for key in times)
        seconds, vertices = row["extraction"]["seconds"], row["extraction"]["vertices"]
        print(f"{name:19s}{seconds:6.1f} s {vertices:8d} vertices: {', '.join(columns)}")


if __name__ == "__main__":
    main()
