"""What lies inside other parts of a mesh is no surface: areas against exact ones."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from fairfield import fit, smooth
from fairfield.distance import SignedDistance
from fairfield.mesh import TriangleMesh
from fairfield.open_sheet import Rim
from fairfield.repair import repair
from shapes import icosphere


def _outer(*parts: tuple[np.ndarray, np.ndarray]) -> tuple[TriangleMesh, TriangleMesh]:
    """The mesh of all parts, and its outer surface."""
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    triangles = [each + offset for (_, each), offset in zip(parts, offsets, strict=False)]
    vertices = np.concatenate([vertices for vertices, _ in parts])
    mesh = repair(TriangleMesh(vertices, np.concatenate(triangles))).mesh
    return mesh, SignedDistance(mesh).surface


def _area(mesh: TriangleMesh) -> float:
    return float(mesh.triangle_areas().sum())


def test_a_mesh_with_nothing_inside_is_left_alone() -> None:
    mesh, outer = _outer(icosphere(0.8))
    assert outer is mesh
    vertices, triangles = icosphere(0.5)
    mesh, outer = _outer(icosphere(0.8), (vertices, triangles[:, ::-1]))
    assert outer is mesh, "the wall of a hollow sphere has the inside on one side only"


def test_a_ball_in_a_ball_is_no_surface() -> None:
    _, outer = _outer(icosphere(0.8), icosphere(0.5))
    assert np.linalg.norm(outer.vertices, axis=1).min() == pytest.approx(0.8)
    assert _area(outer) == pytest.approx(_area(_outer(icosphere(0.8))[0]))


@pytest.mark.parametrize("inward", [False, True])
def test_of_balls_that_overlap_a_strip_is_left_inside(inward: bool) -> None:
    vertices, triangles = icosphere(0.5, subdivisions=5)
    if inward:
        triangles = triangles[:, ::-1]
    shift = np.array([0.3, 0, 0])
    _, outer = _outer((vertices - shift, triangles), (vertices + shift, triangles))
    exact = 2 * 2 * np.pi * 0.5 * (0.5 + 0.3)
    longest = 0.5 * 0.04
    strip = 2 * longest * 2 * np.pi * 0.4
    assert (1 - 1e-3) * exact < _area(outer) < exact + strip
    other = np.linalg.norm(np.abs(outer.vertices) * [-1, 1, 1] - shift, axis=1)
    assert other.min() > 0.5 - longest


def test_vertices_inside_other_parts_have_no_answer() -> None:
    vertices, triangles = icosphere(0.5, subdivisions=4)
    shift = np.array([0.3, 0, 0])
    both = np.concatenate([vertices - shift, vertices + shift])
    mesh = TriangleMesh(both, np.concatenate([triangles, triangles + len(vertices)]))
    jets = smooth(fit(mesh, "draft"), mesh)
    other = np.concatenate([vertices - 2 * shift, vertices + 2 * shift])
    depth = 0.5 - np.linalg.norm(other, axis=1)
    assert np.isnan(jets.mean_curvature[depth > 0.05]).all()
    assert (depth > 0.05).sum() > 100
    visible = depth < -0.15
    np.testing.assert_allclose(jets.mean_curvature[visible], 2, rtol=0.02)


def test_large_faces_that_go_in_and_out_end_where_they_do() -> None:
    box = trimesh.creation.box([1.0, 1.0, 1.0])
    rod = trimesh.creation.cylinder(0.05, 2.0, sections=64)
    _, outer = _outer(*((each.vertices.view(np.ndarray), each.faces) for each in (box, rod)))
    around = rod.area / rod.bounds[1, 2] / 2  # of the rod, for each length of it
    exact = box.area + rod.area - around - 2 * np.pi * 0.05**2
    strip = 2 * (0.04 * around + 2 * np.pi * 0.05 * 0.04)
    assert exact * (1 - 1e-3) < _area(outer) < exact + strip
    # No seams open but where what is inside was left out.
    ends = np.abs(outer.vertices[Rim.of(outer.triangles).edges])
    is_of_rod = np.linalg.norm(ends[..., :2], axis=2) > 0.0499
    assert ((ends[..., 2] > 0.45) & (ends[..., 2] < 0.5001) | ~is_of_rod).all()
    assert (np.isclose(ends[..., 2], 0.5) | is_of_rod).all()


def test_what_noise_folds_is_kept() -> None:
    vertices, triangles = icosphere(0.8, subdivisions=5)
    noise = np.random.default_rng(0).normal(0, 0.02, vertices.shape)
    mesh, outer = _outer((vertices + noise, triangles))
    assert _area(outer) == pytest.approx(_area(mesh), rel=1e-3)
