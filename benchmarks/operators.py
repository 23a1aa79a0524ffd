"""Accuracy and speed of every operator on the same fields, against exact truth.

    python benchmarks/operators.py [--cases clean coarse ...] [--queries 2000] [--json FILE]

For each public shape, one field of preset "standard" and, on it: the published operator (256 random
samples) at its best scale of a sweep with truth, autodiff, the tangent polynomial at automatic
scale and at its best single scale of the same sweep, and the mesh's own vertex normals. Then the
time for all vertices of an extraction at 256, ours against the published operator's.

Prints tables; --json writes the figures. The public meshes are looked for in FAIRFIELD_SHARED.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import fairfield
import igl
import numpy as np
import torch
from fairfield.jets import Jets
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
SHAPES = ("sphere", "torus", "metaballs")
CASES = ("clean", "coarse", "noise0p1", "noise0p3", "noise1p0")
SCALES = 0.004 * np.sqrt(2) ** np.arange(13)
"""The sweep, in half-extents."""
SWEPT_QUERIES = 500


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--speed", action="store_true", help="only the time for an extraction")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    shared = Path(os.environ.get("FAIRFIELD_SHARED") or ROOT.parent / "shared") / "data/analytic"
    result: dict[str, Any] = {"threads": torch.get_num_threads(), "shapes": {}}
    if not options.speed:
        print_header()
        for case in options.cases:
            for shape in options.shapes:
                row = measure(shared / f"{shape}_{case}.npz", options.queries)
                result["shapes"][f"{shape} {case}"] = row
                print_row(f"{shape} {case}", row)
    result["extraction"] = [measure_extraction(shared / f"{shape}_clean.npz") for shape in SHAPES]
    for shape, row in zip(SHAPES, result["extraction"], strict=True):
        print(
            f"{shape}: {row['vertices']} vertices of an extraction, normals and curvature in "
            f"{row['seconds']:.2f} s at automatic scale, {row['single_scale_seconds']:.2f} s at "
            f"one; published {row['published_seconds']:.2f} s "
            f"({row['share']:.1%}, {row['single_scale_share']:.1%} of it)"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


def measure(path: Path, queries: int) -> dict[str, Any]:
    """All operators on one field; angles in degrees, curvature as rectified RMS."""
    truth = dict(np.load(path))
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
        with counting(field) as count:
            jets = ask(field, mesh.vertices[which], scale=scale, operator=operator)
        seconds = time.perf_counter() - start
        return {
            **compare(jets, truth, which, half_extent),
            "evaluations": count.total / len(which),
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

    return {
        "near_surface_error": field.report.near_surface_error,
        "noise": field.report.noise,
        "automatic": errors(rows, "polynomial", "auto"),
        "best single scale": at_best("polynomial"),
        "published": at_best("polynomial-random"),
        "autodiff": errors(rows, "autodiff", "auto"),
        "best scales": best,
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
    """Mean angle of normals, rectified RMS of H, median error of k1 and k2 by the curvedness."""
    exact = truth["mean_curvature"][rows] * unit
    bend = np.abs(jets.mean_curvature * unit - exact) / np.maximum(np.abs(exact), 1)
    pair = truth["principal_curvatures"][rows]
    size = np.sqrt((pair**2).mean(axis=1, keepdims=True))
    return {
        "normal": float(np.nanmean(angle(jets.normals, truth["normals"][rows]))),
        "curvature": float(np.sqrt(np.nanmean(bend**2))),
        "principal": float(np.nanmedian(np.abs(jets.principal_curvatures - pair) / size)),
        "unanswered": int(jets.unanswered),
    }


def angle(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Degrees between rows of unit vectors."""
    return np.degrees(np.arccos(np.clip((first * second).sum(axis=1), -1, 1)))


class counting:  # noqa: N801
    """Counts the points that a field is evaluated at."""

    def __init__(self, field: fairfield.Field) -> None:
        self._evaluator = field.evaluator
        self.total = 0

    def __enter__(self) -> counting:
        self._evaluate = self._evaluator.field

        def counted(points: torch.Tensor) -> torch.Tensor:
            self.total += len(points)
            return self._evaluate(points)

        self._evaluator.field = counted  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        del self._evaluator.field


def measure_extraction(path: Path) -> dict[str, Any]:
    """Seconds for all vertices of an extraction, medians of three interleaved runs."""
    field = fairfield.fit(fairfield.TriangleMesh.load(path))
    points = fairfield.extract(field, 256).vertices
    ours, single, published = [], [], []
    scale = float(np.median(field.scale_map.normal_scale)) * field.normalization.unit
    for _ in range(3):
        for seconds, settings in (
            (ours, {}),
            (single, {"scale": scale}),
            (published, {"operator": "polynomial-random", "scale": scale}),
        ):
            start = time.perf_counter()
            fairfield.differentiate(field, points, **settings)
            seconds.append(time.perf_counter() - start)
    return {
        "vertices": len(points),
        "seconds": float(np.median(ours)),
        "single_scale_seconds": float(np.median(single)),
        "published_seconds": float(np.median(published)),
        "share": float(np.median(np.divide(ours, published))),
        "single_scale_share": float(np.median(np.divide(single, published))),
    }


def print_header() -> None:
    """The table's first lines."""
    print("normals: mean error in degrees; H: rectified RMS; k: median error of k1, k2;")
    print("evaluations of the field per query\n")
    print(
        f"{'':19s}{'automatic':^36s}|{'best single':^15s}|{'published, best':^23s}|"
        f"{'autodiff':^9s}|{'mesh':^15s}"
    )
    print(
        f"{'':19s}{'normals':>9s}{'H':>9s}{'k':>8s}{'evals':>8s}  |{'normals':>8s}{'H':>7s}|"
        f"{'normals':>8s}{'H':>8s}{'evals':>7s}|{'normals':>9s}|{'angle':>7s}{'area':>8s}"
    )


def print_row(name: str, row: dict[str, Any]) -> None:
    """One shape."""
    auto, best, published = row["automatic"], row["best single scale"], row["published"]
    print(
        f"{name:19s}{auto['normal']:9.3f}{auto['curvature']:9.4f}{auto['principal']:8.2%}"
        f"{auto['evaluations']:8.0f}  |{best['normal']:8.3f}{best['curvature']:7.4f}|"
        f"{published['normal']:8.3f}{published['curvature']:8.4f}{published['evaluations']:7.0f}|"
        f"{row['autodiff']['normal']:9.3f}|{row['mesh, angle weighted']:7.3f}"
        f"{row['mesh, area weighted']:8.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
