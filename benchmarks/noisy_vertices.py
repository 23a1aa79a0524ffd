"""What a noisy mesh's vertices add to normals and curvature: Smooth with and without them.

    python benchmarks/noisy_vertices.py [--json FILE]

On the public noisy shapes (looked for in FAIRFIELD_SHARED), and on others that are made here:
surfaces of functions, triangulated by marching cubes, their vertices put onto the surface and moved
by white noise. Each is fitted once with preset "standard". Mean normal error in degrees, and root
mean square of |dH| / max(|H|, 1) in half-extents.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import fairfield
import numpy as np
import torch
from fairfield.jets import Jets
from fairfield.study.accuracy import accuracy_of
from fairfield.study.shapes import KnownShape, load_shapes
from skimage.measure import marching_cubes
from torch import Tensor
from torch.func import grad, hessian, vmap

NODES = 72
HALF_SIDE = 1.1
NOISE = (0.001, 0.002, 0.005)
"""In diagonals."""


def ellipsoid(p: Tensor) -> Tensor:
    return ((p / torch.tensor([0.9, 0.6, 0.35], dtype=p.dtype)) ** 2).sum() - 1


def wavy_sphere(p: Tensor) -> Tensor:
    waves = torch.sin(5 * p[0]) * torch.sin(6 * p[1] + 1) * torch.cos(5 * p[2])
    return p.norm() - 0.7 - 0.06 * waves


def superquadric(p: Tensor) -> Tensor:
    return ((p / 0.8) ** 4).sum() - 1


def joined_tori(p: Tensor) -> Tensor:
    tubes = [
        torch.hypot(torch.hypot(p[0] + side * 0.35, p[1]) - 0.45, p[2]) - 0.18 for side in (-1, 1)
    ]
    return -torch.logsumexp(-20 * torch.stack(tubes), 0) / 20


SURFACES = (ellipsoid, wavy_sphere, superquadric, joined_tori)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = []
    print(f"{'':24s}{'normals':>16s}{'with them':>10s}{'':6s}{'H':>10s}{'with them':>10s}")
    for shape in shapes():
        field = fairfield.fit(shape.mesh)
        both = errors(field, shape)
        field.scale_map = field.scale_map.without_corrections()
        alone = errors(field, shape)
        ratios = [new / old for new, old in zip(both, alone, strict=True)]
        rows.append({"shape": shape.name, "alone": alone, "with": both, "ratios": ratios})
        print(
            f"{shape.name:24s}{alone[0]:16.3f}{both[0]:10.3f}{ratios[0]:6.2f}"
            f"{alone[1]:10.4f}{both[1]:10.4f}{ratios[1]:6.2f}",
            flush=True,
        )
    table = np.array([row["ratios"] for row in rows])
    mean, worst = np.exp(np.log(table).mean(axis=0)), table.max(axis=0)
    print(f"geometric mean of the ratios: normals {mean[0]:.3f}, H {mean[1]:.3f}")
    print(f"largest: normals {worst[0]:.3f}, H {worst[1]:.3f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def errors(field: fairfield.Field, shape: KnownShape) -> tuple[float, float]:
    """Of normals and curvature that Smooth answers at the vertices."""
    jets = fairfield.smooth(field, shape.mesh)
    half_extent = field.normalization.half_extent
    found = accuracy_of(jets, shape.normals, shape.mean_curvature, half_extent)
    return found.normal_mean, found.curvature_rms


def shapes() -> Iterator[KnownShape]:
    """The public ones, then those that are made here."""
    folder = Path(os.environ.get("FAIRFIELD_SHARED", "../shared")) / "data" / "analytic"
    if folder.exists():
        yield from load_shapes(folder, "*noise*")
    for surface in SURFACES:
        for noise in NOISE:
            yield noisy(surface, noise)


def noisy(surface: Callable[[Tensor], Tensor], noise: float) -> KnownShape:
    """A mesh of a function's surface, its vertices moved by so many diagonals."""
    axis = torch.linspace(-HALF_SIDE, HALF_SIDE, NODES, dtype=torch.float64)
    nodes = torch.cartesian_prod(axis, axis, axis)
    volume = vmap(surface)(nodes).reshape(NODES, NODES, NODES)
    places, triangles, _, _ = marching_cubes(volume.numpy(), 0.0, gradient_direction="ascent")
    points = torch.from_numpy(places.astype(np.float64)) * (axis[1] - axis[0]) - HALF_SIDE
    for _ in range(5):
        slope = vmap(grad(surface))(points)
        points = points - (vmap(surface)(points) / slope.square().sum(1))[:, None] * slope
    exact = Jets(
        np.zeros(len(points)),
        vmap(grad(surface))(points).numpy(),
        vmap(hessian(surface))(points).numpy(),
        np.zeros(len(points)),
    )
    on_surface = points.numpy()
    diagonal = np.linalg.norm(np.ptp(on_surface, axis=0))
    moves = np.random.default_rng(0).normal(size=on_surface.shape)
    mesh = fairfield.TriangleMesh(on_surface + noise * diagonal * moves, triangles)
    name = f"{surface.__name__} {noise:.1%}"
    return KnownShape(name, mesh, on_surface, exact.normals, exact.mean_curvature)


if __name__ == "__main__":
    main()
