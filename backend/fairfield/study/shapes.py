"""Meshes with exact normals and curvature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..errors import FairfieldError
from ..mesh import TriangleMesh

Array = NDArray[np.float64]

ARRAYS = ("vertices", "faces", "normals", "mean_curvature")

FACETS_AROUND = 50
"""Over which a smooth surface can follow how high the facets are."""
STEPS = 8
PLACES = (
    np.array(
        [
            [i + third, j + third, STEPS - i - j - 2 * third]
            for third in (1 / 3, 2 / 3)
            for i in range(STEPS)
            for j in range(STEPS - i - (third > 0.5))
        ]
    )
    / STEPS
)
"""(64, 3) barycentric coordinates: the middles of as many parts that a triangle is cut into."""


@dataclass(frozen=True)
class KnownShape:
    """A mesh and the truth of its surface: (V, 3) unit normals and (V,) mean curvature.

    `points` (V, 3) are where the truth is: the vertices, or for a noisy mesh the surface under
    them.
    """

    name: str
    mesh: TriangleMesh
    points: Array
    normals: Array
    mean_curvature: Array

    @property
    def case(self) -> str:
        """What is after the last underscore of the name: "clean", "coarse", "noise0p3"..."""
        return self.name.rpartition("_")[2]

    @property
    def facet_distance(self) -> float:
        """How near to the mesh a smooth surface with the exact normals can be, in half-extents.

        It is the mean distance of the exact surface, moved along its normals to the middle of what
        it rises above the facets around. The mesh's vertices lie on it; above a facet it rises like
        the quadric with its normals at the corners.
        """
        areas = self.mesh.triangle_areas()
        kept = areas > 0
        triangles, facet = self.mesh.triangles[kept], self.mesh.triangle_normals()[kept]
        corners, normals = self.points[triangles], self.normals[triangles]  # (F, 3, 3)
        slope_at = normals / (normals * facet[:, None]).sum(axis=2, keepdims=True)
        height = np.zeros((len(triangles), 1))
        for i, j in ((0, 1), (1, 2), (2, 0)):
            edge = corners[:, j] - corners[:, i]
            rise = ((slope_at[:, j] - slope_at[:, i]) * edge).sum(axis=1) / 2
            height = height + rise[:, None] * PLACES[:, i] * PLACES[:, j]
        middles = corners.mean(axis=1)
        _, around = cKDTree(middles).query(middles, k=min(FACETS_AROUND, len(middles)))
        own = np.median(height, axis=1)
        moved = own[around.reshape(len(own), -1)].mean(axis=1)
        away = np.abs(height - moved[:, None]).mean(axis=1)
        half_extent = np.ptp(self.mesh.vertices, axis=0).max() / 2
        return float(np.average(away, weights=areas[kept]) / half_extent)


def load_shapes(folder: Path, pattern: str) -> list[KnownShape]:
    """Read the `.npz` files of a folder whose name matches a pattern, in the order of their names.

    Raises
    ------
    FairfieldError
        If the folder has none, or one lacks an array.
    """
    paths = sorted(folder.glob(f"{pattern}.npz"))
    if not paths:
        raise FairfieldError(
            f"There is no shape {pattern}.npz in {folder}; --data names a folder of .npz files "
            f"with the arrays {', '.join(ARRAYS)}."
        )
    return [_load(path) for path in paths]


def _load(path: Path) -> KnownShape:
    with np.load(path, allow_pickle=False) as data:
        missing = [name for name in ARRAYS if name not in data]
        if missing:
            raise FairfieldError(f"{path} has no array {missing[0]!r}.")
        vertices, faces, normals, curvature = (data[name] for name in ARRAYS)
        points = data.get("closest", vertices)
    mesh = TriangleMesh(vertices.astype(np.float64), faces)
    return KnownShape(
        path.stem,
        mesh,
        points.astype(np.float64),
        normals.astype(np.float64),
        curvature.astype(np.float64),
    )
