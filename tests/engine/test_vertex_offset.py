"""In noise the surface runs where the vertices are on average, and not outside of them."""

from __future__ import annotations

import fairfield
import numpy as np
import pytest
from fairfield.errors import Cancelled
from fairfield.operators.differentiation import smoothed_values
from fairfield.progress import Progress
from fairfield.vertex_offset import with_vertex_offsets
from shapes import icosphere

NOISE = 0.02


@pytest.fixture(scope="module")
def noisy_sphere() -> fairfield.TriangleMesh:
    """Of radius 1, its vertices moved anywhere."""
    directions, triangles = icosphere(subdivisions=5)
    moved = NOISE * np.random.default_rng(0).normal(size=directions.shape)
    return fairfield.TriangleMesh(directions + moved, triangles)


@pytest.fixture(scope="module")
def noisy_field(noisy_sphere: fairfield.TriangleMesh) -> fairfield.Field:
    return fairfield.fit(noisy_sphere, "draft")


def _off(points: np.ndarray) -> np.ndarray:
    return (np.linalg.norm(points, axis=1) - 1) / NOISE


def test_surface_and_foot_points_are_close(
    noisy_field: fairfield.Field, noisy_sphere: fairfield.TriangleMesh
) -> None:
    surface = fairfield.extract(noisy_field, 64, "auto")
    feet = fairfield.smooth(noisy_field, noisy_sphere).foot_points
    for points in (surface.vertices, feet[np.isfinite(feet).all(axis=1)]):
        assert np.abs(_off(points)).mean() < 0.1
        assert abs(_off(points).mean()) < 0.06


def test_points_asked_one_by_one_lie_on_the_same_surface(noisy_field: fairfield.Field) -> None:
    points, _ = icosphere(subdivisions=4)
    surface = _off(fairfield.extract(noisy_field, 64, "auto").vertices).mean()
    alone = _off(fairfield.smooth(noisy_field, points, operator="polynomial").foot_points).mean()
    assert alone == pytest.approx(surface, abs=0.08)
    heights = smoothed_values(noisy_field, points, "auto") / NOISE
    assert heights.mean() == pytest.approx(-surface, abs=0.08)


def test_asking_them_can_be_cancelled(
    noisy_field: fairfield.Field, noisy_sphere: fairfield.TriangleMesh
) -> None:
    def cancel(_progress: Progress) -> None:
        raise Cancelled

    vertices = noisy_field.normalization.to_cube(noisy_sphere.vertices)
    with pytest.raises(Cancelled):
        with_vertex_offsets(noisy_field, vertices, np.random.default_rng(0), cancel)


def test_vertices_on_the_surface_change_nothing(sphere_field: fairfield.Field) -> None:
    points, _ = icosphere(subdivisions=5)
    random = np.random.default_rng(0)
    assert with_vertex_offsets(sphere_field, points, random) is sphere_field.scale_map


def test_few_vertices_change_nothing(
    noisy_field: fairfield.Field, noisy_sphere: fairfield.TriangleMesh
) -> None:
    few = noisy_field.normalization.to_cube(noisy_sphere.vertices[:50])
    kept = with_vertex_offsets(noisy_field, few, np.random.default_rng(0))
    assert kept is noisy_field.scale_map
