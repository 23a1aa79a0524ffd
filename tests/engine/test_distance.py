"""Signed distances against the sphere's own, whatever is wrong with the mesh."""

from __future__ import annotations

from pathlib import Path

import igl
import numpy as np
import pytest
from fairfield.distance import LibiglTree, SignedDistance, morton_order
from fairfield.errors import Cancelled
from fairfield.fused import TriangleTree
from fairfield.mesh import TriangleMesh
from fairfield.normalization import Normalization
from fairfield.repair import repair
from shapes import icosphere
from trimesh.triangles import closest_point

RADIUS = 0.8


def _damaged(kind: str) -> TriangleMesh:
    vertices, triangles = icosphere(RADIUS, subdivisions=4)
    random = np.random.default_rng(0)
    if kind == "inward":
        triangles = triangles[:, ::-1]
    elif kind == "a tenth flipped":
        flipped = random.random(len(triangles)) < 0.1
        triangles[flipped] = triangles[flipped][:, ::-1]
    elif kind == "soup":
        vertices = vertices[triangles].reshape(-1, 3)
        triangles = np.arange(len(vertices)).reshape(-1, 3)
    elif kind == "a fifth duplicated":
        triangles = np.concatenate([triangles, triangles[: len(triangles) // 5]])
    return TriangleMesh(vertices, triangles)


@pytest.mark.parametrize(
    "kind", ["clean", "inward", "a tenth flipped", "soup", "a fifth duplicated"]
)
def test_distances_to_a_sphere(kind: str) -> None:
    random = np.random.default_rng(1)
    points = random.uniform(-1, 1, (5000, 3))
    distances = SignedDistance(repair(_damaged(kind)).mesh)(points)
    # The facets lie inside the sphere, by at most this much.
    expected = np.linalg.norm(points, axis=1) - RADIUS
    assert (distances - expected).max() < 2e-3
    assert (distances - expected).min() > -1e-6


@pytest.mark.parametrize(
    "kind",
    ["clean", "soup", "a fifth duplicated", "inward", "a tenth flipped", "self-intersecting"],
)
def test_signs_on_a_scan(shared_data: Path, kind: str) -> None:
    scan = TriangleMesh.load(shared_data / "real" / "rocker-arm.npz")
    size = np.ptp(scan.vertices, axis=0).max()
    vertices, triangles = scan.vertices / size, scan.triangles.astype(np.int64)
    random = np.random.default_rng(0)
    # Only an exact winding number of the mesh as it was, face by face, is believed.
    shift = np.array([0.05, 0.02, 0.03]) if kind == "self-intersecting" else np.zeros(3)
    points = vertices[random.integers(len(vertices), size=2000)]
    points = points + random.normal(0, 0.02, points.shape)
    inside = igl.winding_number(vertices, triangles, points) > 0.5
    inside |= igl.winding_number(vertices + shift, triangles, points) > 0.5
    if kind == "soup":
        order = random.permutation(len(triangles))
        vertices = vertices[triangles[order]].reshape(-1, 3)
        triangles = np.arange(len(vertices)).reshape(-1, 3)
    elif kind == "a fifth duplicated":
        triangles = np.concatenate([triangles, triangles[random.random(len(triangles)) < 0.2]])
    elif kind == "inward":
        triangles = triangles[:, ::-1]
    elif kind == "a tenth flipped":
        flipped = random.random(len(triangles)) < 0.1
        triangles[flipped] = triangles[flipped][:, ::-1]
    elif kind == "self-intersecting":
        triangles = np.concatenate([triangles, triangles + len(vertices)])
        vertices = np.concatenate([vertices, vertices + shift])
    found = SignedDistance(repair(TriangleMesh(vertices, triangles)).mesh)(points)
    clear = np.abs(found) > 1e-4
    assert clear.mean() > 0.9
    assert ((found < 0) != inside)[clear].mean() <= 1e-3


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    "name",
    [
        "all_inward",
        "degenerate_triangles",
        "duplicate_vertices",
        "flipped_faces",
        "holes",
        "isolated_vertex",
        "offset_1e6",
    ],
)
def test_distances_to_broken_spheres(shared_data: Path, name: str, unit: float) -> None:
    mesh = TriangleMesh.load(shared_data / "broken" / f"{name}.npz")
    repaired = repair(TriangleMesh(unit * mesh.vertices, mesh.triangles)).mesh
    normalization = Normalization.of(repaired.vertices)
    cube = TriangleMesh(normalization.to_cube(repaired.vertices), repaired.triangles)
    random = np.random.default_rng(5)
    directions = random.standard_normal((3000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = random.uniform(0.5, 1.1, 3000)
    center = np.array([1e6, -1e6, 1e6]) if name == "offset_1e6" else np.zeros(3)
    points = normalization.to_cube(unit * (center + radius[:, None] * directions))
    found = SignedDistance(cube)(points) * normalization.unit / unit
    error = np.abs(found - (radius - RADIUS))
    if name == "holes":
        # Under a hole the rim is nearest: what can be said is that nothing is nearer than that.
        under_hole = error > 2e-3
        assert 0 < under_hole.mean() < 0.3
        assert (np.abs(found) > np.abs(radius - RADIUS) - 2e-3).all()
        assert ((found < 0) != (radius < RADIUS))[~under_hole].mean() <= 1e-3
    else:
        assert error.max() < 2e-3


@pytest.mark.parametrize("name", ["nonmanifold_edge_fan", "open_plane", "single_triangle"])
def test_distances_to_every_triangle_one_by_one(shared_data: Path, name: str) -> None:
    mesh = TriangleMesh.load(shared_data / "broken" / f"{name}.npz")
    points = np.random.default_rng(6).uniform(-1, 1, (200, 3))
    corners = mesh.vertices[mesh.triangles]
    expected = [
        np.linalg.norm(closest_point(corners, np.tile(point, (len(corners), 1))) - point, axis=1)
        for point in points
    ]
    found = SignedDistance(repair(mesh).mesh).nearest(points)
    way = np.linalg.norm(found.points - found.nearest, axis=1)
    np.testing.assert_allclose(way, np.min(expected, axis=1), atol=1e-9)
    # Beyond the rim of an open sheet it is the height over the rim's tangent plane.
    assert (np.abs(found.distance) <= way + 1e-9).all()


@pytest.mark.parametrize("count", [1, 16, 17, 300, 5000])
def test_the_kernels_find_what_libigl_finds(count: int) -> None:
    random = np.random.default_rng(count)
    corners = random.uniform(-1, 1, (count, 1, 3)) + random.normal(0, 0.05, (count, 3, 3))
    mesh = TriangleMesh(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3))
    points = random.uniform(-1.2, 1.2, (4000, 3))
    points[:500] = corners[random.integers(count, size=500), random.integers(3, size=500)]
    found = TriangleTree(mesh.vertices, mesh.triangles, threads=2).nearest(points)
    np.testing.assert_allclose(found, LibiglTree(mesh).nearest(points), atol=1e-9)


@pytest.mark.parametrize("width", [0, 1e-12, 1e-8])
def test_triangles_thin_as_a_line_are_one(width: float) -> None:
    random = np.random.default_rng(0)
    start, end = random.uniform(-1, 1, (2, 40, 3))
    between = start + random.random((40, 1)) * (end - start) + width * random.random((40, 3))
    triangles = np.arange(120).reshape(-1, 3)
    points = random.uniform(-1.2, 1.2, (1000, 3))
    found = TriangleTree(
        np.stack([start, between, end], axis=1).reshape(-1, 3), triangles.astype(np.int32), 1
    ).nearest(points)
    ways = end - start
    share = ((points[:, None] - start) * ways).sum(axis=2) / (ways**2).sum(axis=1)
    feet = start + share.clip(0, 1)[:, :, None] * ways
    expected = np.linalg.norm(points[:, None] - feet, axis=2).min(axis=1)
    np.testing.assert_allclose(
        np.linalg.norm(points - found, axis=1), expected, atol=1e-9 + 2 * width
    )


def test_an_answer_depends_neither_on_the_others_nor_on_threads() -> None:
    # On the planes of symmetry of a sphere several triangles are equally near.
    mesh = _damaged("clean")
    axis = np.linspace(-1, 1, 17)
    points = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    tree = TriangleTree(mesh.vertices, mesh.triangles, threads=1)
    found = tree.nearest(points)
    order = np.random.default_rng(0).permutation(len(points))
    np.testing.assert_array_equal(tree.nearest(points[order]), found[order])
    threads = TriangleTree(mesh.vertices, mesh.triangles, threads=3)
    np.testing.assert_array_equal(threads.nearest(points), found)
    np.testing.assert_array_equal(tree.nearest(points[100:101]), found[100:101])


def test_no_point_is_nearest_to_a_point_that_is_none() -> None:
    mesh = _damaged("clean")
    found = TriangleTree(mesh.vertices, mesh.triangles, 1).nearest(
        np.array([[0, 0, 1], [np.nan, 0, 0], [0, np.inf, 0], [0, 0, 1]])
    )
    np.testing.assert_array_equal(np.isnan(found).any(axis=1), [False, True, True, False])


def test_nearest_points_are_on_the_surface_and_at_the_distance() -> None:
    points = np.random.default_rng(4).uniform(-1, 1, (3000, 3))
    found = SignedDistance(_damaged("clean")).nearest(points)
    way = np.linalg.norm(found.points - found.nearest, axis=1)
    np.testing.assert_allclose(way, np.abs(found.distance), atol=1e-12)
    assert np.abs(np.linalg.norm(found.nearest, axis=1) - RADIUS).max() < 2e-3
    outward = (found.nearest * (points - found.nearest)).sum(axis=1)
    clear = np.abs(found.distance) > 0.01
    np.testing.assert_array_equal(np.sign(outward)[clear], np.sign(found.distance)[clear])


def test_overlapping_spheres_are_one_solid() -> None:
    vertices, triangles = icosphere(RADIUS / 2, subdivisions=3)
    both = np.concatenate([vertices - [0.2, 0, 0], vertices + np.array([0.2, 0, 0])])
    mesh = TriangleMesh(both, np.concatenate([triangles, triangles + len(vertices)]))
    points = np.random.default_rng(2).uniform(-1, 1, (5000, 3))
    points[:2000] *= 0.4
    found = SignedDistance(repair(mesh).mesh)(points)
    # In the plane through the axis: inside, the nearest point of either sphere counts where it is
    # not in the other one, and so does the circle where they meet.
    along, off = points[:, 0], np.linalg.norm(points[:, 1:], axis=1)
    along = np.abs(along)
    to_centre = np.hypot(along - 0.2, off)
    foot = 0.2 + RADIUS / 2 * (along - 0.2) / to_centre
    circle = np.hypot(along, off - np.sqrt(RADIUS**2 / 4 - 0.04))
    within = np.where(foot > 0, np.minimum(RADIUS / 2 - to_centre, circle), circle)
    expected = np.where(to_centre < RADIUS / 2, -within, to_centre - RADIUS / 2)
    # Facets lie inside the spheres, and those that go in and out reach in by as much as they are
    # long.
    corners = mesh.vertices[mesh.triangles]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max()
    outside = expected > 0
    np.testing.assert_allclose(found[outside], expected[outside], atol=3e-3)
    assert (found > expected - 3e-3)[~outside].all()
    assert (found < np.minimum(expected + longest, 3e-3))[~outside].all()


def test_measuring_can_be_cancelled() -> None:
    def stop(progress) -> None:
        if progress.fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        SignedDistance(_damaged("clean"))(np.random.default_rng(0).random((100_000, 3)), stop)


def test_morton_order_is_a_permutation_that_keeps_neighbours_together() -> None:
    points = np.random.default_rng(3).uniform(-1, 1, (4096, 3))
    order = morton_order(points)
    assert sorted(order) == list(range(4096))
    steps = np.linalg.norm(np.diff(points[order], axis=0), axis=1).mean()
    assert steps < 0.25 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()
    assert len(morton_order(np.zeros((0, 3)))) == 0
    assert sorted(morton_order(np.ones((5, 3)))) == list(range(5))
