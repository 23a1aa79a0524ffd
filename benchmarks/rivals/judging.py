"""What a rival answers, and how far that is from the exact surface."""

from __future__ import annotations

from dataclasses import dataclass

import fairfield
import igl
import numpy as np
from fairfield.study.accuracy import QUERIES
from fairfield.study.shapes import KnownShape
from known_surfaces import SAMPLES, Array, KnownSurface, surface_samples
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answer:
    """What a program makes of a mesh; each part where the program has one.

    Attributes
    ----------
    normals, curvature
        (V, 3) unit normals and (V,) mean curvature at the given mesh's vertices.
    surface
        The mesh that it makes instead.
    surface_normals
        (W, 3) normals of that mesh's vertices.
    moved
        Whether the surface's vertices are the given ones, moved.
    """

    normals: Array | None = None
    curvature: Array | None = None
    surface: fairfield.TriangleMesh | None = None
    surface_normals: Array | None = None
    moved: bool = False


@dataclass(frozen=True)
class Score:
    """Against the exact surface; each part where there is an answer.

    Attributes
    ----------
    normal
        Mean angle in degrees.
    curvature
        Root of the mean square of |dH| / max(|H|, 1), H in units of 1 / half-extent.
    distance
        Chamfer distance, the mean of both directions, in percent of the bounding box's diagonal.
    """

    normal: float | None = None
    curvature: float | None = None
    distance: float | None = None


def asked_vertices(count: int) -> NDArray[np.intp]:
    """Which of a mesh's vertices are asked for normals and curvature."""
    return np.random.default_rng(0).permutation(count)[:QUERIES]


class Judge:
    """Compares answers about a shape with its exact surface, at the same vertices every time.

    An answer at the given vertices is held against the truth at the exact surface's point nearest
    to the vertex, one of a moved or new surface against the truth nearest to that surface.
    """

    def __init__(self, shape: KnownShape, surface: KnownSurface) -> None:
        vertices = shape.mesh.vertices
        self.rows = asked_vertices(len(vertices))
        self._vertices = vertices[self.rows]
        self._surface = surface
        self._normals, self._curvature = surface.truth(self._vertices)
        gap = np.abs(self._normals - shape.normals[self.rows]).max()
        if gap > 1e-5:
            raise ValueError(f"The truth of {shape.name} is {gap:.1e} from that of the formula.")
        exact = surface.samples
        self._half_extent = float(np.ptp(exact, axis=0).max()) / 2
        self._diagonal = float(np.linalg.norm(np.ptp(exact, axis=0)))

    def score(self, answer: Answer) -> Score:
        """Measure an answer."""
        normal = curvature = distance = None
        if answer.normals is not None:
            normal = mean_angle(answer.normals[self.rows], self._normals)
        elif answer.surface is not None and answer.surface_normals is not None:
            normal = self._normal_of(answer)
        if answer.curvature is not None:
            error = (answer.curvature[self.rows] - self._curvature) * self._half_extent
            exact = np.abs(self._curvature * self._half_extent)
            curvature = float(np.sqrt(((error / np.maximum(exact, 1)) ** 2).mean()))
        if answer.surface is not None:
            distance = self._distance(answer.surface)
        return Score(normal, curvature, distance)

    def _normal_of(self, answer: Answer) -> float:
        assert answer.surface is not None
        assert answer.surface_normals is not None
        if answer.moved:
            places = answer.surface.vertices[self.rows]
            normals = answer.surface_normals[self.rows]
        else:
            triangles = answer.surface.triangles
            _, nearest, places = closest_points(self._vertices, answer.surface)
            corners = [
                np.ascontiguousarray(answer.surface.vertices[triangles[nearest, i]])
                for i in range(3)
            ]
            weights = igl.barycentric_coordinates(np.ascontiguousarray(places), *corners)
            normals = np.einsum("nc,nci->ni", weights, answer.surface_normals[triangles[nearest]])
        truth, _ = self._surface.truth(places)
        return mean_angle(normals, truth)

    def _distance(self, mesh: fairfield.TriangleMesh) -> float:
        there = self._surface.distance(surface_samples(mesh.vertices, mesh.triangles, SAMPLES))
        back, _, _ = closest_points(self._surface.samples, mesh)
        return 100 * float(there.mean() + back.mean()) / 2 / self._diagonal


def closest_points(points: Array, mesh: fairfield.TriangleMesh) -> tuple[Array, Array, Array]:
    """From points (N, 3): distance (N,) to a mesh, its nearest triangles (N,) and points (N, 3)."""
    square, nearest, places = igl.point_mesh_squared_distance(
        np.ascontiguousarray(points),
        np.ascontiguousarray(mesh.vertices),
        np.ascontiguousarray(mesh.triangles, dtype=np.int64),
    )
    return np.sqrt(np.maximum(square, 0)), nearest, places


def mean_angle(normals: Array, truth: Array) -> float:
    """Mean angle in degrees between directions (N, 3) and unit vectors (N, 3).

    A direction of length zero, or not a number, counts as perpendicular.
    """
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = np.nan_to_num(normals / np.where(length > 0, length, 1))
    chord = np.linalg.norm(unit - truth, axis=1)
    angle = np.where(unit.any(axis=1), 2 * np.arcsin(np.clip(chord / 2, 0, 1)), np.pi / 2)
    return float(np.degrees(angle).mean())
