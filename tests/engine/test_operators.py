"""Operators on functions whose derivatives are known, and against a second method."""

from __future__ import annotations

from functools import partial

import fairfield
import numpy as np
import pytest
import torch
from conftest import SPHERE_CENTER
from fairfield.errors import SettingError
from fairfield.operators import OPERATORS
from fairfield.operators.autodiff import autodiff_jet
from fairfield.operators.finite_difference import finite_difference_jet
from fairfield.operators.polynomial import as_scale, polynomial_jet, two_shell_stencil
from shapes import angles_in_degrees, icosphere


def _smooth(points: torch.Tensor) -> torch.Tensor:
    x, y, z = points.unbind(dim=1)
    return torch.sin(2 * x) * torch.cos(y) + z**2 * x + torch.exp(0.5 * y * z)


POINTS = torch.rand(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_autodiff_equals_torch_jacobians() -> None:
    value, gradient, hessian = autodiff_jet(_smooth, POINTS)
    torch.testing.assert_close(value, _smooth(POINTS))
    for point, expected_gradient, expected_hessian in zip(POINTS, gradient, hessian, strict=True):

        def at(x: torch.Tensor) -> torch.Tensor:
            return _smooth(x[None])[0]

        torch.testing.assert_close(torch.autograd.functional.jacobian(at, point), expected_gradient)
        torch.testing.assert_close(torch.autograd.functional.hessian(at, point), expected_hessian)


@pytest.mark.parametrize(
    "jet",
    [
        lambda: finite_difference_jet(_smooth, POINTS, as_scale(POINTS, 1e-3)),
        lambda: polynomial_jet(_smooth, POINTS, as_scale(POINTS, 3e-3), two_shell_stencil()),
    ],
)
def test_small_neighbourhoods_approach_the_derivatives(jet) -> None:
    for estimate, exact in zip(jet(), autodiff_jet(_smooth, POINTS), strict=True):
        assert (estimate - exact).abs().max() < 1e-4


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_the_stencil_is_exact_on_polynomials_of_its_degree(degree: int) -> None:
    def polynomial(points: torch.Tensor) -> torch.Tensor:
        x, y, z = points.unbind(dim=1)
        terms = [1 + 2 * x - y + 3 * z, x * y - 2 * x * z + 3 * y * z + x * x - z * z]
        return sum([*terms, x**3 - x * y * z + 2 * y * z * z][:degree])

    estimate = polynomial_jet(polynomial, POINTS, as_scale(POINTS, 0.3), two_shell_stencil(degree))
    exact = autodiff_jet(polynomial, POINTS) if degree > 1 else None
    if exact is None:
        expected = torch.tensor([2.0, -1.0, 3.0], dtype=torch.float64).expand_as(estimate[1])
        torch.testing.assert_close(estimate[1], expected)
        return
    for index, (got, expected) in enumerate(zip(estimate, exact, strict=True)):
        torch.testing.assert_close(got, expected, msg=f"order {index}", rtol=1e-9, atol=1e-9)


def test_the_stencil_equals_least_squares_done_per_point() -> None:
    stencil = two_shell_stencil()
    noise = torch.Generator().manual_seed(3)
    samples = torch.randn(len(stencil.offsets), dtype=torch.float64, generator=noise)
    scale = 0.01
    _, gradient, hessian = polynomial_jet(
        lambda _: samples, POINTS[:1], as_scale(POINTS[:1], scale), stencil
    )
    # The paper's way: a design matrix in raw offsets and a weighted solve.
    x, y, z = (stencil.offsets * scale).T
    design = np.stack([1 + 0 * x, x, y, z, x * x, x * y, x * z, y * y, y * z, z * z], axis=1)
    weight = np.sqrt(np.tile(np.repeat([25 / 840, 27 / 840], [12, 20]), 2))
    solution, *_ = np.linalg.lstsq(weight[:, None] * design, weight * samples.numpy(), rcond=1e-20)
    _, *slope, xx, xy, xz, yy, yz, zz = solution
    np.testing.assert_allclose(gradient[0], slope, rtol=1e-6)
    np.testing.assert_allclose(
        hessian[0], [[2 * xx, xy, xz], [xy, 2 * yy, yz], [xz, yz, 2 * zz]], rtol=1e-6
    )


def test_the_design_is_symmetric_and_of_unit_scale() -> None:
    stencil = two_shell_stencil()
    assert len(stencil.offsets) == 64
    opposite = {tuple(row) for row in np.round(-stencil.offsets, 9) + 0.0}
    assert opposite == {tuple(row) for row in np.round(stencil.offsets, 9) + 0.0}
    # Even terms do not reach the gradient, nor odd ones value and Hessian.
    np.testing.assert_allclose(stencil.gradient @ stencil.offsets**2, 0, atol=1e-12)
    np.testing.assert_allclose(stencil.hessian @ stencil.offsets**3, 0, atol=1e-12)


def test_results_are_in_the_units_of_the_mesh(sphere_field: fairfield.Field) -> None:
    directions, _ = icosphere(subdivisions=2)
    points = 3.0 * directions + SPHERE_CENTER
    jets = fairfield.differentiate(sphere_field, points, scale=0.3)
    assert np.median(np.abs(jets.mean_curvature - 1 / 3)) < 0.02
    assert np.median(np.abs(jets.gaussian_curvature - 1 / 9)) < 0.015
    assert angles_in_degrees(jets.normals, directions).mean() < 1
    assert np.abs(jets.value).max() < 0.01
    np.testing.assert_allclose(jets.scale, 0.3)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_answers_row_by_row(sphere_field: fairfield.Field, operator: str) -> None:
    directions, _ = icosphere(subdivisions=1)
    points = 3.1 * directions + SPHERE_CENTER
    points[7] = np.nan
    points[9] = np.inf
    jets = fairfield.differentiate(sphere_field, points, operator=operator)
    alone = fairfield.differentiate(sphere_field, points[20:21], operator=operator)
    # Random samples differ from row to row; that is one of their faults.
    tolerance = 0.02 if operator == "polynomial-random" else 1e-5
    np.testing.assert_allclose(jets.normals[20], alone.normals[0], atol=tolerance)
    assert np.flatnonzero(np.isnan(jets.value)).tolist() == [7, 9]
    answered = np.isfinite(jets.value)
    assert np.median(np.abs(jets.value[answered] - 0.1)) < 0.01
    assert np.median(angles_in_degrees(jets.normals, directions)[answered]) < 15


def test_foot_points_of_noise_are_found_without_a_scale() -> None:
    # Where noise makes the field flat, a step overshoots; it is short all the same.
    directions, triangles = icosphere(subdivisions=4)
    radii = 1 + 0.02 * np.random.default_rng(0).standard_normal((len(directions), 1))
    mesh = fairfield.TriangleMesh(directions * radii, triangles)
    field = fairfield.fit(mesh, preset="draft")
    feet = fairfield.smooth(field, mesh.vertices, operator="autodiff")
    assert feet.unanswered < 0.01 * len(directions)


def test_a_point_too_far_to_be_measured_has_no_answer(sphere_field: fairfield.Field) -> None:
    points = np.array([SPHERE_CENTER + [0, 0, 3.0], [0, 1e210, 0]])
    jets = fairfield.smooth(sphere_field, points)
    assert np.isnan(jets.mean_curvature).tolist() == [False, True]


@pytest.mark.parametrize(
    "scale",
    [0, -1, "coarse", "0.1", np.nan, np.inf, 1e9, 1e-12, True, None, [0.1], np.full(2, 0.1), 1j],
)
def test_impossible_scales_are_refused(sphere_field: fairfield.Field, scale) -> None:
    for measure in (fairfield.differentiate, fairfield.smooth):
        with pytest.raises(SettingError, match="scale is"):
            measure(sphere_field, [[0.0, 0, 0]], scale=scale)
    if scale is not None:  # the raw surface
        with pytest.raises(SettingError, match="scale is"):
            fairfield.extract(sphere_field, 32, scale=scale)


@pytest.mark.parametrize("factor", ["2", None, True, [1.0], np.nan])
def test_impossible_factors_are_refused(sphere_field: fairfield.Field, factor) -> None:
    sphere = fairfield.TriangleMesh(*icosphere(subdivisions=1))
    for measure in (fairfield.differentiate, fairfield.smooth):
        with pytest.raises(SettingError, match="scale factor"):
            measure(sphere_field, sphere.vertices, scale_factor=factor)
    with pytest.raises(SettingError, match="scale factor"):
        fairfield.smooth(sphere_field, sphere, scale_factor=factor)
    for scale in (None, "auto"):
        with pytest.raises(SettingError, match="scale factor"):
            fairfield.extract(sphere_field, 32, scale, factor)


@pytest.mark.parametrize(
    "points",
    [np.zeros(3), np.zeros((2, 2)), np.zeros((2, 3, 3)), None, "abc", [[0, 0], [0]], [], 5]
    + [np.zeros((2, 3), complex), [[0j, 0, 0]]],
)
def test_what_is_no_table_of_points_is_refused(sphere_field: fairfield.Field, points) -> None:
    for measure in (sphere_field, partial(fairfield.differentiate, sphere_field)):
        with pytest.raises(SettingError, match="The points"):
            measure(points)
    assert sphere_field(np.zeros((0, 3))).shape == (0,)


def test_other_impossible_questions_are_refused(sphere_field: fairfield.Field) -> None:
    with pytest.raises(SettingError, match="guess"):
        fairfield.differentiate(sphere_field, [[0.0, 0, 0]], operator="guess")
    with pytest.raises(SettingError, match=r"\(2,\)"):
        fairfield.differentiate(sphere_field, [0.0, 0])
    assert fairfield.differentiate(sphere_field, np.zeros((0, 3))).normals.shape == (0, 3)
