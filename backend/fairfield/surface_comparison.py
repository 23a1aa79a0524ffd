"""How far a field's surface is from a reference surface: distances, Chamfer, F-score, overlap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import igl
import numpy as np
from numpy.typing import NDArray

from .distance import SignedDistance, unsigned_distance
from .field import Field
from .mesh import TriangleMesh
from .normalization import HALF_EXTENT_IN_CUBE
from .progress import ProgressCallback, silent
from .sampling import surface_points

Distance = Callable[[NDArray[np.float64]], NDArray[np.float64]]

SAMPLES = 1 << 14
F_SCORE_DISTANCE = 1e-3
"""What counts as the same place, in half-extents."""
PROJECTIONS = 2
DIFFERENCE = 0.001
"""Step of the differences that give the direction to the zero set (cube units)."""
LEAST_SLOPE = 0.1
"""Where the field is flatter than this a point hardly moves."""


@dataclass(frozen=True)
class SurfaceComparison:
    """A field's surface against a reference; all lengths in half-extents.

    Attributes
    ----------
    distance_mean, distance_99
        Distance from samples of the field's surface to the reference: mean and 99th percentile.
    chamfer
        Mean of `distance_mean` and of the mean distance the other way, from the reference.
    f_score
        Harmonic mean of the shares of samples, of either surface, within `F_SCORE_DISTANCE` of the
        other one.
    iou
        Volume inside both over the volume inside either, in the bounding box.
    """

    distance_mean: float
    distance_99: float
    chamfer: float
    f_score: float
    iou: float


class Reference:
    """A surface in the cube that fields are compared with, at the same random places each time.

    Parameters
    ----------
    distance
        Signed distance (N,) to the surface from (N, 3) points, in units of the cube.
    samples
        (N, 3) points of the surface.
    random
        Draws the other places.
    """

    def __init__(
        self, distance: Distance, samples: NDArray[np.float64], random: np.random.Generator
    ) -> None:
        self.distance = distance
        self._samples = samples
        self._volume = random.uniform(samples.min(axis=0), samples.max(axis=0), (SAMPLES, 3))
        self._inside = distance(self._volume) < 0
        self._seed = int(random.integers(2**63))

    @classmethod
    def of_mesh(
        cls, mesh: TriangleMesh, random: np.random.Generator, progress: ProgressCallback = silent
    ) -> Reference:
        """A mesh in the cube, but for what lies inside other parts of it."""
        distance = SignedDistance(mesh, progress)
        return cls(distance, surface_points(distance.surface, SAMPLES, random), random)

    @classmethod
    def of_field(
        cls, field: Field, surface: TriangleMesh, random: np.random.Generator
    ) -> Reference:
        """A field's zero set, given roughly by triangles; its values count as distances."""
        samples = on_zero_set(field, surface_points(surface, SAMPLES, random))
        return cls(lambda points: cube_values(field, points), samples, random)

    def compare(self, field: Field, field_surface: TriangleMesh) -> SurfaceComparison:
        """Compare a field whose zero set is given roughly, by triangles in the cube."""
        random = np.random.default_rng(self._seed)
        there = self.distance(on_zero_set(field, surface_points(field_surface, SAMPLES, random)))
        to_reference = np.abs(there) / HALF_EXTENT_IN_CUBE
        from_reference = self.values_at_samples(field)
        inside = cube_values(field, self._volume) < 0
        either = int((inside | self._inside).sum())
        shares = [
            float((distances < F_SCORE_DISTANCE).mean())
            for distances in (to_reference, from_reference)
        ]
        return SurfaceComparison(
            distance_mean=float(to_reference.mean()),
            distance_99=float(np.quantile(to_reference, 0.99)),
            chamfer=float(to_reference.mean() + from_reference.mean()) / 2,
            f_score=2 * shares[0] * shares[1] / max(sum(shares), 1e-9),
            iou=float((inside & self._inside).sum()) / max(either, 1),
        )

    def values_at_samples(self, field: Field) -> NDArray[np.float64]:
        """|f| (N,) at samples of the reference, in half-extents: the distance, for a distance."""
        return np.abs(cube_values(field, self._samples)) / HALF_EXTENT_IN_CUBE


def largest_distance(one: TriangleMesh, other: TriangleMesh) -> float:
    """Return how far a vertex of either surface is from the other surface, at most."""
    return max(
        float(unsigned_distance(to, of.vertices).max()) for of, to in ((one, other), (other, one))
    )


def pieces_and_handles(surface: TriangleMesh) -> NDArray[np.float64]:
    """Return how many pieces a surface has, and how many handles; a loop of rim is half of one."""
    triangles = surface.triangles.astype(np.int64)
    pieces = int(np.max(igl.vertex_components(triangles))) + 1
    return np.array([pieces, pieces - igl.euler_characteristic(triangles) / 2])


def cube_values(field: Field, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (N,) at (N, 3) points, both in units of the cube."""
    return field.evaluate(field.tensor(points)).cpu().double().numpy()


def on_zero_set(field: Field, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring (N, 3) points of the cube that are near it onto the zero set, by Newton steps."""
    for _ in range(PROJECTIONS):
        around = points[:, None] + DIFFERENCE * np.concatenate([np.eye(3), -np.eye(3)])
        ahead, behind = np.split(cube_values(field, around.reshape(-1, 3)).reshape(-1, 6), 2, 1)
        gradient = (ahead - behind) / (2 * DIFFERENCE)
        step = cube_values(field, points) / np.maximum((gradient**2).sum(axis=1), LEAST_SLOPE**2)
        points = points - step[:, None] * gradient
    return points
