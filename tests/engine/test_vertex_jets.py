"""Answers at a mesh's own vertices: the mesh's where it is the better source, else the field's."""

from __future__ import annotations

from pathlib import Path

import fairfield
import igl
import numpy as np
import pytest
import trimesh
from conftest import SPHERE_CENTER
from fairfield.errors import Cancelled, FairfieldError
from fairfield.operators.vertex_jets import VertexJets, vertex_jets
from fairfield.progress import Progress, silent
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from shapes import angles_in_degrees, icosphere, torus, wavy_sphere
from skimage.measure import marching_cubes

Array = NDArray[np.float64]
FIELD_ERROR = np.radians(0.5)


def _compared(
    vertices: Array, triangles: NDArray, normals: Array, scale: float = 0.05
) -> VertexJets:
    """The mesh beside a field whose normals are half a degree off, each in its own direction."""
    mesh = fairfield.TriangleMesh(vertices, triangles)
    return vertex_jets(mesh, _field_normals(normals), np.full(len(vertices), scale), silent)


def _field_normals(normals: Array) -> Array:
    random = np.random.default_rng(7)
    turned = normals + FIELD_ERROR * random.standard_normal(normals.shape) / np.sqrt(2)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    return turned


def _answers(vertices: Array, triangles: NDArray, normals: Array) -> tuple[Array, Array]:
    """Unit normals mixed as Smooth does, and the field's alone."""
    jets, field = _compared(vertices, triangles, normals), _field_normals(normals)
    answer = jets.share[:, None] * jets.normals + (1 - jets.share)[:, None] * field
    return answer / np.linalg.norm(answer, axis=1, keepdims=True), field


def _own_normals(vertices: Array, triangles: NDArray) -> Array:
    return igl.per_vertex_normals(vertices, triangles, igl.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE)


def _sphere(subdivisions: int = 4) -> tuple[Array, NDArray, Array]:
    directions, triangles = icosphere(subdivisions=subdivisions)
    return 0.8 * directions, triangles, directions


def test_exact_vertices_answer_themselves() -> None:
    vertices, triangles, normals, curvature = torus(around=160, across=80)
    jets = _compared(vertices, triangles, normals)
    assert jets.share.min() > 0.99
    assert angles_in_degrees(jets.normals, normals).max() < 0.01
    mean = np.trace(jets.hessians, axis1=1, axis2=2) / 2
    np.testing.assert_allclose(mean, curvature, rtol=2e-3)
    # The curvature across the tube, the other direction's, and none along the normal.
    largest = np.linalg.eigvalsh(jets.hessians)[:, -1]
    np.testing.assert_allclose(largest, 1 / 0.26, rtol=2e-3)
    # The normal may be off by as much as above, the curvature is that of the quartic's own.
    along = np.einsum("nij,nj->ni", jets.hessians, jets.normals)
    assert np.abs(along).max() < np.radians(0.01) / 0.26
    assert np.abs(jets.height).max() < 1e-5


def test_they_scale_with_the_mesh_and_move_with_it() -> None:
    vertices, triangles, normals = _sphere()
    for size, away in ((1e-30, 0.0), (1e30, 0.0), (1.0, 100.0), (1.0, 1e6 + 0.1)):
        jets = _compared(size * vertices + away, triangles, normals, size * 0.05)
        assert jets.share.min() > 0.99
        mean = np.trace(jets.hessians, axis1=1, axis2=2) / 2
        np.testing.assert_allclose(mean * size, 1 / 0.8, rtol=1e-3)


@pytest.mark.parametrize("noise", [2e-4, 1e-3, 1e-2])
def test_noisy_vertices_leave_it_to_the_field(noise: float) -> None:
    vertices, triangles, normals = _sphere(5)
    move = noise * np.random.default_rng(1).standard_normal((len(vertices), 1))
    jets = _compared(vertices + move * normals, triangles, normals)
    assert jets.share.mean() < 1e-3


@pytest.mark.parametrize("rounds", [1, 3])
def test_so_do_vertices_whose_noise_was_smoothed(rounds: int) -> None:
    vertices, triangles, normals = _sphere(5)
    move = np.random.default_rng(1).standard_normal(len(vertices))
    start, end = np.concatenate(
        [triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]
    ).T
    degree = np.bincount(start, minlength=len(move))
    for _ in range(rounds):
        move = (move + np.bincount(start, move[end], len(move)) / degree) / 2
    move *= 1e-3 / move.std()
    jets = _compared(vertices + move[:, None] * normals, triangles, normals)
    assert (jets.share > 0.5).mean() < 2e-3


@pytest.mark.parametrize(("coarse", "times"), [(3, 2), (2, 3)])
def test_subdivided_facets_are_not_taken_for_the_shape(coarse: int, times: int) -> None:
    vertices, triangles = icosphere(radius=0.8, subdivisions=coarse)
    for _ in range(times):
        vertices, triangles = _split_flat(vertices, triangles)
    directions = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    jets = _compared(vertices, triangles, directions, 0.15)
    assert (jets.share > 0.5).mean() < 0.01


def test_flats_are_flat_up_to_a_sharp_edge() -> None:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    triangles = np.array(
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
        + [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    )
    vertices = corners
    for _ in range(4):
        vertices, triangles = _split_flat(vertices, triangles)
    sides = np.isclose(np.abs(vertices - 0.5), 0.5) * np.sign(vertices - 0.5)
    normals = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    jets = _compared(vertices, triangles, normals)
    inside = np.abs(sides).sum(axis=1) == 1
    assert (jets.share[inside] > 0.9).mean() > 0.9
    sure = inside & (jets.share > 0.5)
    assert angles_in_degrees(jets.normals[sure], normals[sure]).max() < 1e-3
    assert np.abs(jets.hessians[sure]).max() < 1e-6
    assert jets.share[~inside].max() < 0.01


def test_bumps_of_five_vertices_a_wave_are_no_noise() -> None:
    directions, triangles = icosphere(subdivisions=5)
    k, height = 20.0, 0.008
    waves = np.sin(k * directions)
    vertices = directions * (0.8 + height * waves.prod(axis=1))[:, None]
    slope = (
        height
        * k
        * np.stack(
            [
                np.cos(k * directions[:, i]) * np.delete(waves, i, axis=1).prod(axis=1)
                for i in range(3)
            ],
            axis=1,
        )
    )
    slope -= (slope * directions).sum(axis=1, keepdims=True) * directions
    radius = np.linalg.norm(vertices, axis=1, keepdims=True)
    normals = directions - slope / radius
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    mesh = fairfield.TriangleMesh(vertices, triangles)
    jets = vertex_jets(mesh, directions, np.full(len(vertices), 0.06), silent)  # all smoothed away
    assert (jets.share > 0.5).mean() > 0.95
    lost = angles_in_degrees(directions, normals).mean()
    assert angles_in_degrees(jets.normals, normals).mean() < lost / 5


def test_unwelded_triangles_and_thin_walls() -> None:
    vertices, triangles, normals = _sphere()
    soup, own = vertices[triangles].reshape(-1, 3), normals[triangles].reshape(-1, 3)
    jets = _compared(soup, np.arange(len(soup)).reshape(-1, 3), own)
    assert jets.share.min() > 0.99
    assert angles_in_degrees(jets.normals, own).max() < 0.01
    # A shell thinner than the distance between vertices.
    both = np.concatenate([vertices, 0.98 * vertices])
    jets = _compared(
        both,
        np.concatenate([triangles, triangles[:, ::-1] + len(vertices)]),
        np.concatenate([normals, -normals]),
    )
    assert (jets.share > 0.5).all()
    assert angles_in_degrees(jets.normals, np.concatenate([normals, -normals])).max() < 0.01


def test_normals_point_to_the_field_s_outside() -> None:
    vertices, triangles, normals = _sphere()
    flipped = triangles.copy()
    flipped[::7] = flipped[::7, ::-1]
    for turned in (triangles[:, ::-1], flipped):
        jets = _compared(vertices, turned, normals)
        assert jets.share.min() > 0.99
        assert angles_in_degrees(jets.normals, normals).max() < 0.01


def test_vertices_on_few_lines_or_in_no_triangle_or_too_few_have_no_say() -> None:
    vertices, triangles, normals, _ = torus(around=400, across=12)
    jets = _compared(vertices, triangles, normals)
    sure = jets.share > 0.5
    assert angles_in_degrees(jets.normals[sure], normals[sure]).max(initial=0) < 0.5
    vertices, triangles, normals = _sphere()
    stray = np.concatenate([vertices, [[0.81, 0, 0]]])
    jets = _compared(stray, triangles, np.concatenate([normals, [[1.0, 0, 0]]]))
    assert jets.share[-1] == 0
    vertices, triangles = icosphere(subdivisions=0)
    assert (_compared(vertices, triangles, vertices).share == 0).all()


def test_a_triangle_of_two_corners_changes_nothing() -> None:
    vertices, triangles, normals = _sphere(3)
    extra = np.array([[0, 0, 5], [7, 9, 9]])
    right = _compared(vertices, triangles, normals)
    jets = _compared(vertices, np.concatenate([triangles, extra]), normals)
    np.testing.assert_allclose(jets.share, right.share, atol=1e-6)
    np.testing.assert_allclose(jets.normals, right.normals, atol=1e-9)


def test_where_faces_turn_into_roundings_it_is_no_worse_than_the_mesh() -> None:
    vertices, triangles, normals = _turned_part(around=32, arc=4)
    mesh = fairfield.TriangleMesh(vertices, triangles)
    field = fairfield.fit(mesh, preset="draft")
    own = angles_in_degrees(_angle_weighted(vertices, triangles), normals)
    error = angles_in_degrees(fairfield.smooth(field, mesh).normals, normals)
    assert error.mean() < 1.1 * own.mean()


def test_a_quartic_through_few_rows_is_not_believed() -> None:
    # It goes exactly through the twelve vertices across, and is 2.9 degrees off.
    vertices, triangles, normals, _ = torus(around=48, across=12)
    answer, field = _answers(vertices, triangles, normals)
    error = angles_in_degrees(answer, normals).mean()
    assert error < 1.05 * angles_in_degrees(field, normals).mean()


def test_facets_beside_the_surface_are_not_taken_for_it() -> None:
    vertices, triangles, _, _ = torus(around=160, across=80)
    vertices, triangles, _, _ = igl.qslim(vertices, triangles, 900)
    # The mesh's own normals are 1.5 degrees off, the field's half a degree.
    tube = vertices * [1, 1, 0] * (1 - 0.68 / np.hypot(*vertices.T[:2]))[:, None]
    normals = tube + vertices * [0, 0, 1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    answer, field = _answers(vertices, triangles, normals)
    error = angles_in_degrees(answer, normals).mean()
    assert error < 1.05 * angles_in_degrees(field, normals).mean()


@pytest.mark.parametrize("minor", [0.2, 0.26])
def test_a_shape_of_few_facets_is_no_worse_than_they_are(minor: float) -> None:
    vertices, triangles, exact, _ = torus(0.68, minor, 20, 20)
    mesh = fairfield.TriangleMesh(vertices, triangles)
    own = _own_normals(vertices, triangles)
    answer = fairfield.smooth(fairfield.fit(mesh), mesh).normals
    error, own_error = (angles_in_degrees(each, exact).mean() for each in (answer, own))
    assert error < 1.1 * own_error


def test_a_model_of_few_vertices_keeps_its_details(shared_data: Path) -> None:
    with np.load(shared_data / "real" / "spot.npz") as spot:
        corners, triangles = spot["vertices"].astype(np.float64), spot["faces"].astype(np.int64)
    # Vertices and normals of the surface that subdivision leads to.
    finer, of_finer = corners, triangles
    for _ in range(4):
        finer, of_finer = igl.loop(finer, of_finer)[:2]
    exact = _own_normals(finer, of_finer)[: len(corners)]
    mesh = fairfield.TriangleMesh(finer[: len(corners)], triangles)
    field = fairfield.fit(mesh)
    alone, answer = (fairfield.smooth(field, each).normals for each in (mesh.vertices, mesh))
    own = _own_normals(mesh.vertices, triangles)
    alone_error, own_error, error = (
        angles_in_degrees(each, exact).mean() for each in (alone, own, answer)
    )
    assert error < 1.1 * own_error
    assert error < 0.8 * alone_error


def test_waves_of_six_vertices_are_not_taken_for_noise() -> None:
    vertices, triangles, exact = wavy_sphere(waves=28, height=0.018)
    own_error = angles_in_degrees(_own_normals(vertices, triangles), exact).mean()
    mesh = fairfield.TriangleMesh(vertices, triangles)
    field = fairfield.fit(mesh, "draft")
    answer = fairfield.smooth(field, mesh)
    # All of the waves would be 12 degrees.
    assert 3 < own_error < 5
    assert angles_in_degrees(answer.normals, exact).mean() < 1.4 * own_error
    _, _, smallest, largest, _ = igl.principal_curvature(vertices, triangles, 2)
    quadric = (smallest + largest) / 2
    assert np.corrcoef(answer.mean_curvature, quadric)[0, 1] > 0.9
    surface = fairfield.extract(field, 128, "auto").vertices
    finer, _, _ = wavy_sphere(waves=28, height=0.018, subdivisions=7)
    _, nearest = cKDTree(finer).query(surface)
    away = [np.linalg.norm(points, axis=1) for points in (surface, finer[nearest])]
    # All of the waves would be 0.0047.
    assert np.abs(away[0] - away[1]).mean() < 0.0015


def test_beside_where_a_part_goes_into_another_the_facets_answer() -> None:
    head, of_head = icosphere(subdivisions=4)
    eye, of_eye = icosphere(radius=0.4, subdivisions=3)
    vertices = np.concatenate([head, eye + [0.9, 0, 0]])
    triangles = np.concatenate([of_head, of_eye + len(head)])
    exact = np.concatenate([head, eye / 0.4])
    mesh = fairfield.TriangleMesh(vertices, triangles)
    field = fairfield.fit(mesh, "draft")
    from_eye = np.linalg.norm(vertices - [0.9, 0, 0], axis=1) - 0.4
    from_head = np.linalg.norm(vertices, axis=1) - 1
    outside = (np.maximum(from_eye, from_head) > 0) & (np.minimum(from_eye, from_head) > -1e-6)
    near = outside & (np.maximum(from_eye, from_head) < 0.03)
    alone, error = (
        angles_in_degrees(fairfield.smooth(field, asked).normals[near], exact[near]).mean()
        for asked in (mesh.vertices, mesh)
    )
    assert near.sum() > 30
    # The surface that the field is fitted to has a crease there; the parts have none.
    assert alone > 5
    assert error < 0.5


def test_terraces_of_a_scanned_volume_are_not_taken_for_a_shape() -> None:
    count, side = 80, 2.2 / 79
    axis = np.linspace(-1.1, 1.1, count)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    scanned = np.hypot(np.hypot(x, y) - 0.68, z) < 0.28
    blurred = gaussian_filter(scanned.astype(np.float64), 1.0)
    corners, triangles, _, _ = marching_cubes(blurred, 0.5)
    vertices = corners * side - 1.1
    tube = vertices * [1, 1, 0] * (1 - 0.68 / np.hypot(*vertices.T[:2]))[:, None]
    exact = tube + vertices * [0, 0, 1]
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    mesh = fairfield.TriangleMesh(vertices, triangles)
    field = fairfield.fit(mesh, "draft")
    alone, error = (
        angles_in_degrees(fairfield.smooth(field, asked).normals, exact).mean()
        for asked in (mesh.vertices, mesh)
    )
    assert error < 1.2 * alone


def test_noise_that_was_filtered_is_not_taken_for_a_shape() -> None:
    vertices, triangles, exact, _ = torus(around=160, across=80)
    moved = vertices + 0.003 * np.random.default_rng(0).standard_normal(vertices.shape)
    filtered = trimesh.Trimesh(moved, triangles, process=False)
    trimesh.smoothing.filter_taubin(filtered, iterations=10)
    jets = _compared(np.array(filtered.vertices), triangles, exact)
    assert jets.share.mean() < 0.05


def test_smooth_takes_them_and_says_so(sphere_field: fairfield.Field) -> None:
    vertices, triangles = icosphere(radius=3.0, subdivisions=4)
    mesh = fairfield.TriangleMesh(vertices + SPHERE_CENTER, triangles)
    alone = fairfield.smooth(sphere_field, mesh.vertices)
    jets = fairfield.smooth(sphere_field, mesh)
    assert jets.from_mesh.all()
    assert not alone.from_mesh.any()
    error = angles_in_degrees(jets.normals, vertices / 3)
    assert error.max() < 0.01
    assert error.mean() < angles_in_degrees(alone.normals, vertices / 3).mean() / 3
    np.testing.assert_allclose(jets.mean_curvature, 1 / 3, rtol=2e-3)
    np.testing.assert_allclose(jets.gaussian_curvature, 1 / 9, rtol=4e-3)
    assert np.abs(jets.deviation).max() < 1e-3
    np.testing.assert_allclose(jets.foot_points, mesh.vertices, atol=1e-3)
    # More smoothing than the automatic one, or a scale of one's own, is the field's affair.
    for settings in ({"scale_factor": 1.5}, {"scale": 0.3}, {"operator": "polynomial-volume"}):
        of_mesh = fairfield.smooth(sphere_field, mesh, **settings)
        of_points = fairfield.smooth(sphere_field, mesh.vertices, **settings)
        assert not of_mesh.from_mesh.any()
        np.testing.assert_array_equal(of_mesh.gradient, of_points.gradient)


def test_another_mesh_has_no_say(sphere_field: fairfield.Field) -> None:
    vertices, triangles = icosphere(radius=2.75, subdivisions=6)
    other = fairfield.TriangleMesh(vertices + SPHERE_CENTER, triangles)
    jets = fairfield.smooth(sphere_field, other)
    assert not jets.from_mesh.any()
    np.testing.assert_array_equal(
        jets.hessian, fairfield.smooth(sphere_field, other.vertices).hessian
    )
    vertices, triangles = icosphere(radius=2.0, subdivisions=2)
    with pytest.raises(FairfieldError, match="fitted to another mesh"):
        fairfield.smooth(sphere_field, fairfield.TriangleMesh(vertices + SPHERE_CENTER, triangles))


def test_a_mesh_whose_vertices_are_mostly_hidden_is_its_own() -> None:
    shell, ball = icosphere(1.0, subdivisions=3), icosphere(0.5, subdivisions=5)
    mesh = fairfield.TriangleMesh(
        np.concatenate([shell[0], ball[0]]), np.concatenate([shell[1], ball[1] + len(shell[0])])
    )
    field = fairfield.fit(mesh, preset="draft")
    assert field.report.repairs == {"triangles inside other parts": len(ball[1])}
    jets = fairfield.smooth(field, mesh)
    assert angles_in_degrees(jets.normals[: len(shell[0])], shell[0]).mean() < 0.2
    report = fairfield.finetune(field, mesh).report.finetuning
    assert report is not None
    assert report["after"]["distance_mean"] < 2e-3


def test_it_tells_its_progress_and_can_be_cancelled(sphere_field: fairfield.Field) -> None:
    vertices, triangles = icosphere(radius=3.0, subdivisions=5)
    mesh = fairfield.TriangleMesh(vertices + SPHERE_CENTER, triangles)
    told: list[Progress] = []
    fairfield.smooth(sphere_field, mesh, progress=told.append)
    fractions = [each.fraction for each in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.9

    def stop(progress: Progress) -> None:
        if progress.stage == "Comparing with the mesh":
            raise Cancelled

    with pytest.raises(Cancelled):
        fairfield.smooth(sphere_field, mesh, progress=stop)


def _turned_part(around: int, arc: int) -> tuple[Array, NDArray, Array]:
    """A cylinder whose rims are rounded by arcs of so many segments, as CAD programs mesh it."""
    turn = np.linspace(0, np.pi / 2, arc + 1)
    rim = np.stack([np.sin(turn), np.cos(turn)], axis=1)
    corner = np.array([0.48, 0.28])
    face = np.stack([np.linspace(0, 0.48, 2 * arc + 1)[1:-1], np.full(2 * arc - 1, 0.4)], axis=1)
    upper = np.concatenate([face, corner + 0.12 * rim])
    slope = np.concatenate([np.tile([0.0, 1.0], (len(face), 1)), rim])
    side = np.stack([np.full(arc - 1, 0.6), np.linspace(0.28, -0.28, arc + 1)[1:-1]], axis=1)
    profile = np.concatenate([upper, side, upper[::-1] * [1, -1]])
    slopes = np.concatenate([slope, np.tile([1.0, 0.0], (len(side), 1)), slope[::-1] * [1, -1]])
    angle = 2 * np.pi * np.arange(around)[:, None] / around

    def revolved(rows: Array) -> Array:
        radius, height = rows.T
        return np.stack(
            [radius * np.cos(angle), radius * np.sin(angle), height + 0 * angle], axis=-1
        ).reshape(-1, 3)

    count = len(profile)
    i, j = np.meshgrid(np.arange(around), np.arange(count - 1), indexing="ij")
    a, b = i * count + j, (i + 1) % around * count + j
    top = around * count
    first = np.arange(around) * count
    second = np.roll(first, -1)
    triangles = np.concatenate(
        [
            np.stack([a, a + 1, b + 1], axis=-1).reshape(-1, 3),
            np.stack([a, b + 1, b], axis=-1).reshape(-1, 3),
            np.stack([np.full(around, top), first, second], axis=-1),
            np.stack([np.full(around, top + 1), second + count - 1, first + count - 1], axis=-1),
        ]
    )
    up = np.array([0, 0, 1.0])
    return (
        np.concatenate([revolved(profile), [0.4 * up, -0.4 * up]]),
        triangles,
        np.concatenate([revolved(slopes), [up, -up]]),
    )


def _angle_weighted(vertices: Array, triangles: NDArray) -> Array:
    normals: Array = igl.per_vertex_normals(
        vertices, triangles.astype(np.int64), igl.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE
    )
    return normals


def _split_flat(vertices: Array, triangles: NDArray) -> tuple[Array, NDArray]:
    """Each triangle into four in its own plane."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges, index = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
    ab, bc, ca = index.reshape(3, -1) + len(vertices)
    a, b, c = triangles.T
    corners = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return (
        np.concatenate([vertices, vertices[edges].mean(axis=1)]),
        np.concatenate([np.stack(corner, axis=1) for corner in corners]),
    )
