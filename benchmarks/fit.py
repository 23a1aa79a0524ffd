"""What a fit costs and how close it comes, against plain torch and exact queries everywhere.

    python benchmarks/fit.py time distances growth fields --json fit.json
    python benchmarks/fit.py time --meshes scan.ply

time       seconds from the mesh's file to each error: plain torch from scratch, and the presets
distances  exact queries as libigl answers them one by one, and the ones that a fit asks
growth     seconds and peak memory by the number of triangles and of samples
fields     every kind of field on every mesh: error, seconds, and the same again from its file

Contestants take turns in one process; figures of ours are medians. `fused_step.py` compares single
steps of training, `torch.compile` included. Without --meshes the public meshes are taken.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # libigl and OpenMP read the number of threads once, when imported
    from fairfield.threads import set_thread_count

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["time", "distances", "growth", "fields"])
    parser.add_argument("--meshes", nargs="+", type=Path)
    parser.add_argument("--preset", default="standard", help="of the fields' table")
    parser.add_argument("--kinds", nargs="+", help="of the fields' table")
    parser.add_argument("--triangles", nargs="+", type=int, help="of the growth table")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    set_thread_count(options.threads)

import fairfield
import igl
import numpy as np
import torch
from fairfield.distance import SignedDistance, morton_order
from fairfield.fields import KINDS, FieldConfig, NeuralField
from fairfield.fitting import BATCH, PRESETS, RELATIVE_TO
from fairfield.fused import warm_up
from fairfield.lattice_distance import lattice_distance
from fairfield.mesh import TriangleMesh
from fairfield.normalization import HALF_EXTENT_IN_CUBE, Normalization
from fairfield.repair import repair
from fairfield.sampling import near_points, near_surface_points, surface_points
from fairfield.training import TorchTrainer
from numpy.typing import NDArray

ERRORS = (1e-3, 5e-4, 3e-4, 2.5e-4)
TRIANGLES = (5_000, 20_000, 70_000, 280_000, 1_000_000)
SAMPLES = (1 << 16, 1 << 17, 1 << 18, 1 << 19)
SCRATCH_BATCHES = 48
SCRATCH_RATE, SCRATCH_STEPS = 3e-3, 600
"""Of plain torch, annealed by half a cosine to the last step. On the bunny it reaches 3e-4 shortly
before the end; in half the steps it does not, nor at a constant rate in 1000, nor at 1e-3."""
SCRATCH_UNIT = 2.0
"""Of the values of its network, which stand without a base: the cube's side."""
Report = dict[str, Any]


def public_meshes() -> list[Path]:
    """The scans and models, and the three clean shapes."""
    root = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("FAIRFIELD_SHARED") or root.parent / "shared") / "data"
    meshes = sorted((data / "real").glob("*.npz")) + sorted((data / "analytic").glob("*clean.npz"))
    meshes = [path for path in meshes if path.stem != "spot-quads"]
    if not meshes:
        raise SystemExit(f"no meshes at {data}: set FAIRFIELD_SHARED, or give --meshes")
    return meshes


def in_cube(mesh: TriangleMesh) -> TriangleMesh:
    """The repaired mesh as a fit sees it."""
    repaired = repair(mesh).mesh
    cube = Normalization.of(repaired.vertices).to_cube(repaired.vertices)
    return TriangleMesh(cube, repaired.triangles)


def plain_distances(mesh: TriangleMesh, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every distance and sign by libigl at full accuracy, in Morton order."""
    vertices = np.asfortranarray(mesh.vertices)
    triangles = np.asfortranarray(mesh.triangles.astype(np.int64))
    nearest, winding = igl.AABB(), igl.FastWindingNumberBVH()
    nearest.init(vertices, triangles)
    winding.init(vertices, triangles)
    distances = np.empty(len(points))
    for rows in np.array_split(morton_order(points), max(1, len(points) >> 16)):
        chunk = np.asfortranarray(points[rows])
        squared, _, _ = nearest.squared_distance(vertices, triangles, chunk)
        outside = np.abs(winding.winding_number(chunk)) <= 0.5
        distances[rows] = np.where(outside, 1, -1) * np.sqrt(squared)
    return distances


# --- time -----------------------------------------------------------------------------------------


def from_scratch(path: Path) -> Report:
    """Plain torch without a base: 12 levels, 2^17 entries, one hidden layer of 32, as published.

    The loss is ours. Three quarters of the samples lie near the surface. Checks are not timed.
    """
    start = time.perf_counter()
    random = np.random.default_rng(0)
    mesh = in_cube(TriangleMesh.load(path))
    count = SCRATCH_BATCHES * BATCH
    near = surface_points(mesh, 3 * count // 4, random)
    near += random.standard_normal(near.shape) * np.resize([0.005, 0.03], (len(near), 1))
    anywhere = random.uniform(-1, 1, (count - len(near), 3))
    points = np.concatenate([near.clip(-1, 1), anywhere])[random.permutation(count)]
    distances = plain_distances(mesh, points)
    distance_seconds = time.perf_counter() - start

    held_out = near_surface_points(mesh, BATCH, np.random.default_rng(1))
    exact = plain_distances(mesh, held_out)
    torch.manual_seed(0)
    module = NeuralField(FieldConfig())
    points, targets = points.astype(np.float32), (distances / SCRATCH_UNIT).astype(np.float32)
    weights = (SCRATCH_UNIT / (np.abs(distances) + RELATIVE_TO)).astype(np.float32)
    trainer = TorchTrainer(module)
    seconds = distance_seconds
    reached: dict[str, float | None] = {f"{error:g}": None for error in ERRORS}
    error, step = math.inf, 0
    while step < SCRATCH_STEPS and error > ERRORS[-1]:
        start = time.perf_counter()
        fall = (1 + math.cos(math.pi * step / SCRATCH_STEPS)) / 2
        rows = slice(step % SCRATCH_BATCHES * BATCH, (step % SCRATCH_BATCHES + 1) * BATCH)
        rate = SCRATCH_RATE * (0.02 + 0.98 * fall)
        trainer.step(points[rows], targets[rows], weights[rows], rate, rate)
        seconds += time.perf_counter() - start
        step += 1
        if step % 10 == 0:
            with torch.no_grad():
                values = module.correction(torch.from_numpy(held_out.astype(np.float32)))
                values = SCRATCH_UNIT * values[:, 0].numpy()
            error = float(np.abs(values - exact).mean()) / HALF_EXTENT_IN_CUBE
            for limit in ERRORS:
                if error < limit and reached[f"{limit:g}"] is None:
                    reached[f"{limit:g}"] = seconds
    return {
        "reached": reached,
        "seconds": seconds,
        "distance_seconds": distance_seconds,
        "steps": step,
        "near_surface_error": error,
    }


def from_file_to_file(path: Path, preset: str) -> Report:
    """One fit by a preset, from the mesh's file to the field's."""
    reached: dict[str, float | None] = {f"{error:g}": None for error in ERRORS}
    start = time.perf_counter()

    def watch(progress: fairfield.Progress) -> None:
        for error in ERRORS:
            if progress.error is not None and progress.error < error:
                name = f"{error:g}"
                reached[name] = reached[name] or time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        mesh = TriangleMesh.load(path)
        field = fairfield.fit(mesh, preset, progress=watch)
        field.save(Path(folder) / "field.safetensors")
        seconds = time.perf_counter() - start
    return {
        "reached": reached,
        "seconds": seconds,
        "stages": field.report.seconds,
        "steps": field.report.steps,
        "near_surface_error": field.report.near_surface_error,
        "median_normal_error": median_normal_error(field, in_cube(mesh)),
    }


def median_normal_error(field: fairfield.Field, mesh: TriangleMesh) -> float:
    """Of central differences at 1e-3 half-extents against the faces' normals, in degrees."""
    random = np.random.default_rng(2)
    area = mesh.triangle_areas()
    chosen = random.choice(len(area), 20_000, p=area / area.sum())
    corners = random.dirichlet((1, 1, 1), len(chosen))
    points = np.einsum("nc,nci->ni", corners, mesh.vertices[mesh.triangles[chosen]])
    steps = 1e-3 * HALF_EXTENT_IN_CUBE * np.eye(3)

    def values(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return field.evaluate(field.tensor(at)).cpu().double().numpy()

    gradient = np.stack([values(points + s) - values(points - s) for s in steps], axis=1)
    cosine = (gradient * mesh.triangle_normals()[chosen]).sum(axis=1)
    return float(np.degrees(np.median(np.arccos(cosine / np.linalg.norm(gradient, axis=1)))))


def time_part(meshes: list[Path], repeats: int) -> Report:
    """Let plain torch and the presets take turns on each mesh."""
    result: Report = {}
    print(f"seconds to a near-surface error of {', '.join(f'{error:g}' for error in ERRORS)}")
    for path in meshes:
        runs: dict[str, list[Report]] = {}
        ours: list[tuple[str, Callable[[], Report]]] = [
            (preset, partial(from_file_to_file, path, preset)) for preset in ("draft", "standard")
        ]
        torch_work = ("plain torch", partial(from_scratch, path))
        for name, work in [*ours, torch_work, *ours * (repeats - 1)]:
            runs.setdefault(name, []).append(work())
        result[path.stem] = {name: _median(reports) for name, reports in runs.items()}
        for name, figures in result[path.stem].items():
            times = "".join(
                f"{'-' if value is None else f'{value:.2f}':>8}"
                for value in figures["reached"].values()
            )
            normal = figures.get("median_normal_error", math.nan)
            print(
                f"  {path.stem:18}{name:12}{times}  all {figures['seconds']:6.2f} s, "
                f"{figures['steps']:4.0f} steps, error {figures['near_surface_error']:.2e}, "
                f"normals {normal:.2f} deg",
                flush=True,
            )
        torch_seconds = result[path.stem]["plain torch"]["reached"]["0.0003"]
        if torch_seconds is not None:
            ratios = {
                name: statistics.median(torch_seconds / run["seconds"] for run in runs[name])
                for name in ("draft", "standard")
            }
            result[path.stem]["ratios"] = ratios
            print(
                f"  {path.stem:18}plain torch's seconds to 3e-4 over all of ours: "
                + ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items()),
                flush=True,
            )
    return result


def _median(reports: list[Report]) -> Report:
    first = reports[0]
    if not isinstance(first, dict):
        return None if None in reports else statistics.median(reports)
    return {name: _median([report[name] for report in reports]) for name in first}


# --- distances ------------------------------------------------------------------------------------


def distances_part(meshes: list[Path], repeats: int) -> Report:
    """Time what `standard` asks, and the same number of exact queries."""
    result: Report = {}
    sizes = PRESETS["standard"]
    resolution = sizes.plans["hash-grid"].config.base_resolution
    print("seconds for the distances of a standard fit, trees included")
    for path in meshes:
        mesh = in_cube(TriangleMesh.load(path))
        near = near_points(mesh, sizes.queries, np.random.default_rng(0))
        axis = np.linspace(-1, 1, resolution)
        nodes = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        seconds: dict[str, list[float]] = {}
        for _ in range(repeats):
            for name, work in (
                ("exact, nodes", partial(plain_distances, mesh, nodes)),
                ("exact, near", partial(plain_distances, mesh, near)),
                ("ours, nodes", partial(lattice_distances, mesh, resolution)),
                ("ours, near", partial(distances, mesh, near)),
            ):
                start = time.perf_counter()
                work()
                seconds.setdefault(name, []).append(time.perf_counter() - start)
        figures = {name: statistics.median(values) for name, values in seconds.items()}
        figures["queries"] = len(nodes) + len(near)
        figures["ratio"] = statistics.median(
            (a + b) / (c + d) for a, b, c, d in zip(*seconds.values(), strict=True)
        )
        result[path.stem] = figures
        print(
            f"  {path.stem:18}" + ", ".join(f"{k} {v:.3g}" for k, v in figures.items()), flush=True
        )
    return result


def distances(mesh: TriangleMesh, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances as a fit measures them."""
    return SignedDistance(mesh)(points)


def lattice_distances(mesh: TriangleMesh, resolution: int) -> NDArray[np.float64]:
    """The base of a fit."""
    return lattice_distance(SignedDistance(mesh), resolution).distance


# --- growth ---------------------------------------------------------------------------------------

CHILD = """
import json, resource, sys
sys.path.insert(0, sys.argv[1])
from fairfield.threads import set_thread_count
set_thread_count(int(sys.argv[3]))
import fairfield, fit
from fairfield.fused import warm_up
warm_up(int(sys.argv[3]))
vertices, triangles = fit.bumpy_sphere(int(sys.argv[2]))
field = fairfield.fit(fairfield.TriangleMesh(vertices, triangles), sys.argv[4])
print(json.dumps({
    "triangles": len(triangles),
    "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    "stages": field.report.seconds,
    "near_surface_error": field.report.near_surface_error,
}))
"""


def bumpy_sphere(triangles: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A closed surface of about so many triangles: a sphere with waves."""
    rings = round(math.sqrt(triangles / 4)) + 1
    around = 2 * rings
    polar, azimuth = np.meshgrid(
        np.arange(1, rings) * math.pi / rings,
        np.arange(around) * 2 * math.pi / around,
        indexing="ij",
    )
    radius = 0.8 + 0.05 * np.sin(6 * azimuth) * np.sin(polar) ** 3 * np.cos(5 * polar)
    directions = np.stack(
        [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1
    )
    poles = np.array([[0, 0, 0.8], [0, 0, -0.8]])
    vertices = np.concatenate([(radius[..., None] * directions).reshape(-1, 3), poles])
    i, j = (index.ravel() for index in np.indices((rings - 2, around)))
    right = (j + 1) % around
    a, b = i * around + j, i * around + right
    c, d = a + around, b + around
    last = (rings - 2) * around
    j = np.arange(around)
    right = (j + 1) % around
    top, bottom = np.full(around, len(vertices) - 2), np.full(around, len(vertices) - 1)
    corners = [(a, c, b), (b, c, d), (top, j, right), (bottom, last + right, last + j)]
    return vertices, np.concatenate([np.stack(corner, axis=1) for corner in corners])


def growth_part(threads: int, counts: list[int] | None, repeats: int) -> Report:
    """Fit ever larger meshes, each in a process of its own; ask ever more distances."""
    result: Report = {"triangles": [], "samples": []}
    print("seconds by stage, and peak memory, of a standard fit")
    for count in counts or TRIANGLES:
        arguments = [str(Path(__file__).parent), str(count), str(threads), "standard"]
        output = subprocess.run(
            [sys.executable, "-c", CHILD, *arguments], check=True, capture_output=True, text=True
        )
        figures = json.loads(output.stdout.splitlines()[-1])
        result["triangles"].append(figures)
        stages = ", ".join(f"{name} {value:.2f}" for name, value in figures["stages"].items())
        print(
            f"  {figures['triangles']:9,} triangles: {sum(figures['stages'].values()):6.2f} s "
            f"({stages}), {figures['peak_gib']:.2f} GiB, "
            f"error {figures['near_surface_error']:.2e}",
            flush=True,
        )
    print("microseconds a sample near the surface of 70 000 triangles")
    mesh = TriangleMesh(*bumpy_sphere(70_000))
    distance = SignedDistance(mesh)
    for samples in SAMPLES:
        points = near_points(mesh, samples, np.random.default_rng(0))
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            distance(points)
            seconds.append(time.perf_counter() - start)
        cost = 1e6 * statistics.median(seconds) / samples
        result["samples"].append({"samples": samples, "microseconds": cost})
        print(f"  {samples:9,}: {cost:.2f}", flush=True)
    return result


# --- fields ---------------------------------------------------------------------------------------

AGAIN = """
import sys, numpy, fairfield
field = fairfield.load(sys.argv[1])
numpy.save(sys.argv[3], field(numpy.load(sys.argv[2])))
"""


def fields_part(meshes: list[Path], kinds: list[str], preset: str) -> Report:
    """Fit every kind to every mesh; save, and evaluate in a new process."""
    result: Report = {}
    print(f"fields by preset {preset}: near-surface error, seconds, MiB, same in a new process")
    for path in meshes:
        mesh = TriangleMesh.load(path)
        result[path.stem] = {}
        for kind in kinds:
            field = fairfield.fit(mesh, preset, kind=kind)
            with tempfile.TemporaryDirectory() as folder:
                files = [Path(folder) / name for name in ("f.safetensors", "p.npy", "v.npy")]
                field.save(files[0])
                points = mesh.vertices[:20_000] + 0.01 * field.normalization.half_extent
                np.save(files[1], points)
                subprocess.run([sys.executable, "-c", AGAIN, *map(str, files)], check=True)
                same = bool(np.array_equal(np.load(files[2]), field(points)))
                size = files[0].stat().st_size / 2**20
            figures = {
                "near_surface_error": field.report.near_surface_error,
                "seconds": sum(field.report.seconds.values()),
                "steps": field.report.steps,
                "mebibytes": size,
                "same_in_new_process": same,
            }
            result[path.stem][kind] = figures
            print(
                f"  {path.stem:18}{kind:12}{figures['near_surface_error']:9.2e}"
                f"{figures['seconds']:8.2f} s{size:7.1f}  {same}",
                flush=True,
            )
    return result


def main(options: argparse.Namespace) -> None:
    """Run the parts that were asked for."""
    meshes = options.meshes or public_meshes()
    report: Report = {
        "threads": options.threads,
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "without_kernels": warm_up(options.threads),
    }
    parts: dict[str, Callable[[], Report]] = {
        "time": lambda: time_part(meshes, options.repeats),
        "distances": lambda: distances_part(meshes, options.repeats),
        "growth": lambda: growth_part(options.threads, options.triangles, options.repeats),
        "fields": lambda: fields_part(meshes, options.kinds or list(KINDS), options.preset),
    }
    for part in options.parts:
        if part not in parts:
            raise SystemExit(f"there is no part {part!r}; choose from {', '.join(parts)}")
        report[part] = parts[part]()
        if options.json:
            options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(options)
