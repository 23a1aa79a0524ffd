"""The mesh gate refuses what has no answer, and repairs only the copy that is fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from fairfield.errors import MeshError
from fairfield.mesh import TriangleMesh
from fairfield.repair import repair
from shapes import edges_not_shared_by_two, icosphere, volume

SQUARE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("vertices", "triangles", "says"),
    [
        ([], [], "no vertices"),
        (SQUARE, [], "4 vertices but no faces"),
        ([[0, 0, 0], [1, 0, 0], [np.nan, 1, 0]], [[0, 1, 2]], "first vertex 2 at (nan, 1, 0)"),
        ([[0, 0, 0], [1, 0, 0], [0, -np.inf, 0]], [[0, 1, 2]], "(0, -inf, 0)"),
        (SQUARE, [[0, 1, 4]], "[0, 1, 4]"),
        (SQUARE, [[0, 1, -1]], "[0, 1, -1]"),
        ([[0, 0], [1, 0], [0, 1]], [[0, 1, 2]], "shape (3, 2)"),
        (SQUARE, [[0, 1, 2, 3]], "shape (1, 4)"),
        ([["a", "b", "c"]], [[0, 0, 0]], "numbers"),
        (SQUARE, [[0.5, 1, 2]], "numbers"),
    ],
)
def test_what_has_no_answer_is_refused_in_one_sentence(vertices, triangles, says: str) -> None:
    with pytest.raises(MeshError) as refusal:
        TriangleMesh(vertices, triangles)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_mesh_without_area_is_refused() -> None:
    mesh = TriangleMesh([[0, 0, 0], [1, 1, 1], [2, 2, 2]], [[0, 1, 2], [0, 0, 1]])
    with pytest.raises(MeshError, match="no area"):
        repair(mesh)


def test_the_gate_keeps_number_and_order_and_copies() -> None:
    vertices = np.array([*SQUARE, [9, 9, 9], [0, 0, 0]], np.float32)
    mesh = TriangleMesh(vertices, np.array([[2, 1, 0], [0, 3, 2]], np.uint16))
    vertices[0] = 7
    np.testing.assert_array_equal(mesh.vertices, [*SQUARE, [9, 9, 9], [0, 0, 0]])
    np.testing.assert_array_equal(mesh.triangles, [[2, 1, 0], [0, 3, 2]])
    assert mesh.vertices.dtype == np.float64
    assert mesh.triangles.dtype == np.int32


def test_repairs_are_counted() -> None:
    mesh = TriangleMesh(
        [*SQUARE, [9, 9, 9], [2, 0, 0]],
        [[0, 1, 2], [0, 2, 3], [2, 0, 1], [0, 1, 1], [0, 1, 5]],
    )
    repaired = repair(mesh)
    assert repaired.repairs == {
        "unused vertices": 1,
        "degenerate triangles": 2,
        "duplicate triangles": 1,
    }
    assert repaired.mesh.triangle_areas().sum() == 1


def test_a_clean_mesh_is_left_alone() -> None:
    vertices, triangles = icosphere()
    repaired = repair(TriangleMesh(vertices, triangles))
    assert repaired.repairs == {}
    assert volume(repaired.mesh.vertices, repaired.mesh.triangles) == pytest.approx(
        volume(vertices, triangles)
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 1.0])
def test_flipped_triangles_are_turned_back(share: float) -> None:
    vertices, triangles = icosphere()
    flipped = np.random.default_rng(0).random(len(triangles)) < share
    triangles[flipped] = triangles[flipped][:, ::-1]
    repaired = repair(TriangleMesh(vertices, triangles))
    # All inward is consistent, and is left to the sign of the distance.
    expected = 4 / 3 * np.pi * (-1 if share == 1 else 1)
    found = volume(repaired.mesh.vertices, repaired.mesh.triangles)
    assert found == pytest.approx(expected, rel=0.02)
    assert repaired.repairs.get("turned triangles", 0) == (0 if share == 1 else flipped.sum())


def test_a_soup_of_triangles_becomes_a_closed_mesh_again() -> None:
    vertices, triangles = icosphere()
    soup = TriangleMesh(
        vertices[triangles].reshape(-1, 3), np.arange(triangles.size).reshape(-1, 3)
    )
    repaired = repair(soup)
    assert edges_not_shared_by_two(repaired.mesh.triangles) == 0
    assert len(repaired.mesh.vertices) == len(vertices)


@pytest.mark.parametrize("name", ["empty", "nan_vertex"])
def test_broken_files_without_an_answer(shared_data: Path, name: str) -> None:
    with pytest.raises(MeshError):
        TriangleMesh.load(shared_data / "broken" / f"{name}.npz")


def test_vertices_on_sharp_edges_are_told_from_those_on_a_bend() -> None:
    assert not TriangleMesh(*icosphere(subdivisions=2)).on_sharp_edges().any()
    box = trimesh.creation.box().subdivide()
    on_an_edge = (np.abs(box.vertices) == 0.5).sum(axis=1) >= 2
    assert 0 < on_an_edge.sum() < len(box.vertices)
    sharp = TriangleMesh(box.vertices, box.faces).on_sharp_edges()
    np.testing.assert_array_equal(sharp, on_an_edge)
