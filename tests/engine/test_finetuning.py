"""Fine-tuning: exact truth, what it keeps, and the loss's gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fairfield
import numpy as np
import pytest
import torch
from fairfield import finetuning
from fairfield.errors import Cancelled, FairfieldError, SettingError
from fairfield.fields import KINDS
from fairfield.finetuning import DIFFERENCE, Lesson, direction_and_value_loss
from fairfield.smoothed_lattice import smoothed_lattice
from fairfield.study.shapes import load_shapes
from fairfield.surface_comparison import pieces_and_handles
from shapes import angles_in_degrees, edges_not_shared_by_two, icosphere, torus


@pytest.fixture(scope="module")
def torus_mesh() -> fairfield.TriangleMesh:
    vertices, triangles, *_ = torus(around=256, across=128)
    return fairfield.TriangleMesh(vertices, triangles)


def _known(shared_data: Path, name: str) -> tuple[fairfield.TriangleMesh, np.ndarray, np.ndarray]:
    """A public shape, and some points of its exact surface with their normals."""
    (shape,) = load_shapes(shared_data / "analytic", name)
    some = np.random.default_rng(0).permutation(len(shape.points))[:2000]
    return shape.mesh, shape.points[some], shape.normals[some]


def _autodiff_error(field: fairfield.Field, points: np.ndarray, normals: np.ndarray) -> float:
    jets = fairfield.differentiate(field, points, operator="autodiff")
    return float(angles_in_degrees(jets.normals, normals).mean())


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ("sphere", "hash-grid"),
        ("torus", "dense-grid"),
        pytest.param("torus", "hash-grid", marks=pytest.mark.slow),
        pytest.param("metaballs", "hash-grid", marks=pytest.mark.slow),
        pytest.param("metaballs", "dense-grid", marks=pytest.mark.slow),
        pytest.param("metaballs", "tri-plane", marks=pytest.mark.slow),
    ],
)
def test_normals_by_autodiff_are_as_good_as_the_operator_s(
    shared_data: Path, shape: str, kind: str
) -> None:
    mesh, points, normals = _known(shared_data, f"{shape}_clean")
    field = fairfield.fit(mesh, kind=kind)
    tuned = fairfield.finetune(field, mesh)
    teacher = angles_in_degrees(fairfield.differentiate(field, points).normals, normals).mean()
    after = _autodiff_error(tuned, points, normals)
    # Measured: 1.2 to 1.4 times the operator's, at most 0.2 times that before. On the sphere the
    # operator takes quadrics, and is at 0.005 degrees: autodiff at 0.009, in degrees as well.
    assert after < 1.5 * max(teacher, 0.008)
    assert after < 0.4 * _autodiff_error(field, points, normals)
    report = tuned.report.finetuning
    assert report is not None
    assert report["handed_over"]
    # A field that follows the facets is closer to them than any smooth surface can be: the exact
    # sphere and torus are at 2.8e-5 and 3.3e-5 half-extents on average, the 99th percentile is
    # 9e-5 and 1.2e-4, if they are shifted for the best.
    for name, smooth in zip(("distance_mean", "distance_99"), (3.3e-5, 1.2e-4), strict=True):
        assert report["after"][name] < max(1.05 * report["before"][name], smooth)
    assert report["after"]["iou"] > 0.999


@pytest.mark.parametrize("name", ["sphere_coarse", "torus_noise0p3"])
def test_a_coarse_or_noisy_mesh_gets_the_smooth_surface_it_stands_for(
    shared_data: Path, name: str
) -> None:
    mesh, points, normals = _known(shared_data, name)
    field = fairfield.fit(mesh, "draft")
    tuned = fairfield.finetune(field, mesh)
    teacher = angles_in_degrees(fairfield.differentiate(field, points).normals, normals).mean()
    after = _autodiff_error(tuned, points, normals)
    assert after < 2.5 * teacher
    assert after < 0.15 * _autodiff_error(field, points, normals)
    # The facets of the sphere are 2e-3 deep, and the noise of the torus is 5e-3 high.
    assert np.abs(tuned(points)).mean() < 1e-3


@pytest.mark.parametrize("height", [pytest.param(0.9, marks=pytest.mark.slow), 0.97])
def test_holes_of_a_noisy_scan_stay_closed(height: float) -> None:
    """The field closes them, but it is no distance there, and no operator has an answer."""
    sphere, triangles = icosphere(subdivisions=5)
    noisy = sphere + np.random.default_rng(0).normal(0, 0.006, sphere.shape)
    axis = np.array([0.6, 0.48, 0.64])
    mesh = fairfield.TriangleMesh(noisy, triangles[sphere[triangles].mean(axis=1) @ axis < height])
    field = fairfield.fit(mesh, "draft")
    tuned = fairfield.finetune(field, mesh)
    report = tuned.report.finetuning
    assert report is not None
    assert report["handed_over"]
    surface = fairfield.extract(tuned, 96)
    assert pieces_and_handles(surface).tolist() == [1, 0]
    assert edges_not_shared_by_two(surface.triangles) == 0
    # Measured: the sphere is followed by 0.01 outside the hole, and a cap that is nearly flat
    # closes it, 0.02 below the rim at most.
    radius, along = np.linalg.norm(surface.vertices, axis=1), surface.vertices @ axis
    outside = along < height - 0.04
    np.testing.assert_allclose(radius[outside], 1, atol=0.015)
    assert (along[~outside] > height - 0.05).all()
    assert (radius[~outside] < 1.01).all()
    # With the hole within every disk's reach there still is an answer.
    widely = fairfield.finetune(field, mesh, scale=0.8)
    assert widely.report.finetuning is not None
    assert np.isfinite(widely.report.finetuning["normal_error_after"])


def test_a_base_with_another_surface_is_not_handed_over(
    sphere_field: fairfield.Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cavity in the middle, and a dent: little of the surface, but deep."""
    for place, handed_over in ((None, True), (0.0, False), (0.9, False)):

        def spoilt(*arguments: Any, place: float | None = place) -> np.ndarray:
            values = smoothed_lattice(*arguments)
            along = np.linspace(-1, 1, len(values))
            x, y, z = np.meshgrid(along, along, along, indexing="ij")
            if place is None:
                return values
            return np.maximum(values, 0.07 - np.sqrt((x - place) ** 2 + y**2 + z**2))

        monkeypatch.setattr(finetuning, "smoothed_lattice", spoilt)
        report = fairfield.finetune(sphere_field).report.finetuning
        assert report is not None
        assert report["handed_over"] is handed_over


def test_an_open_mesh_is_its_own() -> None:
    bowl, triangles = icosphere(subdivisions=4)
    mesh = fairfield.TriangleMesh(bowl, triangles[bowl[triangles][:, :, 2].max(axis=1) < 0.1])
    tuned = fairfield.finetune(fairfield.fit(mesh, "draft"), mesh)
    assert tuned.report.finetuning is not None


def test_another_mesh_is_refused(torus_mesh: fairfield.TriangleMesh) -> None:
    field = fairfield.fit(torus_mesh, "draft")
    other = fairfield.TriangleMesh(2 * torus_mesh.vertices, torus_mesh.triangles)
    with pytest.raises(FairfieldError, match="fitted to another mesh"):
        fairfield.finetune(field, other)
    with pytest.raises(FairfieldError, match="fitted to another mesh"):
        fairfield.smooth(field, other)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_field_comes_back_from_its_file_no_worse(
    kind: str, torus_mesh: fairfield.TriangleMesh, tmp_path: Path
) -> None:
    field = fairfield.fit(torus_mesh, "draft", kind=kind)
    before = field(torus_mesh.vertices[:50])
    tuned = fairfield.finetune(field)
    np.testing.assert_array_equal(field(torus_mesh.vertices[:50]), before)
    report = tuned.report.finetuning
    assert report is not None
    assert report["normal_error_after"] < 0.6 * report["normal_error_before"]
    tuned.save(tmp_path / "tuned.safetensors")
    loaded = fairfield.load(tmp_path / "tuned.safetensors")
    assert loaded.report.finetuning == report
    points = torus_mesh.vertices[:50] * 1.01
    np.testing.assert_array_equal(loaded(points), tuned(points))


@pytest.mark.parametrize(("sides", "top"), [(8, 0.5), (32, 0.0)], ids=["prism", "cone"])
def test_a_model_of_few_faces_keeps_its_edges(sides: int, top: float) -> None:
    angles = 2 * np.pi / sides * np.arange(sides)
    ring = np.column_stack([np.cos(angles), np.sin(angles)])
    vertices = np.concatenate(
        [
            np.column_stack([0.5 * ring, np.full(sides, -0.5)]),
            np.column_stack([top * ring, np.full(sides, 0.5)]),
            [[0, 0, -0.5], [0, 0, 0.5]],
        ]
    )
    here, after = np.arange(sides), (np.arange(sides) + 1) % sides
    bottom, above = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    triangles = np.concatenate(
        [
            np.column_stack([here, after, here + sides]),
            np.column_stack([after, after + sides, here + sides]),
            np.column_stack([bottom, after, here]),
            np.column_stack([above, here + sides, after + sides]),
        ]
    )
    mesh = fairfield.TriangleMesh(vertices, triangles)
    report = fairfield.finetune(fairfield.fit(mesh, "draft"), mesh).report.finetuning
    assert report is not None
    for name in ("distance_mean", "distance_99"):
        assert report["after"][name] < 1.1 * report["before"][name] + 1e-5
    assert report["after"]["iou"] > 0.998


def test_a_mesh_with_edges_keeps_its_distance(shared_data: Path) -> None:
    data = np.load(shared_data / "real" / "fandisk.npz")
    mesh = fairfield.TriangleMesh(data["vertices"].astype(float), data["faces"])
    field = fairfield.fit(mesh, "draft")
    tuned = fairfield.finetune(field, mesh)
    before, after = (np.abs(each(mesh.vertices)) for each in (field, tuned))
    assert after.mean() < 1.1 * before.mean()
    report = tuned.report.finetuning
    assert report is not None
    assert report["after"]["distance_mean"] < 1.05 * report["before"]["distance_mean"]
    assert report["normal_error_after"] <= report["normal_error_before"]


def test_the_same_seed_gives_the_same_field(sphere_field: fairfield.Field) -> None:
    points = np.random.default_rng(0).normal(size=(100, 3)) + sphere_field.normalization.center
    first, second, other = (
        fairfield.finetune(sphere_field, hand_over=False, seed=s)(points) for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_it_says_whether_the_field_is_as_it_was(
    sphere_field: fairfield.Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(0).normal(size=(100, 3)) + sphere_field.normalization.center
    for rate, unchanged in ((finetuning.LEARNING_RATE, False), (0.0, True)):
        monkeypatch.setattr(finetuning, "LEARNING_RATE", rate)
        tuned = fairfield.finetune(sphere_field, hand_over=False)
        assert tuned.report.finetuning is not None
        assert tuned.report.finetuning["unchanged"] is unchanged
        assert (tuned(points) == sphere_field(points)).all() == unchanged


def test_it_can_be_cancelled_at_every_stage(sphere_field: fairfield.Field) -> None:
    stages = []
    fairfield.finetune(sphere_field, progress=lambda progress: stages.append(progress.stage))
    assert len(set(stages)) > 2
    for stage in sorted(set(stages)):

        def stop(progress: fairfield.Progress, stage: str = stage) -> None:
            if progress.stage == stage:
                raise Cancelled("Cancelled.")

        with pytest.raises(Cancelled):
            fairfield.finetune(sphere_field, progress=stop)


@pytest.mark.parametrize(
    "wrong",
    [
        {"normal_weight": -1.0},
        {"value_length": 0.0},
        *({"seed": seed} for seed in (-1, True, 1.5, "0", None)),
        *({"scale": scale} for scale in (-1.0, True, None)),
    ],
)
def test_settings_out_of_range_are_refused(sphere_field: fairfield.Field, wrong: dict) -> None:
    with pytest.raises(SettingError):
        fairfield.finetune(sphere_field, **wrong)


def test_the_gradient_of_the_loss_is_autograd_s() -> None:
    random = np.random.default_rng(0)
    unit = random.normal(size=(20, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    lesson = Lesson(
        random.normal(size=(20, 3)).astype(np.float32),
        random.normal(size=20).astype(np.float32),
        unit.astype(np.float32),
        random.random(20).astype(np.float32),
        np.zeros(20, np.float32),
        scale=0.01,
    )
    values = (random.normal(size=(20, 4)) * DIFFERENCE).astype(np.float32)
    loss, slopes = direction_and_value_loss(values, lesson, 2.0, 0.5)

    at = torch.from_numpy(values).double().requires_grad_()
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    gradient = at @ (3 / (4 * DIFFERENCE) * corners.double())
    direction = gradient / gradient.norm(dim=1, keepdim=True)
    turn = ((direction - torch.from_numpy(lesson.normals).double()) ** 2).sum(dim=1)
    error = (at.mean(dim=1) - torch.from_numpy(lesson.values).double()) / 0.5
    expected = (error**2).mean() + 2 * (torch.from_numpy(lesson.trust) * turn).mean()
    (expected_slopes,) = torch.autograd.grad(expected, at)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    largest = float(expected_slopes.abs().max())
    np.testing.assert_allclose(slopes, expected_slopes, rtol=0, atol=1e-4 * largest)
