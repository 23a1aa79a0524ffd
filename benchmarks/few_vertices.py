"""Clean models that have few vertices for their details: does Smooth do them harm?

    python benchmarks/few_vertices.py [--json FILE]

Real meshes (looked for in FAIRFIELD_SHARED) whose vertices are moved to the limit of Loop's
subdivision, and the same once subdivided; and spheres with waves of so many vertices each. Mean
normal error in degrees of the mesh's own angle-weighted normals, of the field and of Smooth; and
what of the surfaces is how far from the exact one, in percent of the diagonal: the mesh, and what
Extract makes at a resolution of 256.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import fairfield
import igl
import numpy as np
import trimesh
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Triangles = NDArray[np.int64]

MODELS = ("spot", "fandisk", "rocker-arm")
"""Closed ones: libigl's subdivision leaves rims anywhere."""
TWICE = ("spot",)
"""Of which the once subdivided mesh is asked, too."""
LEVELS = 4
"""Of subdivision, after which vertices and normals count as the limit's."""
WAVES = (14, 20, 24, 28, 34, 40)
SPHERE_LEVELS, EXACT_LEVELS = 5, 7
SAMPLES = 20000


class Model(NamedTuple):
    """A mesh, the normals (V, 3) at its vertices, and the exact surface in fine triangles."""

    name: str
    vertices: Floats
    triangles: Triangles
    normals: Floats
    surface: tuple[Floats, Triangles]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = []
    print(
        f"{'':24s}{'vertices':>9s}{'own':>8s}{'field':>8s}{'Smooth':>8s}{'/ own':>7s}"
        f"{'mesh, %':>10s}{'Extract':>9s}"
    )
    for model in models():
        mesh = fairfield.TriangleMesh(model.vertices, model.triangles)
        field = fairfield.fit(mesh)
        alone, smooth = (fairfield.smooth(field, asked).normals for asked in (mesh.vertices, mesh))
        answered = np.isfinite(alone + smooth + model.normals).all(axis=1)
        own, of_field, of_smooth = (
            float(angles(normals, model.normals)[answered].mean())
            for normals in (own_normals(model.vertices, model.triangles), alone, smooth)
        )
        surface = fairfield.extract(field, 256, "auto")
        diagonal = np.linalg.norm(np.ptp(model.vertices, axis=0))
        of_mesh, of_surface = (
            100 / diagonal * chamfer(each, model.surface)
            for each in ((mesh.vertices, mesh.triangles), (surface.vertices, surface.triangles))
        )
        rows.append(
            {
                "model": model.name,
                "vertices": len(mesh.vertices),
                "own": own,
                "field": of_field,
                "smooth": of_smooth,
                "ratio": of_smooth / own,
                "mesh_distance": of_mesh,
                "extract_distance": of_surface,
            }
        )
        print(
            f"{model.name:24s}{len(mesh.vertices):9d}{own:8.2f}{of_field:8.2f}{of_smooth:8.2f}"
            f"{of_smooth / own:7.2f}{of_mesh:10.4f}{of_surface:9.4f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def models() -> Iterator[Model]:
    """The real ones, then those that are made here."""
    folder = Path(os.environ.get("FAIRFIELD_SHARED", "../shared")) / "data" / "real"
    for name in MODELS if folder.exists() else ():
        with np.load(folder / f"{name}.npz") as file:
            used, triangles = np.unique(file["faces"], return_inverse=True)
            vertices = file["vertices"][used].astype(np.float64)
        triangles = triangles.reshape(-1, 3).astype(np.int64)
        yield at_limit(name, vertices, triangles, LEVELS)
        if name in TWICE:
            yield at_limit(f"{name}, subdivided", *igl.loop(vertices, triangles)[:2], LEVELS - 1)
    for waves in WAVES:
        vertices, triangles, normals = wavy_sphere(waves, SPHERE_LEVELS)
        surface = wavy_sphere(waves, EXACT_LEVELS)[:2]
        side = np.linalg.norm(vertices[triangles[:, 0]] - vertices[triangles[:, 1]], axis=1)
        name = f"waves of {2 * np.pi / waves / np.median(side):.1f} vertices"
        yield Model(name, vertices, triangles, normals, surface)


def at_limit(name: str, vertices: Floats, triangles: Triangles, levels: int) -> Model:
    """A mesh with its vertices moved to where subdivision leads to."""
    finer, of_finer = vertices, triangles
    for _ in range(levels):
        finer, of_finer = igl.loop(finer, of_finer)[:2]
    own = slice(len(vertices))
    return Model(name, finer[own], triangles, own_normals(finer, of_finer)[own], (finer, of_finer))


def wavy_sphere(waves: int, levels: int) -> tuple[Floats, Triangles, Floats]:
    """Vertices, triangles and normals of a sphere with waves of length 2 pi / `waves`."""
    sphere = trimesh.creation.icosphere(subdivisions=levels)
    directions = np.array(sphere.vertices)
    phase = waves * directions + [0, 1, 2]
    height, (x, y, z) = 0.5 / waves, np.sin(phase).T
    radius = 1 + height * (x * y * z)[:, None]
    slope = height * waves * np.cos(phase) * np.stack([y * z, z * x, x * y], axis=1)
    slope -= (slope * directions).sum(axis=1, keepdims=True) * directions
    normals = directions - slope / radius
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return radius * directions, np.array(sphere.faces, np.int64), normals


def own_normals(vertices: Floats, triangles: Triangles) -> Floats:
    """Angle-weighted normals (V, 3)."""
    weighting = igl.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE
    return np.asarray(igl.per_vertex_normals(vertices, triangles.astype(np.int64), weighting))


def angles(first: Floats, second: Floats) -> Floats:
    """In degrees, between unit vectors (N, 3)."""
    chord = np.linalg.norm(first - second, axis=1)
    return np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1)))


def chamfer(first: tuple[Floats, Triangles], second: tuple[Floats, Triangles]) -> float:
    """Mean distance between two surfaces, of both directions."""
    means = []
    for of, to in ((first, second), (second, first)):
        points, _ = trimesh.sample.sample_surface(
            trimesh.Trimesh(*of, process=False), SAMPLES, seed=0
        )
        squares, _, _ = igl.point_mesh_squared_distance(
            np.asarray(points), to[0], to[1].astype(np.int64)
        )
        means.append(np.sqrt(np.maximum(squares, 0)).mean())
    return float(np.mean(means))


if __name__ == "__main__":
    main()
