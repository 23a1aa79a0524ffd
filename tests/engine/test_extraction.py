"""Extracted surfaces are closed, lie where they should, and face outward."""

from __future__ import annotations

import fairfield
import numpy as np
import pytest
import trimesh
from conftest import SPHERE_CENTER
from fairfield.errors import SettingError
from fairfield.extraction import extract_with_jets
from scipy.spatial import cKDTree
from shapes import angles_in_degrees, edges_not_shared_by_two, icosphere, volume


@pytest.mark.parametrize("resolution", [32, 61])
def test_the_surface_is_closed_and_in_place(sphere_field: fairfield.Field, resolution: int) -> None:
    mesh = fairfield.extract(sphere_field, resolution)
    assert edges_not_shared_by_two(mesh.triangles) == 0
    radius = np.linalg.norm(mesh.vertices - SPHERE_CENTER, axis=1)
    assert np.abs(radius - 3).mean() < 0.01
    expected = 4 / 3 * np.pi * 27
    assert volume(mesh.vertices - SPHERE_CENTER, mesh.triangles) == pytest.approx(
        expected, rel=0.02
    )


def test_only_the_band_differs_from_the_whole_lattice(sphere_field: fairfield.Field) -> None:
    _check_against_the_whole_lattice(sphere_field, 40)


def test_what_closes_a_hole_is_where_the_sign_changes() -> None:
    """It may be far from the mesh, so that the field is not small beside it."""
    vertices, triangles = icosphere(subdivisions=4)
    kept = vertices[triangles].mean(axis=1) @ [0.6, 0.48, 0.64] < 0.88
    field = fairfield.fit(fairfield.TriangleMesh(vertices, triangles[kept]), "draft")
    assert not field.report.warnings
    _check_against_the_whole_lattice(field, 120)


def _check_against_the_whole_lattice(field: fairfield.Field, resolution: int) -> None:
    """The surface must be that of marching cubes over every node."""
    from skimage.measure import marching_cubes

    along = np.linspace(-1, 1, resolution + 1)
    nodes = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3)
    points = field.normalization.from_cube(nodes)
    values = field(points).reshape([resolution + 1] * 3)
    vertices, *_ = marching_cubes(values, 0.0)
    cube = vertices * (2 / resolution) - 1
    whole = field.normalization.from_cube(cube)
    band = fairfield.extract(field, resolution).vertices
    assert len(band) == len(whole)
    gap, partner = cKDTree(whole).query(band)
    assert gap.max() < 1e-3
    assert len(np.unique(partner)) == len(whole)


def test_the_smoothed_surface_is_smoother(sphere_field: fairfield.Field) -> None:
    raw = fairfield.extract(sphere_field, 48)
    mesh, jets = extract_with_jets(sphere_field, 48, scale=0.1)
    spread = [
        np.std(np.linalg.norm(surface.vertices - SPHERE_CENTER, axis=1)) for surface in (raw, mesh)
    ]
    assert spread[1] < 0.7 * spread[0]
    assert edges_not_shared_by_two(mesh.triangles) == 0
    outward = (mesh.vertices - SPHERE_CENTER) / 3
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    assert angles_in_degrees(jets.normals, outward).mean() < 1.5


@pytest.mark.parametrize("resolution", [0, 15, 5000])
def test_impossible_resolutions_are_refused(sphere_field: fairfield.Field, resolution: int) -> None:
    with pytest.raises(SettingError, match=str(resolution)):
        fairfield.extract(sphere_field, resolution)


def test_extraction_can_be_cancelled(sphere_field: fairfield.Field) -> None:
    def stop(progress: fairfield.Progress) -> None:
        if progress.fraction > 0.1:
            raise fairfield.Cancelled

    with pytest.raises(fairfield.Cancelled):
        fairfield.extract(sphere_field, 64, progress=stop)


def test_an_eye_in_an_open_socket_has_a_clean_surface() -> None:
    # A ball in a hole of a larger one: most of it is inside, where nobody sees it.
    vertices, triangles = icosphere(1.0, subdivisions=5)
    middles = vertices[triangles].mean(axis=1)
    head = triangles[middles[:, 0] < 0.9]
    eye = 0.48 * vertices + np.array([0.75, 0, 0])
    mesh = fairfield.TriangleMesh(
        np.concatenate([vertices, eye]), np.concatenate([head, triangles + len(vertices)])
    )
    field = fairfield.fit(mesh, preset="draft")
    surface = fairfield.extract(field, resolution=96, scale="auto")
    assert len(trimesh.Trimesh(surface.vertices, surface.triangles).split()) == 1
    off = np.minimum(
        np.linalg.norm(surface.vertices, axis=1) - 1,
        np.linalg.norm(surface.vertices - [0.75, 0, 0], axis=1) - 0.48,
    )
    # What is farther off rounds the crease.
    assert np.quantile(np.abs(off), 0.95) < 2e-3
    assert np.abs(off).max() < 0.06


def test_walls_thinner_than_their_facets_stay_in_one_piece() -> None:
    # A bowl of few faces: each is several times as long as the wall is thick.
    angles = np.linspace(-np.pi / 2, 0.2, 5)
    outside = np.column_stack([np.cos(angles), np.sin(angles)])
    outside[0] = 0, -1
    bowl = trimesh.creation.revolve(np.concatenate([outside, 0.92 * outside[::-1]]), sections=10)
    field = fairfield.fit(fairfield.TriangleMesh(bowl.vertices, bowl.faces), preset="draft")
    surface = fairfield.extract(field, resolution=96, scale="auto")
    extracted = trimesh.Trimesh(surface.vertices, surface.triangles)
    assert extracted.body_count == 1
    assert extracted.volume == pytest.approx(bowl.volume, rel=0.02)


def test_a_bevel_that_is_narrower_than_its_faces_are_long_keeps_its_shape() -> None:
    radius, bevel = 1.0, 0.1
    turn = np.linspace(0, np.pi / 2, 5)
    corner = radius - bevel + bevel * np.column_stack([np.cos(turn), np.sin(turn)])
    lower = corner[::-1] * [1, -1]
    profile = np.concatenate([[(0, -radius)], lower, corner, [(0, radius)]])
    rod = trimesh.creation.revolve(profile, sections=32)
    field = fairfield.fit(fairfield.TriangleMesh(rod.vertices, rod.faces), preset="draft")
    surface = fairfield.extract(field, resolution=96, scale="auto")
    across = np.linalg.norm(surface.vertices[:, :2], axis=1)
    beyond = np.column_stack([across, np.abs(surface.vertices[:, 2])]) - (radius - bevel)
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    distance = outside + np.minimum(beyond.max(axis=1), 0) - bevel
    # The faces cut off 0.005 of the round.
    assert np.abs(distance).max() < 0.007
    extracted = trimesh.Trimesh(surface.vertices, surface.triangles)
    assert extracted.body_count == 1
    assert extracted.volume == pytest.approx(rod.volume, rel=0.02)
