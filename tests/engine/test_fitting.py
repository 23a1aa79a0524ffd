"""Fits against exact truth: analytic shapes, broken meshes, every unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fairfield
import numpy as np
import pytest
from fairfield.errors import MeshError, SettingError
from fairfield.fitting import PRESETS
from shapes import angles_in_degrees, icosphere, torus


def _shape(path: Path) -> tuple[fairfield.TriangleMesh, dict[str, np.ndarray]]:
    with np.load(path) as arrays:
        truth = {name: arrays[name].astype(np.float64) for name in arrays.files}
        return fairfield.TriangleMesh(arrays["vertices"], arrays["faces"]), truth


@pytest.mark.parametrize("name", ["sphere", "torus", "metaballs"])
def test_the_operator_beats_autodiff_on_exact_shapes(shared_data: Path, name: str) -> None:
    mesh, truth = _shape(shared_data / "analytic" / f"{name}_clean.npz")
    field = fairfield.fit(mesh)
    assert field.report.near_surface_error < 3e-4

    smooth = fairfield.smooth(field, mesh.vertices)
    sample = np.random.default_rng(0).permutation(len(mesh.vertices))[:4000]
    autodiff = fairfield.differentiate(field, mesh.vertices[sample], operator="autodiff")
    error = angles_in_degrees(smooth.normals, truth["normals"])
    noisy = angles_in_degrees(autodiff.normals, truth["normals"][sample])
    assert smooth.unanswered == 0
    assert error.mean() < noisy.mean() / 2
    assert np.abs(smooth.deviation).mean() < 2e-4

    if name != "metaballs":
        exact = truth["mean_curvature"]
        relative = (smooth.mean_curvature - exact) / np.abs(exact)
        assert np.median(np.abs(relative)) < 0.1
        assert (np.sign(smooth.mean_curvature) == np.sign(exact)).mean() > 0.99
    if name == "torus":
        k1, k2 = smooth.principal_curvatures.T
        exact_k1, exact_k2 = truth["principal_curvatures"].T
        assert np.median(np.abs(k1 - exact_k1) / exact_k1) < 0.05
        assert np.median(np.abs(k2 - exact_k2)) < 0.15
        # The larger curvature runs around the tube, across the ring.
        ring = np.stack([-mesh.vertices[:, 1], mesh.vertices[:, 0], 0 * exact_k1], axis=1)
        ring /= np.linalg.norm(ring, axis=1, keepdims=True)
        across = np.abs((smooth.principal_directions[:, 0] * ring).sum(axis=1))
        assert np.median(np.degrees(np.arcsin(np.clip(across, 0, 1)))) < 5


def test_the_bunny_is_close_in_distance_and_in_normals(shared_data: Path) -> None:
    mesh = fairfield.TriangleMesh.load(shared_data / "real" / "stanford-bunny.npz")
    field = fairfield.fit(mesh)
    assert field.report.near_surface_error < 2.5e-4
    random = np.random.default_rng(0)
    area = mesh.triangle_areas()
    chosen = random.choice(len(area), 20_000, p=area / area.sum())
    corners = random.dirichlet((1, 1, 1), len(chosen))
    points = np.einsum("nc,nci->ni", corners, mesh.vertices[mesh.triangles[chosen]])
    step = 1e-3 * field.normalization.half_extent
    jets = fairfield.differentiate(field, points, operator="finite-difference", scale=step)
    assert np.median(angles_in_degrees(jets.normals, mesh.triangle_normals()[chosen])) < 2.2


SPHERE = 0.8


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
def test_broken_spheres_become_the_sphere(shared_data: Path, name: str) -> None:
    with np.load(shared_data / "broken" / f"{name}.npz") as arrays:
        vertices, triangles = arrays["vertices"], arrays["faces"]
    field = fairfield.fit(fairfield.TriangleMesh(vertices, triangles), preset="draft")
    center = np.array([1e6, -1e6, 1e6]) if name == "offset_1e6" else np.zeros(3)
    directions = np.random.default_rng(0).standard_normal((2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = np.random.default_rng(1).uniform(0.6, 1.0, 2000)
    error = np.abs(field(center + radius[:, None] * directions) - (radius - SPHERE))
    # Where the holes are there is no surface to be near to; elsewhere it is the sphere's.
    assert np.quantile(error, 0.8 if name == "holes" else 0.99) < 6e-3
    answered = fairfield.smooth(field, vertices)
    assert len(answered.normals) == len(vertices)
    if name == "all_inward":
        assert "inward" in field.report.warnings[0]


def test_overlapping_shells_are_fitted_as_one_solid(shared_data: Path) -> None:
    mesh = fairfield.TriangleMesh.load(shared_data / "broken" / "two_overlapping_shells.npz")
    field = fairfield.fit(mesh, preset="draft")
    # The middle of what both shells enclose is deep inside.
    assert field([mesh.vertices.mean(axis=0)])[0] < -0.05


@pytest.mark.parametrize("name", ["single_triangle", "open_plane", "nonmanifold_edge_fan"])
def test_surfaces_without_an_inside_end_in_an_answer(shared_data: Path, name: str) -> None:
    mesh = fairfield.TriangleMesh.load(shared_data / "broken" / f"{name}.npz")
    field = fairfield.fit(mesh, preset="draft")
    assert np.isfinite(field(mesh.vertices)).all()
    assert np.abs(field(mesh.vertices)).max() < 0.1 * field.normalization.half_extent


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_any_unit(size: float) -> None:
    vertices, triangles, normals, curvature = torus()
    mesh = fairfield.TriangleMesh(size * vertices, triangles)
    field = fairfield.fit(mesh, preset="draft")
    answer = fairfield.smooth(field, mesh.vertices, scale=0.03 * size)
    assert np.median(np.abs(answer.mean_curvature * size / curvature - 1)) < 0.1
    assert angles_in_degrees(answer.normals, normals).mean() < 1


def test_far_from_the_surface_it_is_still_a_distance() -> None:
    vertices, triangles, _, _ = torus()
    field = fairfield.fit(fairfield.TriangleMesh(vertices, triangles), "draft")
    points = np.random.default_rng(0).uniform(-1, 1, (5000, 3))
    exact = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.68, points[:, 2]) - 0.26
    far = np.abs(exact) > 0.1
    error = np.abs(field(points) - exact)[far]
    assert (error / np.abs(exact[far])).max() < 0.15
    assert error.mean() < 4e-3


def test_a_fit_ends_when_the_error_stops_falling(monkeypatch: pytest.MonkeyPatch) -> None:
    draft = PRESETS["draft"]
    patient = replace(draft.plans["hash-grid"], steps=2000)
    monkeypatch.setitem(PRESETS, "draft", replace(draft, plans={"hash-grid": patient}))
    mesh = fairfield.TriangleMesh(*icosphere())
    reports: list[fairfield.Progress] = []
    field = fairfield.fit(mesh, "draft", progress=reports.append)
    steps = [report for report in reports if report.loss is not None]
    assert len(steps) == field.report.steps
    assert field.report.steps < 1500
    # What it reports on the way is the error that it ends with.
    assert steps[0].error is None
    assert steps[-1].error == pytest.approx(field.report.near_surface_error, rel=0.2)
    assert steps[-1].error < 0.7 * steps[30].error
    assert steps[-1].seconds_left == 0
    monkeypatch.undo()
    assert field.report.near_surface_error < fairfield.fit(mesh, "draft").report.near_surface_error


@pytest.mark.parametrize("kind", ["hash-grid", "tri-plane"])
def test_a_fit_on_each_device(device: str, kind: str) -> None:
    vertices, triangles = icosphere()
    field = fairfield.fit(
        fairfield.TriangleMesh(vertices, triangles), "draft", device=device, kind=kind
    )
    assert field.report.device == device
    assert field.report.near_surface_error < 1e-3
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 3))
    values = field(points)
    field.module.cpu()
    on_cpu = field.with_module(field.module)
    np.testing.assert_allclose(on_cpu(points), values, atol=2e-5)


def test_the_same_seed_gives_the_same_field() -> None:
    mesh = fairfield.TriangleMesh(*icosphere())
    first, again, other = (fairfield.fit(mesh, "draft", seed) for seed in (3, 3, 4))
    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    np.testing.assert_array_equal(first(points), again(points))
    assert not np.array_equal(first(points), other(points))


def test_any_number_of_threads_gives_the_same_field(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, triangles = icosphere()
    mesh = fairfield.TriangleMesh(vertices * [1, 0.8, 0.6], triangles)
    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    fields = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("fairfield.threads._count", threads)
        fields.append(fairfield.fit(mesh, "draft"))
    first, *others = fields
    for other in others:
        np.testing.assert_array_equal(other(points), first(points))
        scales, expected = (each.scale_map.to_arrays() for each in (other, first))
        for name, values in expected.items():
            np.testing.assert_array_equal(scales[name], values, err_msg=name)


def test_a_far_point_is_answered_by_the_distance() -> None:
    field = fairfield.fit(fairfield.TriangleMesh(*icosphere()), "draft")
    assert field([[50.0, 0, 0]])[0] == pytest.approx(49, rel=0.02)


def test_progress_covers_the_fit_and_can_stop_it() -> None:
    mesh = fairfield.TriangleMesh(*icosphere())
    fractions: list[float] = []

    def stop_at_the_end(progress: fairfield.Progress) -> None:
        fractions.append(progress.fraction)
        if progress.fraction > 0.9:
            raise fairfield.Cancelled

    with pytest.raises(fairfield.Cancelled):
        fairfield.fit(mesh, "draft", progress=stop_at_the_end)
    assert fractions == sorted(fractions)
    assert len(fractions) > 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "huge"},
        {"kind": "cube"},
        {"device": "abacus"},
        *({"seed": seed} for seed in (-1, 2**63, True, 1.5, "0", None)),
    ],
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    mesh = fairfield.TriangleMesh(*icosphere(subdivisions=0))
    with pytest.raises(SettingError, match=str(next(iter(wrong.values())))):
        fairfield.fit(mesh, **wrong)


def test_a_seed_of_numpy_is_one_like_any_other(tmp_path: Path) -> None:
    mesh = fairfield.TriangleMesh(*icosphere(subdivisions=1))
    field = fairfield.fit(mesh, "draft", seed=np.int64(3))  # type: ignore[arg-type]
    field.save(tmp_path / "field.safetensors")
    again = fairfield.load(tmp_path / "field.safetensors")
    assert again.report.seed == 3
    same = fairfield.fit(mesh, "draft", seed=3)
    np.testing.assert_array_equal(again(mesh.vertices), same(mesh.vertices))


def test_a_mesh_at_one_point_is_refused() -> None:
    with pytest.raises(MeshError, match="no area"):
        fairfield.fit(fairfield.TriangleMesh(np.ones((3, 3)), [[0, 1, 2]]))


def _joined(*parts: tuple[np.ndarray, np.ndarray]) -> fairfield.TriangleMesh:
    first, second = parts
    triangles = np.concatenate([first[1], second[1] + len(first[0])])
    return fairfield.TriangleMesh(np.concatenate([first[0], second[0]]), triangles)


@pytest.mark.parametrize("wall", [0.5, 0.01])
def test_walls_too_thin_for_the_field_are_told_of(wall: float) -> None:
    vertices, triangles = icosphere(1.0, subdivisions=5)
    mesh = _joined((3 * vertices, triangles), (3 * (1 - wall) * vertices, triangles[:, ::-1]))
    warnings = fairfield.fit(mesh, "draft").report.warnings
    if wall == 0.5:
        assert warnings == []
    else:
        (sentence,) = warnings
        assert "about 0.03 units thick" in sentence
        assert "'fine'" in sentence


@pytest.mark.parametrize("away", [3, 100])
def test_a_piece_far_away_is_told_of(away: float) -> None:
    vertices, triangles = icosphere(1.0)
    mesh = _joined((vertices, triangles), (0.1 * vertices + [away, 0, 0], triangles))
    warnings = fairfield.fit(mesh, "draft").report.warnings
    assert len(warnings) == (away == 100)
    for sentence in warnings:
        times = int(sentence.split(" times smaller")[0].split()[-1])
        assert times == pytest.approx(101.1 / 2, rel=0.1)
