"""How often a mesh winds around a point: 1 inside of what is closed, 0 outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import igl
import numpy as np
from numpy.typing import NDArray

from .mesh import TriangleMesh

Array = NDArray[np.float64]

FULL_ACCURACY = 2.0
"""libigl's scale of the accuracy."""


@dataclass(frozen=True, eq=False)
class WindingNumber:
    """The generalized winding number, by libigl's code of its fast form (Barill et al. 2018).

    Attributes
    ----------
    sign
        -1 to take a mesh for turned around; 1 to take it as it is.
    """

    _tree: igl.FastWindingNumberBVH
    sign: float = 1.0

    @classmethod
    def of(cls, mesh: TriangleMesh) -> WindingNumber:
        """That of a mesh."""
        tree = igl.FastWindingNumberBVH()
        tree.init(
            np.asfortranarray(mesh.vertices), np.asfortranarray(mesh.triangles.astype(np.int64))
        )
        return cls(tree)

    def __call__(self, points: Array, accuracy: float = FULL_ACCURACY) -> Array:
        """Return the numbers (N,) at (N, 3) points. libigl holds Python's lock meanwhile."""
        if len(points) == 0:
            return np.zeros(0)
        number: Array = self._tree.winding_number(np.asfortranarray(points), accuracy)
        return self.sign * number

    def turned(self) -> WindingNumber:
        """That of the mesh turned around."""
        return replace(self, sign=-self.sign)
