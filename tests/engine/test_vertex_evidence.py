"""In noise the surface runs where the vertices are on average, and lies as they tell."""

from __future__ import annotations

from dataclasses import replace

import fairfield
import numpy as np
import pytest
from fairfield.errors import Cancelled
from fairfield.extraction import extract_with_jets
from fairfield.operators.differentiation import smoothed_values
from fairfield.progress import Progress
from fairfield.vertex_evidence import with_vertex_evidence
from shapes import angles_in_degrees, icosphere, torus, wavy_sphere

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


def _without_corrections(field: fairfield.Field) -> fairfield.Field:
    bare = field.scale_map.without_corrections()
    return fairfield.Field(field.module, field.normalization, field.report, bare)


def _normal_error(jets: fairfield.Jets) -> float:
    """In degrees, on a sphere."""
    feet = jets.foot_points
    exact = feet / np.linalg.norm(feet, axis=1, keepdims=True)
    return float(np.degrees(np.linalg.norm(jets.normals - exact, axis=1)).mean())


@pytest.mark.parametrize("operator", ["polynomial-lattice", "polynomial"])
def test_normals_and_curvature_are_closer_with_the_vertices(
    noisy_field: fairfield.Field, noisy_sphere: fairfield.TriangleMesh, operator: str
) -> None:
    points = noisy_sphere.vertices[::7]
    alone = fairfield.smooth(_without_corrections(noisy_field), points, operator=operator)
    both = fairfield.smooth(noisy_field, points, operator=operator)
    assert _normal_error(both) < 0.8 * _normal_error(alone)
    off_alone, off_both = (np.abs(jets.mean_curvature - 1).mean() for jets in (alone, both))
    assert off_both < 0.9 * off_alone


def test_an_extracted_surface_has_the_vertices_normals_too(noisy_field: fairfield.Field) -> None:
    def error(field: fairfield.Field) -> float:
        surface, jets = extract_with_jets(field, 64, "auto")
        exact = surface.vertices / np.linalg.norm(surface.vertices, axis=1, keepdims=True)
        return float(np.linalg.norm(jets.normals - exact, axis=1).mean())

    assert error(noisy_field) < 0.75 * error(_without_corrections(noisy_field))


def test_vertices_that_lie_far_apart_have_a_say_in_large_noise() -> None:
    vertices, triangles, exact = wavy_sphere(waves=8, height=0.04)
    moved = vertices + 0.003 * np.random.default_rng(0).normal(size=vertices.shape)
    mesh = fairfield.TriangleMesh(moved, triangles)
    field = fairfield.fit(mesh, "draft")
    both, alone = (
        angles_in_degrees(fairfield.smooth(one, moved).normals, exact).mean()
        for one in (field, _without_corrections(field))
    )
    assert both < 0.97 * alone


def test_where_the_surface_bends_too_much_for_them_they_do_no_harm() -> None:
    vertices, triangles, exact, _ = torus(0.7, 0.3, 160, 80)
    moved = vertices + 0.01 * np.random.default_rng(1).normal(size=vertices.shape)
    mesh = fairfield.TriangleMesh(moved, triangles)
    field = fairfield.fit(mesh, "draft")

    def error(one: fairfield.Field) -> float:
        return angles_in_degrees(fairfield.smooth(one, mesh).normals, exact).mean()

    assert error(field) < 1.02 * error(_without_corrections(field))


def test_other_scales_are_answered_by_the_field_alone(
    noisy_field: fairfield.Field, noisy_sphere: fairfield.TriangleMesh
) -> None:
    points, bare = noisy_sphere.vertices[::50], _without_corrections(noisy_field)
    for settings in ({"scale": 0.3}, {"scale_factor": 2.0}, {"operator": "autodiff"}):
        with_vertices = fairfield.smooth(noisy_field, points, **settings)
        np.testing.assert_array_equal(
            with_vertices.gradient, fairfield.smooth(bare, points, **settings).gradient
        )


def test_a_refined_field_is_not_corrected_again(
    noisy_field: fairfield.Field, noisy_sphere: fairfield.TriangleMesh
) -> None:
    refined = fairfield.finetune(noisy_field, noisy_sphere)
    assert refined.report.finetuning["handed_over"]
    again = replace(
        refined.scale_map, turn=noisy_field.scale_map.turn, bend=noisy_field.scale_map.bend
    )
    twice = fairfield.Field(refined.module, refined.normalization, refined.report, again)
    points = noisy_sphere.vertices[::7]
    once_off, twice_off = (
        _normal_error(fairfield.smooth(field, points)) for field in (refined, twice)
    )
    assert once_off < twice_off


def test_asking_them_can_be_cancelled(
    noisy_field: fairfield.Field, noisy_sphere: fairfield.TriangleMesh
) -> None:
    def cancel(_progress: Progress) -> None:
        raise Cancelled

    vertices = noisy_field.normalization.to_cube(noisy_sphere.vertices)
    with pytest.raises(Cancelled):
        with_vertex_evidence(noisy_field, vertices, np.random.default_rng(0), cancel)


def test_vertices_on_the_surface_change_nothing(sphere_field: fairfield.Field) -> None:
    points, _ = icosphere(subdivisions=5)
    random = np.random.default_rng(0)
    assert with_vertex_evidence(sphere_field, points, random) is sphere_field.scale_map


def test_few_vertices_change_nothing(
    noisy_field: fairfield.Field, noisy_sphere: fairfield.TriangleMesh
) -> None:
    few = noisy_field.normalization.to_cube(noisy_sphere.vertices[:50])
    kept = with_vertex_evidence(noisy_field, few, np.random.default_rng(0))
    assert not kept.turn.any()
    assert not kept.bend.any()
    np.testing.assert_array_equal(kept.offset, noisy_field.scale_map.offset)
