"""What a fit makes of meshes whose parts disagree, touch or nearly touch, against exact truth."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from fairfield import TriangleMesh
from fairfield.distance import SignedDistance
from fairfield.repair import RepairedMesh, repair
from shapes import icosphere

Part = tuple[np.ndarray, np.ndarray]


def _joined(*parts: Part) -> TriangleMesh:
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    return TriangleMesh(
        np.concatenate([vertices for vertices, _ in parts]),
        np.concatenate(
            [faces + offset for (_, faces), offset in zip(parts, offsets, strict=False)]
        ),
    )


def _turned(part: Part) -> Part:
    vertices, triangles = part
    return vertices, triangles[:, ::-1]


def _moved(part: Part, x: float) -> Part:
    return part[0] + [x, 0, 0], part[1]


def _above(part: Part, z: float) -> Part:
    vertices, triangles = part
    return vertices, triangles[vertices[triangles].mean(axis=1)[:, 2] > z]


def _box(divisions: int) -> Part:
    """From 0 to 2 along the first axis; each halves its edges once more."""
    box = trimesh.creation.box([2.0, 2.0, 2.0])
    for _ in range(divisions):
        box = box.subdivide()
    return _moved((box.vertices.view(np.ndarray), box.faces), 1)


def _mirrored(part: Part) -> Part:
    return part[0] * [-1, 1, 1], part[1][:, ::-1]


def _distances(mesh: TriangleMesh, *points: tuple[float, float, float]) -> np.ndarray:
    return SignedDistance(repair(mesh).mesh)(np.array(points))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_open_layers_over_a_body_are_no_solid(layers: int) -> None:
    ball = icosphere(1.0)
    caps = [_above((ball[0] * (1.002 + 0.0005 * each), ball[1]), 0.8) for each in range(layers)]
    found = _distances(_joined(ball, *caps), (0, 0, 1.1), (0, 0, 1.5), (0, 0, 0), (0, 0, -1.5))
    top = 1.002 + 0.0005 * (layers - 1)
    np.testing.assert_allclose(found, [1.1 - top, 1.5 - top, -1, 0.5], atol=0.01)


@pytest.mark.parametrize("wall", [1e-2, 1e-3, 1e-4])
def test_a_hole_in_a_thin_wall_leaves_it_a_solid(wall: float) -> None:
    vertices, triangles = icosphere(1.0, subdivisions=5)
    outside = vertices, np.delete(triangles, 100, axis=0)
    mesh = _joined(outside, _turned((vertices * (1 - wall), triangles)))
    assert SignedDistance(mesh).sheet is None
    found = _distances(mesh, (0, 0, 0), (0, 0, 2), (0, 0, -2), (0.3, 0.4, 0))
    np.testing.assert_allclose(found, [1 - wall, 1, 1, 0.5 - wall], atol=0.01)


def _distance_to_box(points: np.ndarray, sides: tuple[float, float, float]) -> np.ndarray:
    beyond = np.abs(points) - sides
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)


@pytest.mark.parametrize("divisions", [0, 2])
def test_boxes_that_share_a_face_are_one(divisions: int) -> None:
    box = _box(divisions)
    repaired = repair(_joined(box, _mirrored(box)))
    assert repaired.repairs == {"triangles of walls inside": 4 * 4**divisions}
    assert repaired.mesh.triangle_areas().sum() == pytest.approx(2 * 4 + 8 * 4)
    points = np.random.default_rng(0).uniform([-2.5, -1.5, -1.5], [2.5, 1.5, 1.5], (2000, 3))
    found = SignedDistance(repaired.mesh)(points)
    np.testing.assert_allclose(found, _distance_to_box(points, (2, 1, 1)), atol=1e-9)


@pytest.mark.parametrize("divisions", [(0, 2), (1, 3)])
def test_boxes_that_touch_with_other_triangles_are_one(divisions: tuple[int, int]) -> None:
    mesh = repair(_joined(_box(divisions[0]), _moved(_box(divisions[1]), -2))).mesh
    points = np.random.default_rng(0).uniform([-2.5, -1.5, -1.5], [2.5, 1.5, 1.5], (2000, 3))
    found = SignedDistance(mesh)(points)
    np.testing.assert_allclose(found, _distance_to_box(points, (2, 1, 1)), atol=1e-9)


@pytest.mark.parametrize("is_closed", [False, True])
def test_of_a_surface_with_faces_on_both_sides_one_stays(is_closed: bool) -> None:
    part = icosphere(1.0)
    if not is_closed:
        part = _above(part, 0.5)
    repaired = repair(_joined(part, _turned(part)))
    assert repaired.repairs["duplicate triangles"] == len(part[1])
    assert len(repaired.mesh.triangles) == len(part[1])


def test_a_fin_with_two_sides_stays_on_its_body() -> None:
    vertices, triangles = _moved(_box(0), -1)
    fin = np.append(vertices, [[0, 0, 3]], axis=0)
    low, high = np.flatnonzero((vertices[:, 0] == vertices[:, 1]) & (vertices[:, 2] == 1))
    sides = np.array([[low, high, 8], [high, low, 8]])
    assert len(repair(TriangleMesh(fin, np.concatenate([triangles, sides]))).mesh.triangles) == 13


@pytest.mark.parametrize("is_turned", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("apart", [0.0, 2.0])
def test_parts_face_the_way_that_most_do(is_turned: tuple[int, int], apart: float) -> None:
    parts = [icosphere(1.0), _moved(icosphere(0.8), 1.0 + apart)]
    parts = [_turned(each) if turn else each for each, turn in zip(parts, is_turned, strict=True)]
    mesh = _joined(*parts)
    repaired = repair(mesh)
    assert repaired.repairs.get("turned parts", 0) == (is_turned[0] != is_turned[1])
    distance = SignedDistance(repaired.mesh)
    assert distance.faces_inward == bool(is_turned[0])
    found = distance(np.array([[-0.5, 0, 0], [1.4 + apart, 0, 0], [0.5, 0, 2]]))
    assert (np.sign(found) == [-1, -1, 1]).all()
    if not apart:
        assert distance(np.array([[0.6, 0, 0]]))[0] < 0


@pytest.mark.parametrize("is_first", [False, True])
def test_of_a_part_and_its_image_in_a_mirror_both_have_an_inside(is_first: bool) -> None:
    """As a negative scale makes it, which turns the faces around."""
    vertices, triangles = _moved(icosphere(1.0), 2.0)
    parts = (vertices, triangles), (vertices * [-1, 1, 1], triangles)
    repaired = repair(_joined(*(parts[::-1] if is_first else parts)))
    assert repaired.repairs == {"turned parts": 1}
    distance = SignedDistance(repaired.mesh)
    assert not distance.faces_inward
    assert (distance(np.array([[2.0, 0, 0], [-2.0, 0, 0]])) < -0.9).all()


def test_a_part_that_looks_out_of_another_is_no_cavity() -> None:
    """However many triangles it has, and in whichever order."""
    ball = icosphere(1.0, subdivisions=6)
    mesh = _joined(ball, _turned(_moved((0.8 * ball[0], ball[1]), 1.0)))
    assert repair(mesh).repairs == {"turned parts": 1}


@pytest.mark.parametrize("is_turned", [(0, 0), (0, 1), (1, 1)])
def test_parts_with_holes_far_apart_face_the_way_that_they_do(is_turned: tuple[int, int]) -> None:
    """The far side of each is open: about the middle of both they enclose less than nothing."""
    vertices, triangles = icosphere(1.0)
    some = triangles[vertices[triangles].mean(axis=1)[:, 0] < 0.6]
    parts = [(vertices + [10, 0, 0], some), (-0.9 * vertices - [10, 0, 0], some[:, ::-1])]
    parts = [_turned(each) if turn else each for each, turn in zip(parts, is_turned, strict=True)]
    mesh = _joined(*parts)
    assert is_turned == (0, 1) or mesh.volume() * (1 - 2 * is_turned[0]) < 0
    distance = SignedDistance(repair(mesh).mesh)
    assert distance.faces_inward == (is_turned == (1, 1))
    found = distance(np.array([[10, 0, 0], [-10, 0, 0], [0, 0, 0], [8.5, 0, 0], [-8.5, 0, 0]]))
    assert (np.sign(found) == [-1, -1, 1, 1, 1]).all()


@pytest.mark.parametrize("is_turned", [False, True])
def test_a_cavity_stays_one(is_turned: bool) -> None:
    """Also one in a part within it, and where all of it is inside out."""
    parts = [icosphere(1.0), _turned(icosphere(0.8)), icosphere(0.6), _turned(icosphere(0.4))]
    mesh = _joined(*(_turned(each) if is_turned else each for each in parts))
    assert repair(mesh).repairs == {}
    found = _distances(mesh, (0, 0, 0), (0, 0.5, 0), (0, 0.7, 0), (0, 0.9, 0), (0, 1.1, 0))
    assert (np.sign(found) == [1, -1, 1, -1, 1]).all()


def _seam(gap: float) -> RepairedMesh:
    """Of two halves of a ball that are so far apart, one of them turned."""
    vertices, triangles = icosphere(1.0)
    right = vertices[triangles].mean(axis=1)[:, 0] > 0
    halves = (vertices + [gap, 0, 0], triangles[right]), (vertices, triangles[~right][:, ::-1])
    return repair(_joined(*halves))


def test_a_seam_that_rounding_has_opened_is_none() -> None:
    repaired = _seam(1e-6)
    assert repaired.repairs["turned triangles"] > 500
    found = SignedDistance(repaired.mesh)(np.array([[0.5, 0, 0], [-0.5, 0, 0], [-1.5, 0, 0]]))
    np.testing.assert_allclose(found, [-0.5, -0.5, 0.5], atol=0.01)


def test_a_gap_that_is_none_of_rounding_is_kept() -> None:
    assert "turned triangles" not in _seam(1e-3).repairs


def test_details_much_smaller_than_a_part_far_away_are_not_welded() -> None:
    cap = _above(icosphere(1.0), 0.5)
    mesh = _joined(cap, _moved(icosphere(1.0), 1e6))
    repaired = repair(mesh)
    assert len(repaired.mesh.triangles) == len(mesh.triangles)
    assert repaired.mesh.triangle_areas().sum() == pytest.approx(mesh.triangle_areas().sum())


def test_faces_of_a_box_that_are_cut_apart_make_no_sheet() -> None:
    """As a model from CAD has them: each with triangles of its own, and gaps of rounding."""
    triangles = []
    for number, way in enumerate(np.concatenate([np.eye(3), -np.eye(3)])):
        along = np.roll(way, 1)
        lines = np.linspace(-1, 1, 3 + number)
        places = way * (1 + 1e-5) + lines[:, None, None] * along
        places = places + lines[:, None] * np.cross(way, along)
        a, b, c, d = places[:-1, :-1], places[1:, :-1], places[1:, 1:], places[:-1, 1:]
        for corners in ((a, b, c), (a, c, d)):
            triangles += [np.stack(corners, axis=2).reshape(-1, 3, 3)]
    vertices = np.concatenate(triangles).reshape(-1, 3)
    mesh = repair(TriangleMesh(vertices, np.arange(len(vertices)).reshape(-1, 3))).mesh
    distance = SignedDistance(mesh)
    assert distance.sheet is None
    points = np.random.default_rng(0).uniform(-1.5, 1.5, (2000, 3))
    np.testing.assert_allclose(distance(points), _distance_to_box(points, (1, 1, 1)), atol=1e-4)
