"""Sharp edges of models from CAD in what Extract makes of them, with and without following them.

    python benchmarks/sharp_edges.py [--json FILE]

The fandisk (looked for in FAIRFIELD_SHARED), and shapes that are made here, each fitted once with
preset "standard" and extracted at a resolution of 256. How far the mesh is from the surface, on
average and at most, in cells; the share of the surface's area that is turned by over ten degrees
from the mesh; and the seconds of the extraction.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import fairfield
import igl
import numpy as np
import trimesh

RESOLUTION = 256
SAMPLES = 60000
TURNED = 10.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = []
    print(f"{'':24s}{'mean':>9s}{'most':>8s}{'turned':>9s}{'seconds':>9s}")
    for name, mesh in models():
        field = fairfield.fit(mesh)
        creases = field.creases
        for label, used in (("", None), ("followed", creases)):
            field.creases = used
            start = time.perf_counter()
            surface = fairfield.extract(field, RESOLUTION, "auto")
            seconds = time.perf_counter() - start
            row = {"model": name, "followed": used is not None, **measured(surface, mesh)}
            rows.append({**row, "seconds": seconds})
            print(
                f"{name if not label else '':14s}{label:10s}{row['mean']:9.4f}{row['most']:8.2f}"
                f"{row['turned']:9.3%}{seconds:9.1f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def models() -> Iterator[tuple[str, fairfield.TriangleMesh]]:
    """The public one, then those that are made here."""
    folder = Path(os.environ.get("FAIRFIELD_SHARED", "../shared")) / "data" / "real"
    if folder.exists():
        yield "fandisk", fairfield.TriangleMesh.load(folder / "fandisk.npz")
    for name, shape in (
        ("box", trimesh.creation.box((1, 0.7, 0.5))),
        ("plate", trimesh.creation.box((1, 0.02, 0.5))),
        ("ring", trimesh.creation.annulus(0.3, 1, 0.8, sections=96)),
        ("cylinder", trimesh.creation.cylinder(1, 2, sections=32)),
        ("pyramid", trimesh.creation.cone(1, 1.2, sections=4)),
    ):
        yield name, fairfield.TriangleMesh(np.array(shape.vertices), np.array(shape.faces))


def measured(surface: fairfield.TriangleMesh, mesh: fairfield.TriangleMesh) -> dict[str, float]:
    """Distances from the mesh in cells, and the share of area that is turned."""
    cell = np.ptp(mesh.vertices, axis=0).max() / 0.9 / RESOLUTION
    samples, _ = trimesh.sample.sample_surface(
        trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False), SAMPLES, seed=0
    )
    square, _, _ = igl.point_mesh_squared_distance(
        np.asarray(samples), surface.vertices, surface.triangles.astype(np.int64)
    )
    distance = np.sqrt(np.maximum(square, 0)) / cell
    _, nearest, _ = igl.point_mesh_squared_distance(
        surface.vertices[surface.triangles].mean(axis=1),
        mesh.vertices,
        mesh.triangles.astype(np.int64),
    )
    cosine = (surface.triangle_normals() * mesh.triangle_normals()[nearest]).sum(axis=1)
    area = surface.triangle_areas()
    turned = area[cosine < np.cos(np.radians(TURNED))].sum() / area.sum()
    return {"mean": distance.mean(), "most": distance.max(), "turned": turned}


if __name__ == "__main__":
    main()
