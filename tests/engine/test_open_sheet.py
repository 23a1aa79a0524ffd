"""Terrain, cloth and scans from one side: right answers up to the rim, and no surface beyond it."""

from __future__ import annotations

from pathlib import Path

import fairfield
import numpy as np
import pytest
from fairfield.distance import SignedDistance
from fairfield.open_sheet import cut_off
from shapes import angles_in_degrees, edges_not_shared_by_two, icosphere

Array = np.ndarray


def _terrain(nodes: int, noise: float = 0.0) -> fairfield.TriangleMesh:
    """z = 0.2 sin 3x cos 3y over the square from -1 to 1, with a normal noise in all directions."""
    random = np.random.default_rng(0)
    along = np.linspace(-1, 1, nodes)
    x, y = np.meshgrid(along, along)
    vertices = np.stack([x, y, _height(x, y)], axis=-1).reshape(-1, 3)
    vertices += random.normal(0, noise, vertices.shape)
    corner = np.arange(nodes**2).reshape(nodes, nodes)[:-1, :-1].ravel()
    above = corner + nodes
    triangles = [[corner, corner + 1, above + 1], [corner, above + 1, above]]
    return fairfield.TriangleMesh(vertices, np.concatenate(triangles, axis=1).T)


def _bent(radius: float, nodes: int = 40) -> fairfield.TriangleMesh:
    """A square of side 2, bent about the y axis."""
    flat = _terrain(nodes)
    x, y, _ = flat.vertices.T
    angle = x / radius
    bent = [radius * np.sin(angle), y, radius * (np.cos(angle) - 1)]
    return fairfield.TriangleMesh(np.stack(bent, axis=1), flat.triangles)


def _height(x: Array, y: Array) -> Array:
    return 0.2 * np.sin(3 * x) * np.cos(3 * y)


def _normals(x: Array, y: Array) -> Array:
    slope_x = 0.6 * np.cos(3 * x) * np.cos(3 * y)
    slope_y = -0.6 * np.sin(3 * x) * np.sin(3 * y)
    normals = np.stack([-slope_x, -slope_y, np.ones_like(x)], axis=1)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _area(mesh: fairfield.TriangleMesh) -> float:
    return float(mesh.triangle_areas().sum())


@pytest.fixture(scope="module")
def terrain() -> tuple[fairfield.TriangleMesh, fairfield.Field]:
    mesh = _terrain(100)
    return mesh, fairfield.fit(mesh, "draft")


def test_normals_are_right_up_to_the_rim(terrain) -> None:
    mesh, field = terrain
    assert "open sheet" in " ".join(field.report.warnings)
    jets = fairfield.smooth(field, mesh.vertices)
    assert jets.unanswered == 0
    assert np.abs(jets.deviation).max() < 1e-3
    error = angles_in_degrees(jets.normals, _normals(*mesh.vertices[:, :2].T))
    rim = np.abs(mesh.vertices[:, :2]).max(axis=1) > 0.9
    assert error[~rim].mean() < 0.2
    assert error[rim].mean() < 0.6


@pytest.mark.parametrize("radius", [2.0, 1e6], ids=["cylinder", "flat"])
def test_a_scale_of_one_s_own_does_not_reach_beyond_the_rim(radius: float) -> None:
    mesh = _bent(radius)
    field = fairfield.fit(mesh, "draft")
    automatic = fairfield.smooth(field, mesh.vertices)
    normals = mesh.vertices * [1, 0, 1] / radius + [0, 0, 1]
    middle = np.linalg.norm(mesh.vertices, axis=1) < 0.3
    for settings in ({"scale": 0.1}, {"scale": 0.245}, {"scale_factor": 4.0}):
        jets = fairfield.smooth(field, mesh.vertices, **settings)
        assert jets.unanswered == 0
        for error, largest in (
            (lambda one: angles_in_degrees(one.normals, normals).max(), 0.3),
            (lambda one: np.abs(one.mean_curvature - 0.5 / radius).max(), 0.1),
        ):
            assert error(jets) < error(automatic) + largest
        if "scale" in settings:
            np.testing.assert_allclose(jets.scale[middle], settings["scale"])


@pytest.mark.parametrize("scale", [None, "auto"])
def test_extract_ends_at_the_rim(terrain, scale: str | None) -> None:
    mesh, field = terrain
    surface = fairfield.extract(field, 96, scale=scale)
    x, y, z = surface.vertices.T
    np.testing.assert_allclose(surface.vertices.min(axis=0)[:2], -1, atol=2e-3)
    np.testing.assert_allclose(surface.vertices.max(axis=0)[:2], 1, atol=2e-3)
    assert np.abs(z - _height(x, y)).max() < 6e-3
    assert _area(surface) == pytest.approx(_area(mesh), rel=5e-3)


def test_the_rim_is_in_the_file(terrain, tmp_path: Path) -> None:
    _, field = terrain
    field.save(tmp_path / "terrain.safetensors")
    loaded = fairfield.load(tmp_path / "terrain.safetensors")
    before, after = (fairfield.extract(each, 64) for each in (field, loaded))
    np.testing.assert_array_equal(before.vertices, after.vertices)
    np.testing.assert_array_equal(before.triangles, after.triangles)


def test_refining_keeps_the_rim(terrain) -> None:
    mesh, field = terrain
    surface = fairfield.extract(fairfield.finetune(field, mesh), 64)
    assert _area(surface) == pytest.approx(_area(mesh), rel=2e-2)


def test_noise_and_folds_do_not_change_sides() -> None:
    """Noise of a third of the spacing, in all directions, folds triangles over."""
    mesh = _terrain(150, noise=0.004)
    random = np.random.default_rng(1)
    points = np.column_stack([random.uniform(-0.8, 0.8, (4000, 2)), random.uniform(-1, 1, 4000)])
    height = points[:, 2] - _height(*points[:, :2].T)
    clear = np.abs(height) > 0.03
    found = SignedDistance(mesh)(points)
    assert (np.sign(found) == np.sign(height))[clear].all()


def test_the_sides_are_those_that_the_faces_tell() -> None:
    mesh = _terrain(40)
    turned = fairfield.TriangleMesh(mesh.vertices, mesh.triangles[:, ::-1])
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (1000, 3))
    np.testing.assert_allclose(
        SignedDistance(turned)(points), -SignedDistance(mesh)(points), atol=1e-12
    )


def test_half_a_sphere_stays_half() -> None:
    vertices, triangles = icosphere(subdivisions=4)
    upper = triangles[vertices[triangles][:, :, 2].mean(axis=1) > 0]
    half = fairfield.TriangleMesh(vertices, upper)
    field = fairfield.fit(half, "draft")
    surface = fairfield.extract(field, 96)
    assert _area(surface) == pytest.approx(2 * np.pi, rel=0.02)
    np.testing.assert_allclose(np.linalg.norm(surface.vertices, axis=1), 1, atol=4e-3)


def _tube(height: float, around: int = 64, along: int = 20) -> fairfield.TriangleMesh:
    """Of radius 1/2, open at both ends."""
    angle = 2 * np.pi * np.arange(around) / around
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) / 2
    z = np.linspace(0, height, along)
    vertices = np.column_stack([np.tile(ring, (along, 1)), z.repeat(around)])
    i, j = (index.ravel() for index in np.indices((along - 1, around)))
    a, b = i * around + j, i * around + (j + 1) % around
    triangles = [[a, b, b + around], [a, b + around, a + around]]
    return fairfield.TriangleMesh(vertices, np.concatenate(triangles, axis=1).T)


def test_a_tube_stays_open_at_both_ends() -> None:
    mesh = _tube(height=1.0)
    field = fairfield.fit(mesh, "draft")
    assert "open sheet" in " ".join(field.report.warnings)
    assert _area(fairfield.extract(field, 96)) == pytest.approx(np.pi, rel=0.02)


@pytest.mark.parametrize("thickness", [1e-4, 1e-3])
def test_a_thin_plate_is_no_sheet(thickness: float) -> None:
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, thickness])).reshape(3, -1).T
    box = fairfield.TriangleMesh(*_hull(corners))
    assert SignedDistance(box).sheet is None
    assert not any("sheet" in each for each in fairfield.fit(box, "draft").report.warnings)


def _hull(points: Array) -> tuple[Array, Array]:
    from scipy.spatial import ConvexHull

    hull = ConvexHull(points * [1, 1, 1 / max(np.ptp(points[:, 2]), 1e-9)])
    triangles = hull.simplices.copy()
    a, b, c = points[triangles].transpose(1, 0, 2)
    inward = (np.cross(b - a, c - a) * (a - points.mean(axis=0))).sum(axis=1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return points, triangles


def test_pieces_that_face_opposite_ways_and_touch_in_a_point_have_answers() -> None:
    angle = np.radians([-50, -10, 10, 50])
    around = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    mesh = fairfield.TriangleMesh(np.vstack([np.zeros(3), around]), [[0, 1, 2], [0, 4, 3]])
    field = fairfield.fit(mesh, "draft")
    assert np.isfinite(field.report.near_surface_error)
    assert np.isfinite(field.module.base.values.numpy()).all()


def test_a_strip_that_is_too_narrow_is_told() -> None:
    along = np.linspace(-1, 1, 100)
    vertices = np.column_stack(
        [along.repeat(2), np.tile([-0.005, 0.005], 100), 0 * along.repeat(2)]
    )
    a = 2 * np.arange(99)
    triangles = np.concatenate([[a, a + 2, a + 3], [a, a + 3, a + 1]], axis=1).T
    field = fairfield.fit(fairfield.TriangleMesh(vertices, triangles), "draft")
    with pytest.raises(fairfield.FairfieldError, match="narrower"):
        fairfield.extract(field, 128)


def test_a_small_hole_is_closed() -> None:
    vertices, triangles = icosphere(subdivisions=4)
    most = triangles[vertices[triangles][:, :, 2].mean(axis=1) < 0.95]
    field = fairfield.fit(fairfield.TriangleMesh(vertices, most), "draft")
    assert not field.report.warnings
    surface = fairfield.extract(field, 64)
    assert edges_not_shared_by_two(surface.triangles) == 0


def test_cutting_off_is_exact_for_a_straight_line() -> None:
    mesh = _terrain(20)
    flat = mesh.vertices * [1, 1, 0]
    beyond = flat @ [0.6, 0.8, 0] - 0.3
    vertices, triangles = cut_off(flat, mesh.triangles, beyond)
    kept = fairfield.TriangleMesh(vertices, triangles)
    assert (vertices @ [0.6, 0.8, 0]).max() == pytest.approx(0.3)
    # By Monte Carlo with many points, of the square's part on that side.
    points = np.random.default_rng(0).uniform(-1, 1, (1_000_000, 2))
    assert _area(kept) == pytest.approx(4 * (points @ [0.6, 0.8] < 0.3).mean(), rel=5e-3)
    assert (kept.triangle_normals()[:, 2] > 0).all()
