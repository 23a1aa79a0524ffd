"""The mesh gate: one validated triangle mesh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import MeshError

MAX_VERTICES = 2**31 - 1
MAX_COORDINATE = 1e150
"""Areas and volumes of larger meshes have no floating-point number."""
SHARP_DEGREES = 45.0
"""Angle between two triangles from which on their edge is sharp."""


@dataclass(frozen=True, eq=False)
class TriangleMesh:
    """Triangles in space, checked once so that nothing downstream has to.

    Attributes
    ----------
    vertices
        (V, 3) float64, finite, in the mesh's own units.
    triangles
        (F, 3) int32, counter-clockwise seen from outside, every index below V.

    Both arrays keep the number and order of what was given; nothing is merged or dropped.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int32]

    def __init__(self, vertices: ArrayLike, triangles: ArrayLike) -> None:
        """Validate and copy.

        Raises
        ------
        MeshError
            For wrong shapes, no vertices, no triangles, coordinates that are NaN, infinite or
            beyond computing, indices out of range, and meshes without extent.
        """
        points = _as_table(vertices, "vertices", np.float64)
        faces = _as_table(triangles, "triangles", np.int64)
        if len(points) == 0:
            raise MeshError("The mesh is empty: it has no vertices. Choose a mesh with a surface.")
        if len(faces) == 0:
            raise MeshError(
                f"The mesh has {len(points)} vertices but no faces. Choose a mesh with a surface."
            )
        if len(points) > MAX_VERTICES:
            raise MeshError(
                f"The mesh has {len(points)} vertices; the limit is {MAX_VERTICES}. Decimate it."
            )
        unusable = np.flatnonzero(~np.isfinite(points).all(axis=1))
        if len(unusable):
            raise MeshError(
                f"{len(unusable)} vertices have coordinates that are not finite numbers, first "
                f"vertex {unusable[0]} at {_show(points[unusable[0]])}. Delete or repair them."
            )
        farthest = float(np.abs(points).max())
        if farthest > MAX_COORDINATE:
            raise MeshError(
                f"The mesh reaches to {farthest:g} units from the origin, which cannot be computed "
                f"with. Scale it to a size below {MAX_COORDINATE:g}."
            )
        outside = np.flatnonzero(((faces < 0) | (faces >= len(points))).any(axis=1))
        if len(outside):
            raise MeshError(
                f"Triangle {outside[0]} refers to vertices {faces[outside[0]].tolist()}, but the "
                f"mesh has {len(points)} vertices, counted from 0. Repair or export it again."
            )
        object.__setattr__(self, "vertices", points)
        object.__setattr__(self, "triangles", faces.astype(np.int32))

    @classmethod
    def load(cls, path: str | Path) -> TriangleMesh:
        """Read PLY, OBJ, STL, GLB or `.npz`; see `fairfield.mesh_files`."""
        from .mesh_files import read_mesh

        return read_mesh(path)

    def save(self, path: str | Path) -> None:
        """Write PLY, OBJ, STL, GLB or `.npz`; see `fairfield.mesh_files`."""
        from .mesh_files import write_mesh

        write_mesh(path, self)

    def triangle_areas(self) -> NDArray[np.float64]:
        """Area of each triangle, (F,), in squared mesh units."""
        return np.linalg.norm(self._cross_products(), axis=1) / 2

    @cached_property
    def cumulative_area(self) -> NDArray[np.float64]:
        """Sum of the areas up to each triangle, (F,), for drawing triangles by area."""
        return np.cumsum(self.triangle_areas())

    def spread_by_area(self, count: int) -> NDArray[np.intp]:
        """Rows (count,) of triangles, one from each equal part of the area; the same every time."""
        shares = (np.arange(count) + 0.5) / count
        return np.searchsorted(self.cumulative_area, shares * self.cumulative_area[-1])

    def volume(self) -> float:
        """What a closed mesh encloses, in cubed mesh units; negative if its faces point inward."""
        a, b, c = self.vertices[self.triangles.T] - self.vertices.mean(axis=0)
        return float(np.einsum("ni,ni->", a, np.cross(b, c))) / 6

    def triangle_normals(self) -> NDArray[np.float64]:
        """Unit normal of each triangle, (F, 3); NaN for a triangle without area."""
        cross = self._cross_products()
        with np.errstate(invalid="ignore"):
            return cross / np.linalg.norm(cross, axis=1, keepdims=True)

    def shared_edges(self) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Edges (E, 2) that two triangles share, by their vertices, and those triangles (2, E).

        An edge runs as it does in the first of its triangles. Where more than two meet, each comes
        with the next.
        """
        triangles = self.triangles.astype(np.int64)
        ends = np.stack([triangles.T.reshape(-1), np.roll(triangles, -1, axis=1).T.reshape(-1)])
        number = ends.min(axis=0) * len(self.vertices) + ends.max(axis=0)
        order = np.argsort(number, kind="stable")
        number = number[order]
        shared = np.flatnonzero(number[1:] == number[:-1])
        pairs = np.stack([order[shared], order[shared + 1]]) % len(triangles)
        return ends[:, order[shared]].T, pairs

    def on_sharp_edges(self) -> NDArray[np.bool_]:
        """(V,) whether two triangles make 45 degrees or more at an edge that a vertex ends."""
        edges, (first, second) = self.shared_edges()
        normals = self.triangle_normals()
        cosine = np.einsum("ni,ni->n", normals.take(first, axis=0), normals.take(second, axis=0))
        sharp = np.zeros(len(self.vertices), bool)
        sharp[edges[cosine < np.cos(np.radians(SHARP_DEGREES))]] = True
        return sharp

    def _cross_products(self) -> NDArray[np.float64]:
        a, b, c = self.vertices.take(self.triangles.T, axis=0)
        return np.cross(b - a, c - a)


def distinct_rows(rows: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which rows (N, k) are the first of their kind, sorted by value, and the kind of each (N,).

    As numpy's `unique` along an axis has them; that takes several times as long.
    """
    order = np.lexsort(rows.T[::-1])
    in_order = rows[order]
    is_new = np.ones(len(rows), bool)
    is_new[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    kind = np.empty(len(rows), np.intp)
    kind[order] = np.cumsum(is_new) - 1
    return order[is_new], kind


def _as_table(values: ArrayLike, name: str, dtype: type) -> NDArray:
    try:
        table = np.array(values)
        if table.size == 0:
            return np.zeros((0, 3), dtype)
        if dtype is np.int64 and not np.issubdtype(table.dtype, np.integer):
            raise TypeError
        table = table.astype(dtype)
    except (TypeError, ValueError):
        raise MeshError(f"The mesh's {name} are not a table of numbers.") from None
    if table.ndim != 2 or table.shape[1] != 3:
        raise MeshError(f"The mesh's {name} have shape {table.shape}; expected (n, 3).")
    return table


def _show(point: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in point) + ")"
