"""Polynomials through noisy vertices, over disks that are wide enough to average their noise.

Heights of vertices over a tangent plane are fitted by least squares (Cazals & Pouget 2005), as in
`vertex_jets`; but over a disk of a given radius, and straightened as in `tangent`: with the surface
bending by k towards a vertex, its height z is no quadric of the place on the plane, even on a
sphere, but z - k z^2 / 2 is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ..fused import VertexCells
from ..fused.layout import Disks
from ..jets import Array
from ..progress import Progress, ProgressCallback, silent
from ..threads import thread_count
from .tangent import tangent_frame

DEGREE = 4
QUARTIC, QUADRIC = 15, 6
"""Coefficients of each in two variables; a quadric's are a quartic's first."""
SAME_SIDE = 0.3
"""Least cosine between the normals at a vertex and in the middle of a disk: a disk in noise may
reach far round a tube, and to the other side of a thin wall."""
BALL = 1.2
"""How far from the middle a vertex over a disk may be, in its radii."""
FEWEST = 2 * QUARTIC
SLOPES = np.array([0.0, 1, 1, 0, 0, 0])
BENDS = np.array([0.0, 0, 0, 4, 2, 4])
"""What the variances of a quadric's coefficients add to that of the gradient, and of the second
derivatives together."""
UNKNOWN = 1e6
"""The variance where there are too few."""
DISKS_AT_ONCE = 1 << 11
REGULAR = 1e-9
"""Added to the normal equations of each vertex, to solve them where a disk has too few."""


class HeightPolynomials(NamedTuple):
    """What the vertices over M disks tell about their middles.

    Attributes
    ----------
    normals
        (M, 3) unit normals.
    shapes
        (M, 3, 3) shape operators, in 1 / length.
    normal_variance, shape_variance
        (M,) of each by the vertices' scatter: squared radians, and the square of the Frobenius
        norm. `UNKNOWN` where there are too few vertices.
    """

    normals: Array
    shapes: Array
    normal_variance: Array
    shape_variance: Array


def height_polynomials(
    middles: Array,
    normals: Array,
    shapes: Array,
    radius: Array,
    share: Array,
    vertices: VertexCells,
    progress: ProgressCallback = silent,
) -> HeightPolynomials:
    """Fit polynomials to the vertices over M disks.

    Parameters
    ----------
    middles, normals, radius
        (M, 3), (M, 3) and (M,): the disks.
    shapes
        (M, 3, 3) shape operators there, nearly: heights are straightened by them.
    share
        (M,) of the quartic, 0 to 1, the rest being the quadric.
    vertices
        In the cube.
    """
    disks, parts = (middles, normals, shapes, radius, share), []
    for start in range(0, len(middles), DISKS_AT_ONCE):
        progress(Progress(start / len(middles), "Asking the vertices"))
        some = slice(start, start + DISKS_AT_ONCE)
        parts.append(_fitted(vertices, *(each[some] for each in disks)))
    return HeightPolynomials(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _fitted(
    vertices: VertexCells,
    middles: Array,
    normals: Array,
    shapes: Array,
    radius: Array,
    share: Array,
) -> HeightPolynomials:
    low = slice(QUADRIC)
    across = tangent_frame(torch.from_numpy(normals)).numpy()
    frame = np.concatenate([across, normals[:, None]], axis=1)  # [M, 3, 3]
    # A surface that bends away from its normal has positive curvature, and falling heights.
    bend = -(across @ shapes @ across.transpose(0, 2, 1)) * radius[:, None, None]
    sums = vertices.height_sums(
        Disks(middles, radius, frame, bend), BALL, SAME_SIDE, thread_count()
    )
    enough = sums.members >= FEWEST
    gram = sums.gram + REGULAR * np.maximum(sums.members, 1)[:, None, None] * np.eye(QUARTIC)
    inverse, lower_inverse = np.linalg.inv(gram), np.linalg.inv(gram[:, low, low])
    moments = sums.moments[..., None]
    quartic, quadric = inverse @ moments, lower_inverse @ moments[:, low]
    residual = sums.square - (quartic * moments).sum(axis=(1, 2))
    residual = np.maximum(residual, 0) / np.maximum(sums.members - QUARTIC, 1)
    weight = share[:, None]
    quadric = quadric[..., 0]
    coefficients = quadric + weight * (quartic[:, low, 0] - quadric)
    found, bent, _ = jets_of_heights(coefficients, frame, radius)
    # What the quartic adds to the quadric is independent of it.
    gains = np.einsum("nii->ni", lower_inverse)
    gains = gains + weight**2 * (np.einsum("nii->ni", inverse)[:, low] - gains)
    return HeightPolynomials(
        np.where(enough[:, None], found, normals),
        np.where(enough[:, None, None], bent, shapes),
        np.where(enough, residual * (gains @ SLOPES), UNKNOWN),
        np.where(enough, residual * (gains @ BENDS) / radius**2, UNKNOWN),
    )


def jets_of_heights(coefficients: Array, frame: Array, radius: Array) -> tuple[Array, Array, Array]:
    """Return normals (N, 3), shape operators (N, 3, 3) and rises (N,) in the middles of N disks.

    Parameters
    ----------
    coefficients
        (N, 6) of heights 1, x, y, x^2, xy, y^2, in units of the radius.
    frame
        (N, 3, 3) orthonormal: the axes of the disk, then its normal.
    radius
        (N,) length that the coefficients are in units of.

    A rise is how much longer a way on the surface is than on the disk, where it is steepest.
    """
    _, fx, fy, fxx, fxy, fyy = coefficients.T
    rise = np.sqrt(1 + fx**2 + fy**2)
    normals = (np.stack([-fx, -fy, np.ones_like(fx)], axis=1)[:, None] @ frame)[:, 0]
    normals /= rise[:, None]
    bend = np.stack([2 * fxx, fxy, fxy, 2 * fyy], axis=1).reshape(-1, 2, 2)
    plane = frame[:, :2] - (frame[:, :2] @ normals[:, :, None]) * normals[:, None]
    shapes = plane.transpose(0, 2, 1) @ -bend @ plane / (rise * radius)[:, None, None]
    return normals, shapes, rise
