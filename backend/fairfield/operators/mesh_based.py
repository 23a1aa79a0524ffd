"""Derivatives from a mesh of the zero set: what a user of marching cubes has without an operator.

Normals weighted by the angles of the faces, mean curvature from the cotangent Laplacian, Gaussian
curvature from the angle defect (Meyer et al. 2003). A baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import igl
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from ..field import Field

Array = NDArray[np.float64]

RESOLUTION = 256


@dataclass(frozen=True, eq=False)
class ExtractedSurface:
    """Curvature at the V vertices of a field's marching-cubes mesh, in units of the cube.

    Attributes
    ----------
    normals
        (V, 3) unit.
    hessians
        (V, 3, 3) of a distance with the vertex's principal curvatures; these methods tell no
        directions, so those are arbitrary tangents.
    """

    normals: Array
    hessians: Array
    tree: cKDTree

    @classmethod
    def of(cls, field: Field) -> ExtractedSurface:
        """Extract the raw zero set and measure it."""
        from ..extraction import extract

        mesh = extract(field, RESOLUTION)
        vertices = field.normalization.to_cube(mesh.vertices)
        triangles = mesh.triangles.astype(np.int64)
        normals = igl.per_vertex_normals(
            vertices, triangles, igl.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE
        )
        area = igl.massmatrix(vertices, triangles, igl.MASSMATRIX_TYPE_VORONOI).diagonal()
        laplacian = igl.cotmatrix(vertices, triangles) @ vertices / area[:, None]
        mean = -(laplacian * normals).sum(axis=1) / 2
        gaussian = igl.gaussian_curvature(vertices, triangles) / area
        half_difference = np.sqrt(np.maximum(mean**2 - gaussian, 0))
        first = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        second = np.cross(normals, first)
        hessians = np.einsum("n,ni,nj->nij", mean + half_difference, first, first)
        hessians += np.einsum("n,ni,nj->nij", mean - half_difference, second, second)
        return cls(normals, hessians, cKDTree(vertices))

    def jet(self, points: Array) -> tuple[Array, Array]:
        """Return the gradient (N, 3) and Hessian (N, 3, 3) of the vertex nearest to each point."""
        _, nearest = self.tree.query(points)
        return self.normals[nearest], self.hessians[nearest]
