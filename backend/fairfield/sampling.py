"""Where a field is trained and measured: points on, near and away from the surface."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .distance import Array, NearestPoints, morton_order
from .errors import SettingError
from .mesh import TriangleMesh
from .normalization import HALF_EXTENT_IN_CUBE

Float32 = NDArray[np.float32]

SURFACE_SHARE, NEAR_SHARE = 0.3, 0.6
"""Of the training samples; the rest lies anywhere in the cube."""
NEAR_DEVIATIONS = (0.005, 0.01, 0.03)
"""Standard deviations of the displacement, each for a third of the near points (cube units)."""
GOLDEN_RATIO = (5**0.5 - 1) / 2


def as_seed(seed: int) -> int:
    """Return a seed of random numbers as a plain int, which a field's file can hold.

    Raises
    ------
    SettingError
        If it is no whole number from 0 to 2^63 - 1; a truth value is none.
    """
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**63:
        raise SettingError(f"The seed is {seed!r}; it must be a whole number from 0 to 2^63 - 1.")
    return number


def surface_points(mesh: TriangleMesh, count: int, random: np.random.Generator) -> Array:
    """Return (count, 3) points, uniform over the mesh's area."""
    return surface_samples(mesh, count, random)[0]


def surface_samples(
    mesh: TriangleMesh, count: int, random: np.random.Generator
) -> tuple[Array, NDArray[np.intp]]:
    """Return (count, 3) points, uniform over the mesh's area, and their triangles (count,)."""
    return _samples_at(mesh, random.random(count), random)


def even_surface_points(mesh: TriangleMesh, count: int, random: np.random.Generator) -> Array:
    """Return (count, 3) points in the triangles' order, one from each equal part of the area."""
    return _samples_at(mesh, (np.arange(count) + random.random(count)) / count, random)[0]


def _samples_at(
    mesh: TriangleMesh, area: Array, random: np.random.Generator
) -> tuple[Array, NDArray[np.intp]]:
    """Points (N, 3) of the triangles (N,) at which so much (N,) of the area has been counted."""
    cumulative_area = mesh.cumulative_area
    where = area * cumulative_area[-1]
    chosen = np.minimum(np.searchsorted(cumulative_area, where), len(cumulative_area) - 1)
    corners = mesh.triangles.take(chosen, axis=0).T
    a, b, c = mesh.vertices.take(corners, axis=0)
    u, v = random.random((2, len(area), 1))
    # The square's upper half folds back onto the triangle.
    folded = u + v > 1
    u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
    return a + u * (b - a) + v * (c - a), chosen


def near_points(mesh: TriangleMesh, count: int, random: np.random.Generator) -> Array:
    """Return (count, 3) points of the cube in three bands around the (normalised) mesh.

    They are in Morton order: neighbours follow each other.
    """
    deviation = np.array(NEAR_DEVIATIONS)[random.integers(len(NEAR_DEVIATIONS), size=count)]
    points = even_surface_points(mesh, count, random)
    points += random.standard_normal((count, 3)) * deviation[:, None]
    points = np.clip(points, -1, 1)
    return points.take(morton_order(points), axis=0)


class TrainingSamples:
    """Batches of points with exact signed distances, any number from a few exact queries.

    All of the way from a point to the nearest point of the surface has that same nearest point. So
    each query answers for a new point on its way whenever it is drawn; on the surface itself the
    distance is 0 without asking.

    A batch is spread evenly over surface and queries, and its points come in their order, so that
    most of what the kernels need for a point is still in the cache from the last one.

    Parameters
    ----------
    mesh
        Normalised to the cube.
    near
        Nearest points for `near_points`, in Morton order.
    anywhere
        Nearest points for points all over the cube, such as the nodes of a lattice.
    """

    def __init__(
        self,
        mesh: TriangleMesh,
        near: NearestPoints,
        anywhere: NearestPoints,
        random: np.random.Generator,
    ) -> None:
        self._mesh = mesh
        self._near = _Ways.of(near)
        self._anywhere = _Ways.of(anywhere)
        self._seed = int(random.integers(2**63))

    def draw(self, count: int, batch: int) -> tuple[Float32, Float32]:
        """Return (count, 3) points and their (count,) signed distances.

        The same for the same number of a batch, from any thread.
        """
        random = np.random.default_rng((self._seed, batch))
        on, near = round(SURFACE_SHARE * count), round(NEAR_SHARE * count)
        # Multiples of the golden ratio divide the way from a row to the next as evenly as can be,
        # so that every query is used about as often as any other.
        queries = len(self._near.distance)
        start = batch * GOLDEN_RATIO % 1
        rows = ((np.arange(near) + start) * (queries / near)).astype(np.intp)
        elsewhere = random.integers(len(self._anywhere.distance), size=count - on - near)
        elsewhere.sort()
        surface = even_surface_points(self._mesh, on, random).astype(np.float32)
        near_points, near_distances = self._near.along(rows, random)
        far_points, far_distances = self._anywhere.along(elsewhere, random)
        return (
            np.concatenate([surface, near_points, far_points]),
            np.concatenate([np.zeros(on, np.float32), near_distances, far_distances]),
        )


@dataclass(frozen=True, eq=False)
class _Ways:
    """From points of the surface (N, 3) by (N, 3) to where the signed distance is (N,)."""

    start: Float32
    step: Float32
    distance: Float32

    @classmethod
    def of(cls, queries: NearestPoints) -> _Ways:
        return cls(
            queries.nearest.astype(np.float32),
            (queries.points - queries.nearest).astype(np.float32),
            queries.distance.astype(np.float32),
        )

    def along(
        self, rows: NDArray[np.integer], random: np.random.Generator
    ) -> tuple[Float32, Float32]:
        """Points and distances somewhere on the ways of these rows."""
        share = random.random(len(rows), dtype=np.float32)
        start, step = self.start.take(rows, axis=0), self.step.take(rows, axis=0)
        return start + share[:, None] * step, share * self.distance[rows]


def near_surface_points(mesh: TriangleMesh, count: int, random: np.random.Generator) -> Array:
    """Return the (count, 3) points that the near-surface error is measured at.

    Surface samples displaced by N(0, 0.01 half-extents) per axis.
    """
    deviation = 0.01 * HALF_EXTENT_IN_CUBE
    points = surface_points(mesh, count, random)
    points += random.standard_normal((count, 3)) * deviation
    return np.clip(points, -1, 1)
