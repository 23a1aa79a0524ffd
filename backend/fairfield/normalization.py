"""Between a mesh's own units and the cube [-1, 1]^3 that fields live on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import MeshError

HALF_EXTENT_IN_CUBE = 0.9
"""The largest half-side of the bounding box is this long in the cube."""


@dataclass(frozen=True)
class Normalization:
    """Centre of the bounding box and its largest half-side, in mesh units (float64)."""

    center: tuple[float, float, float]
    half_extent: float

    def __post_init__(self) -> None:
        """Refuse what cannot be computed with.

        Raises
        ------
        MeshError
            If the half-side is zero, or too small or too large for float64.
        """
        if not 1e-150 < self.half_extent < 1e150 or not all(map(math.isfinite, self.center)):
            raise MeshError(
                f"The mesh's largest half-extent is {self.half_extent:g} units, which cannot be "
                "computed with. Scale it to a size between 1e-150 and 1e150."
            )

    @classmethod
    def of(cls, vertices: NDArray[np.float64]) -> Normalization:
        """From (V, 3) vertices.

        Raises
        ------
        MeshError
            If all vertices lie at one point, or too far apart for float64.
        """
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        x, y, z = (low / 2 + high / 2).tolist()
        return cls((x, y, z), float((high / 2 - low / 2).max()))

    @property
    def unit(self) -> float:
        """Length of one unit of the cube, in mesh units."""
        return self.half_extent / HALF_EXTENT_IN_CUBE

    def to_cube(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (N, 3) points from mesh units to the cube."""
        return (points - np.asarray(self.center)) / self.unit

    def from_cube(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map (N, 3) points from the cube to mesh units."""
        return points * self.unit + np.asarray(self.center)
