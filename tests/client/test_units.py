"""The way between local and fitted coordinates, against a plane under every kind of matrix."""

from __future__ import annotations

import numpy as np
import pytest
from fairfield_extension.blender_addon.units import Placement

MATRICES = {
    "uniform": np.diag([2.0, 2, 2]),
    "uneven": np.diag([3.0, 0.5, 1]),
    "mirrored": np.diag([-1.0, 2, 1]),
    "sheared": np.array([[1.0, 0.7, 0], [0, 1, 0.2], [0.1, 0, 2]]),
}


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_normals_and_tangents_stay_what_they_are(matrix):
    placement = Placement(matrix)
    triangle = np.array([[0.0, 0, 0], [1, 0.2, 0.1], [0.3, 1, -0.2]])
    edges = triangle[1:] - triangle[0]
    local_normal = np.cross(*edges)
    local_normal /= np.linalg.norm(local_normal)
    placed = placement.place(triangle)
    first, second, third = placed[placement.orient(np.array([[0, 1, 2]]))[0]]
    normal = np.cross(second - first, third - first)
    normal /= np.linalg.norm(normal)
    assert placement.normals_back(normal[None])[0] == pytest.approx(local_normal)
    assert placement.normals_forth(local_normal[None])[0] == pytest.approx(normal)
    tangent = (placed[1] - placed[0]) / np.linalg.norm(placed[1] - placed[0])
    local_tangent = edges[0] / np.linalg.norm(edges[0])
    assert placement.tangents_back(tangent[None])[0] == pytest.approx(local_tangent)
    assert placement.tangents_forth(local_tangent[None])[0] == pytest.approx(tangent)
    assert placement.bring_back(placed) == pytest.approx(triangle)


def test_unanswered_rows_stay_so():
    back = Placement(MATRICES["uneven"]).normals_back(np.array([[np.nan] * 3, [0, 0, 1]]))
    assert np.isnan(back[0]).all()
    assert back[1].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "matrix", [np.diag([1.0, 0, 1]), np.zeros((3, 3)), np.full((3, 3), np.nan)]
)
def test_a_flattened_object_is_noticed(matrix):
    assert Placement(matrix).singular


def test_lengths_are_stretched_alike_or_not():
    assert Placement(MATRICES["uniform"]).stretch == pytest.approx(2)
    turned = np.array([[0.0, -3, 0], [3, 0, 0], [0, 0, -3]])
    assert Placement(turned.astype(np.float32)).stretch == pytest.approx(3)
    assert np.isnan(Placement(MATRICES["uneven"]).stretch)
    assert np.isnan(Placement(MATRICES["sheared"]).stretch)
    assert np.isnan(Placement(np.full((3, 3), np.inf)).stretch)


@pytest.mark.parametrize("name", MATRICES)
def test_one_field_serves_both_units_where_lengths_are_stretched_alike(name):
    matrix_world = np.eye(4)
    matrix_world[:3, :3] = MATRICES[name]
    world = Placement.in_units("world", matrix_world)
    assert world.fits_like(Placement.in_units("local", matrix_world)) == (name == "uniform")
    assert world.unit == (2 if name == "uniform" else 1)
    point = np.array([[0.3, 1, -0.2]])
    placed = np.linalg.norm(world.place(point)) * world.unit
    assert placed == pytest.approx(np.linalg.norm(MATRICES[name] @ point[0]))
    turned = matrix_world.copy()
    turned[:3, :3] = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ MATRICES[name]
    assert world.is_as_large(turned)
    assert not world.is_as_large(1.001 * matrix_world)
    assert world.fits_like(Placement.in_world(turned)) == (name == "uniform")


def test_ordinary_objects_are_not_flat():
    assert not any(Placement(matrix).singular for matrix in MATRICES.values())
    assert Placement.local().is_local
