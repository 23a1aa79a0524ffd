"""The automatic scale: as good as a scale chosen with the truth, and local."""

from __future__ import annotations

from pathlib import Path

import fairfield
import numpy as np
import pytest
import torch
from fairfield.errors import SettingError
from fairfield.operators.automatic_scale import LADDER, facet_sizes
from shapes import angles_in_degrees, icosphere, torus

SINGLE_SCALES = (0.01, 0.02, 0.04, 0.08, 0.16)


def _noisy_torus(noise: float) -> tuple[fairfield.TriangleMesh, np.ndarray, np.ndarray]:
    """A torus with vertices moved along random directions; exact normals and curvature there."""
    vertices, triangles, _, _ = torus(0.68, 0.26, 160, 80)
    random = np.random.default_rng(3)
    move = random.standard_normal(vertices.shape)
    move *= noise * random.standard_normal((len(move), 1)) / np.linalg.norm(move, axis=1)[:, None]
    vertices = vertices + move
    radius = np.linalg.norm(vertices[:, :2], axis=1)
    from_ring = np.column_stack([vertices[:, :2] * (1 - 0.68 / radius)[:, None], vertices[:, 2]])
    normals = from_ring / np.linalg.norm(from_ring, axis=1, keepdims=True)
    outward = (normals[:, :2] * vertices[:, :2]).sum(axis=1) / radius
    curvature = (1 / 0.26 + outward / (0.68 + 0.26 * outward)) / 2
    return fairfield.TriangleMesh(vertices, triangles), normals, curvature


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.006])
def test_it_comes_close_to_the_best_single_scale(noise: float) -> None:
    mesh, normals, curvature = _noisy_torus(noise)
    field = fairfield.fit(mesh)
    rows = np.random.default_rng(0).permutation(len(normals))[:2000]

    def errors(**settings: float | str) -> tuple[float, float]:
        jets = fairfield.smooth(field, mesh.vertices[rows], **settings)
        turn = angles_in_degrees(jets.normals, normals[rows]).mean()
        bend = jets.mean_curvature - curvature[rows]
        return float(turn), float(np.sqrt((bend**2).mean()))

    best = np.min([errors(scale=scale) for scale in SINGLE_SCALES], axis=0)
    turn, bend = errors()
    assert turn < 1.2 * best[0] + 0.01
    assert bend < 1.3 * best[1] + 0.01
    if noise:
        triangle_normals = mesh.triangle_normals()
        assert turn < angles_in_degrees(triangle_normals, triangle_normals[:1]).mean() / 3
        # Of an isotropic displacement a third of the variance lies along the normal.
        assert 0.7 < field.report.noise * field.normalization.half_extent * np.sqrt(3) / noise < 1.2
    else:
        assert field.report.noise < 2e-4


def test_a_quadric_is_taken_where_the_surface_bends_evenly() -> None:
    directions, triangles = icosphere(subdivisions=5)
    noise = 0.003 * np.random.default_rng(0).standard_normal((len(directions), 1))
    ball = fairfield.fit(
        fairfield.TriangleMesh(directions * (1 + noise), triangles), preset="draft"
    )
    ring = fairfield.fit(_noisy_torus(0.006)[0], preset="draft")
    assert np.median(ball.scale_map.normal_share) == 0
    assert np.median(ball.scale_map.curvature_share) == 0
    assert np.median(ring.scale_map.normal_share) == 1
    assert np.median(ring.scale_map.curvature_share) == 1
    foot = fairfield.smooth(ball, directions)
    stencil = fairfield.smooth(ball, directions, operator="polynomial-volume")
    turns = [angles_in_degrees(each.normals, directions).mean() for each in (foot, stencil)]
    bends = [np.square(each.mean_curvature - 1).mean() for each in (foot, stencil)]
    assert turns[0] < turns[1]
    assert bends[0] < bends[1]


def _bumpy_sphere(
    subdivisions: int, radius: float, height: float, frequency: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, triangles and normals of a sphere with bumps, and its vertices' directions."""
    directions, triangles = icosphere(subdivisions=subdivisions)

    def radii(points: torch.Tensor) -> torch.Tensor:
        unit = points / points.norm(dim=1, keepdim=True)
        return radius + height * torch.sin(frequency * unit).prod(dim=1)

    vertices = directions * radii(torch.from_numpy(directions)).numpy()[:, None]
    at = torch.from_numpy(vertices).requires_grad_()
    (slope,) = torch.autograd.grad((at.norm(dim=1) - radii(at)).sum(), at)
    return vertices, triangles, torch.nn.functional.normalize(slope, dim=1).numpy(), directions


def test_small_bumps_of_a_clean_mesh_are_kept() -> None:
    vertices, triangles, normals, directions = _bumpy_sphere(6, 0.8, 0.003, 25)
    rows = np.random.default_rng(0).permutation(len(vertices))[:2000]
    jets = fairfield.smooth(
        fairfield.fit(fairfield.TriangleMesh(vertices, triangles)), vertices[rows]
    )
    bumps = angles_in_degrees(normals[rows], directions[rows]).mean()
    assert angles_in_degrees(jets.normals, normals[rows]).mean() < bumps / 5


def test_bumps_little_higher_than_the_noise_are_kept() -> None:
    vertices, triangles, normals, _ = _bumpy_sphere(5, 0.75, 0.03, 8)
    noise = 0.0078 * np.random.default_rng(5).standard_normal((len(vertices), 1))
    noisy = vertices + noise * normals
    field = fairfield.fit(fairfield.TriangleMesh(noisy, triangles))
    rows = np.random.default_rng(0).permutation(len(vertices))[:2000]

    def error(scale: float | str) -> float:
        jets = fairfield.smooth(field, noisy[rows], scale=scale)
        return float(angles_in_degrees(jets.normals, normals[rows]).mean())

    assert error("auto") < 1.35 * min(error(scale) for scale in (0.04, 0.06, 0.08, 0.12))


def test_flats_are_smoothed_more_than_edges() -> None:
    box, edge = _rounded_box(0.5, 0.08)
    field = fairfield.fit(box, preset="draft")
    normal_scale, _ = field.scale_map.scales_at(field.normalization.to_cube(box.vertices))
    from_middle = np.sort(np.abs(box.vertices), axis=1)[:, :2].max(axis=1)
    assert np.median(normal_scale[from_middle < 0.15]) > 1.7 * np.median(normal_scale[edge])


def test_facets_count_only_where_the_surface_bends() -> None:
    box, edge = _rounded_box(0.5, 0.08)
    corners_on_edge = edge[box.triangles].any(axis=1)
    sizes = facet_sizes(box)
    assert (sizes[~corners_on_edge] == 0).mean() > 0.7
    flat_width = 2 * (0.5 - 0.08) / 8
    assert 0 < np.median(sizes[corners_on_edge]) < flat_width / 2
    cube = fairfield.TriangleMesh(
        [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)],
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
        + [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]],
    )
    assert (facet_sizes(cube) == 0).all()


def test_a_coarse_sphere_shows_its_own_curvature_not_that_of_its_facets() -> None:
    vertices, triangles = icosphere(radius=2.0, subdivisions=3)
    field = fairfield.fit(fairfield.TriangleMesh(vertices, triangles), preset="draft")
    jets = fairfield.smooth(field, vertices)
    assert np.abs(jets.mean_curvature - 0.5).max() < 0.05
    assert angles_in_degrees(jets.normals, vertices / 2).max() < 1


def test_it_does_not_depend_on_the_other_points(sphere_field: fairfield.Field) -> None:
    points = sphere_field.normalization.from_cube(np.random.default_rng(1).uniform(-1, 1, (50, 3)))
    together = fairfield.differentiate(sphere_field, points)
    alone = fairfield.differentiate(sphere_field, points[17:18])
    np.testing.assert_allclose(alone.gradient[0], together.gradient[17], atol=1e-6)
    np.testing.assert_array_equal(alone.scale[0], together.scale[17])


def test_the_factor_multiplies_it(sphere_field: fairfield.Field) -> None:
    points = sphere_field.normalization.from_cube(sphere_field.scale_map.points[:20])
    once = fairfield.differentiate(sphere_field, points, scale_factor=0.5)
    twice = fairfield.differentiate(sphere_field, points, scale_factor=0.25)
    np.testing.assert_allclose(once.scale, 2 * twice.scale, rtol=1e-6)
    for wrong in (0.0, -1.0, 1e-3, 1e6, np.nan, np.inf):
        with pytest.raises(SettingError, match=r"scale factor .* 0.05 to 20"):
            fairfield.differentiate(sphere_field, points, scale_factor=wrong)


def test_it_survives_the_file(sphere_field: fairfield.Field, tmp_path: Path) -> None:
    sphere_field.save(tmp_path / "ball.safetensors")
    loaded = fairfield.load(tmp_path / "ball.safetensors")
    for name, array in sphere_field.scale_map.to_arrays().items():
        np.testing.assert_array_equal(array, loaded.scale_map.to_arrays()[name])
    assert LADDER[0] < sphere_field.scale_map.normal_scale.min() * 1.001


def _rounded_box(half: float, radius: float) -> tuple[fairfield.TriangleMesh, np.ndarray]:
    """A cube with rounded edges, and which vertices lie on the rounding."""
    around = np.linspace(0, np.pi / 2, 7)
    line = np.linspace(-1, 1, 9) * (half - radius)
    # A subdivided cube's surface, whose grid lines gather at the edges, pressed onto the box.
    rounding = (half - radius) + radius * np.sin(around[1:])
    along = np.concatenate([-rounding[::-1], line, rounding])
    grid_u, grid_v = (g.ravel() for g in np.meshgrid(along, along, indexing="ij"))
    count = len(along)
    i, j = (g.ravel() for g in np.meshgrid(*[np.arange(count - 1)] * 2, indexing="ij"))
    a, b, c, d = i * count + j, (i + 1) * count + j, (i + 1) * count + j + 1, i * count + j + 1
    face = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    sides, indices = [], []
    for axis in range(3):
        for sign in (-1, 1):
            side = np.empty((count**2, 3))
            side[:, axis] = sign * half
            side[:, (axis + 1) % 3], side[:, (axis + 2) % 3] = grid_u, grid_v
            indices.append((face if sign > 0 else face[:, ::-1]) + len(sides) * count**2)
            sides.append(side)
    cube = np.concatenate(sides)
    core = np.clip(cube, radius - half, half - radius)
    away = cube - core
    box = core + radius * away / np.linalg.norm(away, axis=1, keepdims=True)
    box, index = np.unique(box.round(9), axis=0, return_inverse=True)
    triangles = index.reshape(-1)[np.concatenate(indices)]
    triangles = triangles[(triangles != np.roll(triangles, 1, axis=1)).all(axis=1)]
    on_edge = (np.abs(box) > half - radius + 1e-6).sum(axis=1) > 1
    return fairfield.TriangleMesh(box, triangles), on_edge


def test_scales_are_small_beside_the_crease_around_an_eye() -> None:
    # A ball in a hole of a larger one: beside the hole's rim the ball's own normals are known.
    vertices, triangles = icosphere(1.0, subdivisions=5)
    head = triangles[vertices[triangles].mean(axis=1)[:, 0] < 0.87]
    center, radius = np.array([0.8, 0, 0]), 0.42
    mesh = fairfield.TriangleMesh(
        np.concatenate([vertices, center + radius * vertices]),
        np.concatenate([head, triangles + len(vertices)]),
    )
    field = fairfield.fit(mesh)
    around = np.linspace(0, 2 * np.pi, 200)
    normals = np.stack([np.ones(200), np.cos(around), np.sin(around)], axis=1)
    normals[:, 0] = (0.93 - center[0]) / radius
    normals[:, 1:] *= np.sqrt(1 - normals[:, :1] ** 2)
    jets = fairfield.smooth(field, center + radius * normals)
    assert angles_in_degrees(jets.normals, normals).mean() < 0.2
