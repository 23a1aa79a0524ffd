"""Sharp edges of a clean model are sharp, straight and in place in what Extract makes of it."""

from __future__ import annotations

from pathlib import Path

import fairfield
import igl
import numpy as np
import pytest
import torch
import trimesh
from fairfield.creases import Creases
from fairfield.errors import FieldFileError
from fairfield.extraction import extract_with_jets, sharp_edges
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.spatial import cKDTree
from shapes import edges_not_shared_by_two, icosphere, torus

RESOLUTION = 96


def prism(outline: list[tuple[float, float]], quads: list[list[int]]) -> fairfield.TriangleMesh:
    """An outline, counter-clockwise, from z = 0 to 1; its caps in quads of its corners."""
    count = len(outline)
    vertices = np.array([[*corner, z] for z in (0.0, 1.0) for corner in outline])
    faces = [[i, (i + 1) % count, (i + 1) % count + count, i + count] for i in range(count)]
    faces += [[corner + count for corner in quad] for quad in quads]
    faces += [quad[::-1] for quad in quads]
    triangles = [[quad[0], *quad[k : k + 2]] for quad in faces for k in (1, 2)]
    return fairfield.TriangleMesh(vertices, np.array(triangles))


BRACKET = prism(
    [(0, 0), (2, 0), (2, 0.8), (0.8, 0.8), (0.8, 2), (0, 2)], [[0, 1, 2, 3], [0, 3, 4, 5]]
)
"""With a concave edge, too."""
PLATE = prism([(0, 0), (2, 0), (2, 0.03), (0, 0.03)], [[0, 1, 2, 3]])
"""Thinner than two cells."""


@pytest.fixture(scope="module")
def bracket() -> fairfield.Field:
    return fairfield.fit(BRACKET, "draft")


@pytest.fixture(scope="module")
def cube() -> fairfield.Field:
    box = trimesh.creation.box((2, 2, 2))
    return fairfield.fit(fairfield.TriangleMesh(np.array(box.vertices), np.array(box.faces)))


def away_and_turned(
    surface: fairfield.TriangleMesh, mesh: fairfield.TriangleMesh
) -> tuple[float, float, float]:
    """How far surface and mesh are from each other at most, in units of the largest cell; and the
    share of the surface's area that is turned by over 10 degrees from the mesh."""
    cell = 2 / RESOLUTION / 0.9 * np.ptp(mesh.vertices, axis=0).max() / 2

    def distance(points: NDArray[np.float64], to: fairfield.TriangleMesh) -> tuple:
        square, nearest, _ = igl.point_mesh_squared_distance(
            points, to.vertices, to.triangles.astype(np.int64)
        )
        return np.sqrt(np.maximum(square, 0)).max() / cell, nearest

    there, nearest = distance(surface.vertices[surface.triangles].mean(axis=1), mesh)
    samples, _ = trimesh.sample.sample_surface(
        trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False), 20000, seed=0
    )
    back, _ = distance(np.asarray(samples), surface)
    cosine = (surface.triangle_normals() * mesh.triangle_normals()[nearest]).sum(axis=1)
    area = surface.triangle_areas()
    return there, back, area[cosine < np.cos(np.radians(10))].sum() / area.sum()


def test_edges_are_sharp_and_in_place(bracket: fairfield.Field) -> None:
    surface = fairfield.extract(bracket, RESOLUTION, "auto")
    assert edges_not_shared_by_two(surface.triangles) == 0
    there, back, turned = away_and_turned(surface, BRACKET)
    assert max(there, back) < 0.35
    assert turned < 2e-3
    # Without them the edges are cut off.
    rounded = bracket.with_module(bracket.module)
    rounded.creases = None
    there, back, turned = away_and_turned(fairfield.extract(rounded, RESOLUTION, "auto"), BRACKET)
    assert back > 0.4
    assert turned > 0.02


def test_vertices_run_along_the_whole_edge(bracket: fairfield.Field) -> None:
    surface = fairfield.extract(bracket, RESOLUTION, "auto")
    cell = 2 / RESOLUTION / 0.9
    for begin, end in (((0, 0, 0), (0, 0, 1)), ((0.8, 0.8, 0), (0.8, 0.8, 1))):
        places = np.linspace(begin, end, 200)
        distance, _ = cKDTree(surface.vertices).query(places)
        assert distance.max() < cell
        on_edge = np.linalg.norm(surface.vertices[:, :2] - begin[:2], axis=1) < 1e-4
        assert on_edge.sum() > 0.8 / cell


@pytest.mark.parametrize("resolution", [36, 96, 116])
def test_the_edges_of_a_cube_are_marked_and_no_triangle_is_without_area(
    cube: fairfield.Field, resolution: int
) -> None:
    """At these resolutions the lattice's planes lie close beside the faces."""
    surface = fairfield.extract(cube, resolution, "auto")
    cell = 2 / resolution / 0.9
    assert surface.triangle_areas().min() > 1e-6 * cell**2
    ends = surface.vertices[sharp_edges(cube, surface, resolution)]
    at_face = np.isclose(np.abs(ends), 1, atol=1e-4)
    assert (at_face.sum(axis=2) >= 2).all()
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum()
    assert length == pytest.approx(24, rel=0.03)


def test_a_surface_that_was_smoothed_over_them_has_no_edges_to_mark(cube: fairfield.Field) -> None:
    for scale, factor in ((None, 1.0), (0.1, 1.0), ("auto", 2.0)):
        surface = fairfield.extract(cube, 64, scale, factor)
        assert len(sharp_edges(cube, surface, 64)) == 0


def test_a_part_with_vertices_on_edges_only_has_them_all() -> None:
    """Whatever the angles beside are, and however far vertices lie from what is smoothed."""
    around = np.arange(48) * 2 * np.pi / 48
    radius = np.where(np.arange(48) % 4 < 2, 1.0, 0.7)
    outline = np.stack([radius * np.cos(around), radius * np.sin(around)], axis=1)
    following = np.roll(np.arange(48), -1)
    vertices = np.concatenate(
        [np.insert(outline, 2, 0.0, axis=1), np.insert(outline, 2, 0.3, axis=1)]
        + [[[0, 0, 0], [0, 0, 0.3]]]
    )
    own = np.arange(48)
    triangles = np.concatenate(
        [
            np.stack(each, axis=1)
            for each in (
                (own, following, following + 48),
                (own, following + 48, own + 48),
                (np.full(48, 96), following, own),
                (np.full(48, 97), own + 48, following + 48),
            )
        ]
    )
    gear = fairfield.TriangleMesh(vertices, triangles)
    for noise in (0.0, 0.03):
        assert len(Creases.of(gear, noise).segments) == 3 * 48
    field = fairfield.fit(gear, "draft")
    surface = fairfield.extract(field, RESOLUTION, "auto")
    assert away_and_turned(surface, gear)[1] < 0.4


def test_the_new_vertices_have_normals_and_curvature(bracket: fairfield.Field) -> None:
    surface, jets = extract_with_jets(bracket, RESOLUTION, "auto")
    assert len(jets.normals) == len(surface.vertices)
    assert np.isfinite(jets.normals).all()
    assert np.isfinite(jets.mean_curvature).all()
    # Halfway between the faces, on the edge.
    on_edge = np.flatnonzero(
        (np.linalg.norm(surface.vertices[:, :2], axis=1) < 1e-4)
        & (np.abs(surface.vertices[:, 2] - 0.5) < 0.3)
    )
    cosine = jets.normals[on_edge] @ (np.array([-1, -1, 0]) / np.sqrt(2))
    assert np.median(cosine) > 0.95


def test_a_thin_plate_has_no_dents() -> None:
    field = fairfield.fit(PLATE)
    assert field.creases is not None
    surface = fairfield.extract(field, RESOLUTION, "auto")
    assert edges_not_shared_by_two(surface.triangles) == 0
    there, _, _ = away_and_turned(surface, PLATE)
    assert there < 0.6


def test_triangles_that_share_no_vertices_have_edges_all_the_same() -> None:
    """As STL files have them."""
    soup = fairfield.TriangleMesh(
        BRACKET.vertices[BRACKET.triangles.ravel()],
        np.arange(BRACKET.triangles.size).reshape(-1, 3),
    )
    field = fairfield.fit(soup, "draft")
    assert away_and_turned(fairfield.extract(field, RESOLUTION, "auto"), BRACKET)[1] < 0.35


def test_edges_of_a_mesh_that_is_inside_out_are_sharp() -> None:
    field = fairfield.fit(
        fairfield.TriangleMesh(BRACKET.vertices, BRACKET.triangles[:, ::-1]), "draft"
    )
    assert field.report.warnings
    assert away_and_turned(fairfield.extract(field, RESOLUTION, "auto"), BRACKET)[1] < 0.35


def test_a_scale_of_ones_own_and_more_smoothness_round_the_edges(bracket: fairfield.Field) -> None:
    for scale, factor in ((0.1, 1.0), ("auto", 2.0)):
        surface = fairfield.extract(bracket, RESOLUTION, scale, factor)
        assert away_and_turned(surface, BRACKET)[1] > 0.4


def test_smooth_coarse_and_noisy_meshes_have_none() -> None:
    vertices, triangles, normals, _ = torus()
    smooth = fairfield.TriangleMesh(vertices, triangles)
    assert Creases.of(smooth, noise=0.0) is None
    assert Creases.of(fairfield.TriangleMesh(*icosphere(subdivisions=0)), noise=0.0) is None
    moves = 0.02 * np.random.default_rng(0).standard_normal(len(vertices))
    noisy = fairfield.TriangleMesh(vertices + moves[:, None] * normals, triangles)
    assert noisy.on_sharp_edges().any()
    assert Creases.of(noisy, noise=1e-3) is None
    assert Creases.of(noisy, noise=1e-2) is None
    assert fairfield.fit(noisy, "draft").creases is None


def test_a_triangle_that_is_turned_around_makes_no_edge() -> None:
    vertices, triangles = icosphere(subdivisions=3)
    triangles[::10] = triangles[::10, ::-1]
    assert Creases.of(fairfield.TriangleMesh(vertices, triangles), noise=0.0) is None


def test_they_come_back_from_a_file(bracket: fairfield.Field, tmp_path: Path) -> None:
    path = tmp_path / "bracket.safetensors"
    bracket.save(path)
    again = fairfield.load(path)
    assert bracket.creases is not None
    assert again.creases is not None
    np.testing.assert_array_equal(again.creases.segments, bracket.creases.segments)
    first, second = (fairfield.extract(each, 48, "auto") for each in (bracket, again))
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.triangles, second.triangles)


@pytest.mark.parametrize(
    "segments",
    [
        torch.zeros(0, 4, 3),
        torch.zeros(5, 3, 3),
        torch.zeros(5, 4, 3, dtype=torch.float64),
        torch.full((5, 4, 3), torch.nan),
        torch.full((5, 4, 3), 1e9),
        torch.tensor([[[-1.0] * 3, [1.0] * 3, [0.0] * 3, [0.0] * 3]]),
        torch.tensor([[[-1.0] * 3, [1.0] * 3, [1.0, 0, 0], [0, 1.0, 0]]]).repeat(10000, 1, 1),
    ],
    ids=["none", "shape", "type", "not numbers", "outside", "without normals", "endless"],
)
def test_creases_that_no_fit_gives_are_refused(
    bracket: fairfield.Field, tmp_path: Path, segments: torch.Tensor
) -> None:
    path = tmp_path / "bracket.safetensors"
    bracket.save(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path) | {"creases": segments.contiguous()}
    metadata.pop("checksum")
    metadata["checksum"] = fairfield.field.checksum(metadata, tensors)
    save_file(tensors, path, metadata)
    with pytest.raises(FieldFileError, match="creases"):
        fairfield.load(path)
