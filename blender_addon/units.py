"""Local and world units: the one place that converts between them. Only numpy.

Where an object's scale is the same in all directions, the mesh is fitted in its own coordinates and
numbers are multiplied afterwards, so that one field serves both units. Under uneven scale curvature
is no multiple of its local value: in world units the mesh is then fitted as it stands in the scene,
turned and scaled but not moved, since no quantity depends on where it stands and small numbers stay
exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A matrix whose smallest stretch is below this part of its largest has flattened the object.
FLAT = 1e-9
# Stretches that differ by no more than this part are one: Blender keeps matrices in float32.
EVEN = 1e-5


@dataclass(frozen=True)
class Placement:
    """The linear part of the way from local to fitted coordinates.

    Parameters
    ----------
    matrix
        (3, 3) float64, column vectors: fitted = matrix @ local.
    units
        What lengths are told in: "local" or "world".
    unit
        What one of fitted coordinates is in these.
    """

    matrix: np.ndarray
    units: str = "local"
    unit: float = 1.0

    @classmethod
    def local(cls) -> Placement:
        """The placement for results in local units."""
        return cls(np.eye(3))

    @classmethod
    def in_world(cls, matrix_world: Sequence[Sequence[float]]) -> Placement:
        """The placement for results in world units, of an object with this (4, 4) matrix."""
        placement = cls(np.array(matrix_world, np.float64)[:3, :3], "world")
        stretch = placement.stretch
        return cls(np.eye(3), "world", stretch) if stretch > 0 else placement

    @classmethod
    def in_units(cls, units: str, matrix_world: Sequence[Sequence[float]]) -> Placement:
        """The placement for results in "local" or "world" units."""
        return cls.in_world(matrix_world) if units == "world" else cls.local()

    def fits_like(self, other: Placement) -> bool:
        """Whether a mesh has the same fitted coordinates, and so the same field."""
        return np.array_equal(self.matrix, other.matrix)

    def is_as_large(self, matrix_world: Sequence[Sequence[float]]) -> bool:
        """Whether results are right on an object with this (4, 4) matrix: turned, or mirrored."""
        if self.units == "local":
            return True
        now, squares = Placement.in_world(matrix_world)._squares, self._squares
        lengths = np.sqrt(np.diagonal(squares))
        return bool((np.abs(now - squares) <= EVEN * np.outer(lengths, lengths)).all())

    @property
    def is_local(self) -> bool:
        """Whether local and fitted coordinates are the same."""
        return bool((self.matrix == np.eye(3)).all())

    @property
    def singular(self) -> bool:
        """Whether the object has no thickness, so that nothing can be brought back."""
        most, _, least = self._stretches()
        return not least > FLAT * most

    @property
    def stretch(self) -> float:
        """What lengths are multiplied with; NaN where that depends on the direction."""
        most, _, least = stretches = self._stretches()
        return float(stretches.mean()) if least >= (1 - EVEN) * most else float("nan")

    @property
    def _squares(self) -> np.ndarray:
        """(3, 3) products of what the local axes become, which turning leaves as they are."""
        return self.unit**2 * self.matrix.T @ self.matrix

    def _stretches(self) -> np.ndarray:
        """(3,) by how much lengths grow along three axes, the most first; NaN for no matrix."""
        if not np.isfinite(self.matrix).all():
            return np.full(3, np.nan)
        return np.linalg.svd(self.matrix, compute_uv=False)

    @property
    def mirrors(self) -> bool:
        """Whether left and right are exchanged."""
        return bool(np.linalg.det(self.matrix) < 0)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Bring (N, 3) local points to fitted coordinates."""
        return points if self.is_local else points.astype(np.float64) @ self.matrix.T

    def bring_back(self, points: np.ndarray) -> np.ndarray:
        """Bring (N, 3) fitted points to local coordinates."""
        if self.is_local:
            return points
        return points.astype(np.float64) @ np.linalg.inv(self.matrix).T

    def orient(self, triangles: np.ndarray) -> np.ndarray:
        """Keep (F, 3) triangles facing outwards across a placement that mirrors; either way."""
        return np.ascontiguousarray(triangles[:, ::-1]) if self.mirrors else triangles

    def normals_back(self, normals: np.ndarray) -> np.ndarray:
        """Bring (N, 3) fitted normals to local axes, at length 1; NaN stays NaN."""
        return normals if self.is_local else _normalized(normals @ self.matrix)

    def tangents_back(self, tangents: np.ndarray) -> np.ndarray:
        """Bring (N, 3) fitted tangent directions to local axes, at length 1; NaN stays NaN."""
        return tangents if self.is_local else _normalized(self.bring_back(tangents))

    def normals_forth(self, normals: np.ndarray) -> np.ndarray:
        """Bring (N, 3) local normals to fitted axes, at length 1; NaN stays NaN."""
        return normals if self.is_local else _normalized(normals @ np.linalg.inv(self.matrix))

    def tangents_forth(self, tangents: np.ndarray) -> np.ndarray:
        """Bring (N, 3) local tangent directions to fitted axes, at length 1; NaN stays NaN."""
        return tangents if self.is_local else _normalized(self.place(tangents))


def _normalized(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)
