"""Meshes with exact normals and curvature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import FairfieldError
from ..mesh import TriangleMesh

Array = NDArray[np.float64]

ARRAYS = ("vertices", "faces", "normals", "mean_curvature")


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
