"""Patches answer as the operator does where it is smooth, and not at all where they cannot."""

from __future__ import annotations

import fairfield
import numpy as np
import pytest
from conftest import SPHERE_CENTER
from fairfield.distance import SignedDistance
from fairfield.extraction import _ask_along_the_surface, extract_with_jets
from fairfield.fused import fused_blend
from fairfield.fused.layout import BlendedJets, BlendedPatches, PatchArrays
from fairfield.jets import Jets
from fairfield.operators.differentiation import smoothed_values
from fairfield.progress import silent
from fairfield.surface_patches import SurfacePatches, surface_patches
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from shapes import angles_in_degrees, edges_not_shared_by_two, split, torus
from skimage.measure import marching_cubes

SCALE = 0.3
"""For the sphere of radius 3."""


def _patches(field: fairfield.Field, scale: float, least_spacing: float) -> SurfacePatches | None:
    surface = fairfield.extract(field, 128)
    start = field.normalization.to_cube(surface.vertices)
    return surface_patches(field, start, scale, 1.0, least_spacing)


def test_patches_answer_as_the_operator_does(sphere_field: fairfield.Field) -> None:
    patches = _patches(sphere_field, SCALE, 0.01)
    assert patches is not None
    foot = fairfield.smooth(sphere_field, fairfield.extract(sphere_field, 40).vertices, scale=SCALE)
    unit = sphere_field.normalization.unit
    # Also beside the surface, on either side.
    for away in (-0.03, 0.0, 0.03):
        points = foot.foot_points + away * foot.normals
        answers = patches.at(sphere_field.normalization.to_cube(points))
        assert answers.answered.mean() > 0.99
        kept = answers.answered
        error = answers.distance[kept] * unit - away
        assert np.abs(error).mean() < 3e-4
        normals = answers.gradient[kept]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        assert angles_in_degrees(normals, foot.normals[kept]).mean() < 0.1
        jets = Jets(
            np.zeros(kept.sum()),
            answers.gradient[kept],
            answers.hessian[kept] / unit,
            answers.scale[kept] * unit,
        )
        assert np.median(jets.mean_curvature) == pytest.approx(1 / (3 + away), rel=0.02)


def test_nodes_of_a_lattice_have_their_distance(sphere_field: fairfield.Field) -> None:
    patches = _patches(sphere_field, SCALE, 0.01)
    assert patches is not None
    size = 65
    cell = 2 / (size - 1)
    nodes = np.argwhere(np.ones((size,) * 3, bool))
    place = sphere_field.normalization
    exact = np.linalg.norm(place.from_cube(nodes * cell - 1) - SPHERE_CENTER, axis=1) - 3
    near = np.abs(exact) < 2 * cell * place.unit
    answered, values, _ = patches.values_at_nodes(nodes[near], size, 3 * cell)
    assert answered.mean() > 0.99
    assert np.abs(values * place.unit - exact[near])[answered].max() < 0.1 * cell * place.unit
    # Far away nothing is made up.
    far = np.abs(exact) > 6 * cell * place.unit
    answered, *_ = patches.values_at_nodes(nodes[far], size, 3 * cell)
    assert not answered.any()


def _one_patch(seed: int) -> PatchArrays:
    """A patch of made-up coefficients, of a distance that bends and leans along its disk."""
    random = np.random.default_rng(seed)
    bend = random.normal(0, 0.5, (2, 2))
    return PatchArrays(
        np.linalg.qr(random.normal(size=(3, 3)))[0][None],
        random.normal(0, 0.02, (1, 15)),
        np.array([0.01]),
        (bend + bend.T)[None],
        np.array([0.9]),
        np.array([0.3]),
        0.3,
    )


def _told(patch: PatchArrays, points: np.ndarray) -> BlendedJets:
    """What a single patch in the origin tells."""
    one = np.ones(1)
    patches = BlendedPatches(np.zeros((1, 3)), one, 0 * one, patch, patch, np.zeros(1, bool))
    jets = BlendedJets.empty(len(points))
    away = np.linalg.norm(points, axis=1)[:, None]
    fused_blend(0, points, np.zeros((len(points), 1), np.intp), away, patches, 0.0, jets)
    assert jets.answered.all()
    return jets


@pytest.mark.parametrize("seed", range(4))
def test_a_patch_tells_the_derivatives_of_its_distance(seed: int) -> None:
    """By differences at places on its disk."""
    patch, step = _one_patch(seed), 1e-5
    axes = patch.frame[0]
    angle = np.linspace(0, 6, 20)
    on_disk = 0.2 * np.stack([np.cos(angle), np.sin(angle)], axis=1) @ axes[:2]
    here = _told(patch, on_disk)
    gradient = here.gradient / patch.slope
    assert np.linalg.norm(gradient, axis=1) == pytest.approx(1)
    assert (here.hessian @ here.gradient[:, :, None]) == pytest.approx(0, abs=1e-9)
    for index, axis in enumerate(axes):
        ahead, behind = (_told(patch, on_disk + way * axis) for way in (step, -step))
        slope = (ahead.distance - behind.distance) / (2 * step)
        assert slope == pytest.approx(gradient @ axis, abs=1e-6)
        if index < 2:  # above the disk the first fit's curvature has to do
            bend = (ahead.gradient - behind.gradient) / (2 * step)
            assert bend == pytest.approx(here.hessian @ axis, abs=1e-5)


def test_without_kernels_points_are_asked_one_by_one(
    sphere_field: fairfield.Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_patches, jets = extract_with_jets(sphere_field, 48, "auto")
    monkeypatch.setattr("fairfield.surface_patches.reason_not_compiled", lambda: "No compiler.")
    assert _patches(sphere_field, SCALE, 0.01) is None
    mesh, asked = extract_with_jets(sphere_field, 48, "auto")
    assert edges_not_shared_by_two(mesh.triangles) == 0
    for surface, each in ((with_patches, jets), (mesh, asked)):
        away = surface.vertices - SPHERE_CENTER
        radius = np.linalg.norm(away, axis=1)
        assert radius == pytest.approx(3, abs=3e-3)
        assert angles_in_degrees(each.normals, away / radius[:, None]).mean() < 0.1


def test_nodes_that_are_not_asked_make_no_difference(sphere_field: fairfield.Field) -> None:
    size = 33
    nodes = np.argwhere(np.ones((size,) * 3, bool))
    points = sphere_field.normalization.from_cube(nodes * (2 / (size - 1)) - 1)
    unit = sphere_field.normalization.unit
    shape = (size,) * 3
    # What is raw lies half a cell inside of where the smoothed surface is.
    raw = (sphere_field(points) / unit + 1 / (size - 1)).astype(np.float32).reshape(shape)
    whole = smoothed_values(sphere_field, points, "auto").reshape(shape) / unit
    some = raw.copy()
    _ask_along_the_surface(sphere_field, some, nodes, "auto", 1.0, silent)
    assert (some == raw).mean() > 0.5
    first, second = (marching_cubes(each.astype(np.float32), 0.0)[0] for each in (some, whole))
    assert len(first) == len(second)
    assert np.abs(first - second).max() < 1e-3


def test_there_are_no_patches_where_the_scale_is_finer_than_their_spacing(
    sphere_field: fairfield.Field,
) -> None:
    assert _patches(sphere_field, SCALE, 0.1) is None


def _box(*half: float, splits: int) -> fairfield.TriangleMesh:
    """A box from -half to half along each axis, each face split into 2 * 4^splits triangles."""
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], float) * half
    triangles = np.array(
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
        + [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    )
    for _ in range(splits):
        corners, triangles = split(corners, triangles)
    return fairfield.TriangleMesh(corners, triangles)


def _components(mesh: fairfield.TriangleMesh) -> int:
    count = len(mesh.vertices)
    a, b, c = mesh.triangles.T
    pairs = np.concatenate([a, b]), np.concatenate([b, c])
    graph = coo_matrix((np.ones(2 * len(a)), pairs), (count, count))
    return int(connected_components(graph, directed=False)[0])


@pytest.mark.parametrize("half", [(1.0, 1.0, 1.0), (1.0, 0.8, 0.08)], ids=["cube", "plate"])
def test_no_crumbs_are_left_beside_edges(half: tuple[float, float, float]) -> None:
    field = fairfield.fit(_box(*half, splits=4), preset="draft")
    mesh, _ = extract_with_jets(field, 96, "auto")
    assert edges_not_shared_by_two(mesh.triangles) == 0
    assert _components(mesh) == 1


def _prism(sides: int) -> fairfield.TriangleMesh:
    """A prism of radius 1 and height 2 with sharp edges, as from CAD: vertices only at its caps."""
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    vertices = np.concatenate(
        [np.insert(ring, 2, -1, axis=1), np.insert(ring, 2, 1, axis=1), [[0, 0, -1], [0, 0, 1]]]
    )
    low = np.arange(sides)
    after = np.roll(low, -1)
    high, high_after = low + sides, after + sides
    below, above = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    triangles = np.concatenate(
        [
            np.stack(each, axis=1)
            for each in (
                (low, after, high_after),
                (low, high_after, high),
                (after, low, below),
                (high, high_after, above),
            )
        ]
    )
    return fairfield.TriangleMesh(vertices, triangles)


def test_edges_of_a_model_without_noise_stay_where_they_are() -> None:
    mesh = _prism(32)
    field = fairfield.fit(mesh, "draft")
    surface, _ = extract_with_jets(field, 96, "auto")
    away = np.abs(SignedDistance(mesh)(surface.vertices))
    assert np.sqrt((away**2).mean()) < 1e-3
    assert away.max() < 0.015
    # Who asks for more smoothing gets it.
    smoother, _ = extract_with_jets(field, 96, "auto", 2.0)
    assert np.abs(SignedDistance(mesh)(smoother.vertices)).mean() > 3 * away.mean()


def test_curvature_at_edges_is_that_of_the_operator() -> None:
    """A disk over an edge holds no distance: what it tells grows beyond all bounds."""
    field = fairfield.fit(_box(1.0, 1.0, 1.0, splits=0), preset="draft")
    mesh, jets = extract_with_jets(field, 96, "auto")
    asked = fairfield.differentiate(field, mesh.vertices)
    assert np.abs(jets.mean_curvature).max() < 1.5 * np.abs(asked.mean_curvature).max()


def test_two_sides_of_a_thin_wall_are_told_apart() -> None:
    """A plate thinner than the disks are wide, extracted so that cells span half of it."""
    x, y, thickness = 1.0, 0.8, 0.04
    field = fairfield.fit(_box(x, y, thickness / 2, splits=0), preset="draft")
    mesh, jets = extract_with_jets(field, 128, scale=0.03)
    assert edges_not_shared_by_two(mesh.triangles) == 0
    assert _components(mesh) == 1
    inner = (np.abs(mesh.vertices) < [x - 0.15, y - 0.15, np.inf]).all(axis=1)
    height, upward = mesh.vertices[inner, 2], jets.normals[inner, 2]
    assert np.abs(np.abs(height) - thickness / 2).max() < 2e-3
    assert (upward * np.sign(height) > 0.99).all()


def test_extraction_from_patches_is_as_accurate_as_asking_everywhere() -> None:
    vertices, triangles, _, _ = torus()
    field = fairfield.fit(fairfield.TriangleMesh(vertices, triangles), preset="draft")
    mesh, jets = extract_with_jets(field, 64, "auto")
    asked = fairfield.smooth(field, mesh.vertices, operator="polynomial")
    ring = 0.68 * mesh.vertices * [1, 1, 0]
    ring /= np.linalg.norm(mesh.vertices[:, :2], axis=1, keepdims=True)
    across = mesh.vertices - ring
    radius = np.linalg.norm(across, axis=1)
    exact = across / radius[:, None]
    assert np.abs(radius - 0.26).mean() < 1e-4
    around = np.linalg.norm(mesh.vertices[:, :2], axis=1)
    curvature = (1 / 0.26 + (around - 0.68) / 0.26 / around) / 2
    errors = [angles_in_degrees(each.normals, exact).mean() for each in (jets, asked)]
    assert errors[0] < 1.05 * errors[1]
    bends = [np.abs(each.mean_curvature - curvature).mean() for each in (jets, asked)]
    assert bends[0] < 1.05 * bends[1]
