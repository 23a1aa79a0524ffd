"""A jet (value, gradient, Hessian) and every quantity that follows from it, each written once.

Conventions: signed distance negative inside; normals point outward; mean curvature
H = (k1 + k2) / 2, positive on a sphere (1 / r); k1 >= k2.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALLEST_GRADIENT = 1e-6
VANISHING_GRADIENT = 0.1
PLANAR_BEND = 1e-3
UMBILIC_DIFFERENCE = 0.01


@dataclass(frozen=True, eq=False)
class Jets:
    """Second-order Taylor data of a scalar field at N points of the plane or of space.

    Attributes
    ----------
    value
        (N,) in units of length, for a distance.
    gradient
        (N, d) without unit.
    hessian
        (N, d, d) in units of 1 / length.
    scale
        (N,) the neighbourhood's standard deviation per axis that value and gradient were estimated
        at, in units of length; 0 where the operator has none. At automatic scale the Hessian has
        one of its own.

    Every other quantity is a property derived from these. All are finite where the jet is: what has
    no meaning at a point (a normal where the gradient vanishes, principal directions where both
    curvatures are equal, the shape index of a plane) is flagged by `vanishing`, `umbilic` and
    `planar`.
    """

    value: Array
    gradient: Array
    hessian: Array
    scale: Array

    def __getitem__(self, rows: NDArray[np.intp]) -> Jets:
        """Some of the jets."""
        return Jets(*(getattr(self, entry.name)[rows] for entry in fields(Jets)))

    def replace(self, rows: NDArray[np.intp], others: Jets) -> None:
        """Put others in the place of some, before anything derived has been asked for."""
        for entry in fields(Jets):
            getattr(self, entry.name)[rows] = getattr(others, entry.name)

    @property
    def unanswered(self) -> int:
        """Number of points without an answer."""
        return int((~np.isfinite(self.mean_curvature)).sum())

    @cached_property
    def gradient_norm(self) -> Array:
        """(N,) length of the gradient; at least 1e-6, to be divided by."""
        return np.maximum(np.linalg.norm(self.gradient, axis=1), SMALLEST_GRADIENT)

    @property
    def vanishing(self) -> NDArray[np.bool_]:
        """(N,) whether the gradient is too small for a normal and curvatures to mean anything.

        So it is on a distance field's medial axis, where the nearest surface changes.
        """
        return np.linalg.norm(self.gradient, axis=1) < VANISHING_GRADIENT

    @property
    def planar(self) -> NDArray[np.bool_]:
        """(N,) whether the surface is flat as far as can be told: both radii over 1000 scales."""
        return self.curvedness * self.scale < PLANAR_BEND

    @property
    def umbilic(self) -> NDArray[np.bool_]:
        """(N,) whether the principal curvatures are equal to a hundredth of their size."""
        k1, k2 = self.principal_curvatures.T
        return k1 - k2 <= UMBILIC_DIFFERENCE * self.curvedness

    @cached_property
    def normals(self) -> Array:
        """(N, d) unit normal of the level set, pointing to larger values: outward.

        Where the gradient is zero, the last axis.
        """
        norm = np.linalg.norm(self.gradient, axis=1, keepdims=True)
        last = np.zeros(self.gradient.shape[1])
        last[-1] = 1.0
        return np.where(norm == 0, last, self.gradient / np.where(norm == 0, 1.0, norm))

    @cached_property
    def laplacian(self) -> Array:
        """(N,) trace of the Hessian."""
        return np.trace(self.hessian, axis1=1, axis2=2)

    @cached_property
    def mean_curvature(self) -> Array:
        """(N,) mean of the principal curvatures: half the divergence of the normal in space.

        In the plane, the curvature of the level curve.
        """
        bend = np.einsum("ni,nij,nj->n", self.normals, self.hessian, self.normals)
        dimension = self.gradient.shape[1]
        return (self.laplacian - bend) / ((dimension - 1) * self.gradient_norm)

    @cached_property
    def gaussian_curvature(self) -> Array:
        """(N,) product of the principal curvatures, k1 k2."""
        k1, k2 = self.principal_curvatures.T
        return k1 * k2

    @property
    def principal_curvatures(self) -> Array:
        """(N, 2) eigenvalues of the shape operator, k1 >= k2. In space only."""
        return self._principal[0]

    @property
    def principal_directions(self) -> Array:
        """(N, 2, 3) unit tangents: [:, 0] belongs to k1 and [:, 1] to k2. In space only.

        Their sign is arbitrary; where k1 equals k2 so is their angle.
        """
        return self._principal[1]

    @cached_property
    def shape_index(self) -> Array:
        """(N,) 2/pi atan2(k1 + k2, k1 - k2): -1 cup, 0 saddle, 1 cap (Koenderink 1992)."""
        k1, k2 = self.principal_curvatures.T
        return 2 / np.pi * np.arctan2(k1 + k2, k1 - k2)

    @cached_property
    def curvedness(self) -> Array:
        """(N,) sqrt((k1^2 + k2^2) / 2) (Koenderink 1992)."""
        return np.sqrt((self.principal_curvatures**2).mean(axis=1))

    @cached_property
    def _principal(self) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors of the Hessian restricted to the tangent plane."""
        first, second = _tangents(self.normals)
        bent_first = np.einsum("nij,nj->ni", self.hessian, first) / self.gradient_norm[:, None]
        bent_second = np.einsum("nij,nj->ni", self.hessian, second) / self.gradient_norm[:, None]
        a = np.einsum("ni,ni->n", first, bent_first)
        b = np.einsum("ni,ni->n", first, bent_second)
        c = np.einsum("ni,ni->n", second, bent_second)
        middle, half_difference = (a + c) / 2, (a - c) / 2
        radius = np.hypot(half_difference, b)
        angle = np.arctan2(b, half_difference) / 2
        cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
        curvatures = np.stack([middle + radius, middle - radius], axis=1)
        directions = np.stack(
            [cosine * first + sine * second, cosine * second - sine * first], axis=1
        )
        return curvatures, directions


def _tangents(normals: Array) -> tuple[Array, Array]:
    """Return two (N, 3) tangents that make a right-handed orthonormal frame with each normal.

    Duff et al., "Building an Orthonormal Basis, Revisited", JCGT 2017.
    """
    x, y, z = normals.T
    sign = np.copysign(1.0, z)
    a = -1.0 / (sign + z)
    b = x * y * a
    first = np.stack([1.0 + sign * x * x * a, sign * b, -sign * x], axis=1)
    second = np.stack([b, sign + y * y * a, -y], axis=1)
    return first, second
