"""The published operator, and several channels and two dimensions in every polynomial one."""

from __future__ import annotations

import pytest
import torch
from fairfield.errors import SettingError
from fairfield.operators.autodiff import autodiff_jet
from fairfield.operators.polynomial import as_scale, polynomial_jet, two_shell_stencil
from fairfield.operators.random_samples import SAMPLERS, random_samples_jet


def _quadric(points: torch.Tensor) -> torch.Tensor:
    x, y = points[:, 0], points[:, 1]
    z = points[:, -1]
    return 1 + 2 * x - 3 * y + x * y + 0.5 * z * z - 2 * x * z


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("dimension", [2, 3])
def test_random_samples_are_exact_on_a_quadric(sampler: str, dimension: int) -> None:
    points = torch.rand(20, dimension, dtype=torch.float64)
    got = random_samples_jet(_quadric, points, as_scale(points, 0.002), sampler=sampler)
    for estimate, exact in zip(got, autodiff_jet(_quadric, points), strict=True):
        torch.testing.assert_close(estimate, exact, rtol=1e-6, atol=1e-6)


def test_degree_one_gives_a_gradient_and_no_hessian() -> None:
    points = torch.rand(20, 3, dtype=torch.float64)
    _, gradient, hessian = random_samples_jet(
        lambda x: x @ x.new_tensor([1.0, 2, 3]), points, as_scale(points, 0.01), degree=1
    )
    torch.testing.assert_close(gradient, gradient.new_tensor([1.0, 2, 3]).expand(20, 3))
    assert (hessian == 0).all()


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("degree", [2, 3, 4])
def test_each_channel_is_differentiated_for_itself(dimension: int, degree: int) -> None:
    points = torch.rand(20, dimension, dtype=torch.float64)
    scale = as_scale(points, 0.02)
    stencil = two_shell_stencil(degree, dimension)

    def both(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([_quadric(x), -2 * _quadric(x)], dim=1)

    for operator in (
        lambda f: polynomial_jet(f, points, scale, stencil),
        lambda f: random_samples_jet(f, points, scale),
    ):
        for single, double in zip(operator(_quadric), operator(both), strict=True):
            torch.testing.assert_close(double[..., 0], single, rtol=1e-7, atol=1e-7)
            torch.testing.assert_close(double[..., 1], -2 * single, rtol=1e-7, atol=1e-7)
        for estimate, exact in zip(operator(_quadric), autodiff_jet(_quadric, points), strict=True):
            torch.testing.assert_close(estimate, exact, rtol=1e-6, atol=1e-6)


def test_an_unknown_sampler_is_refused() -> None:
    points = torch.rand(2, 3)
    with pytest.raises(SettingError, match="sobol"):
        random_samples_jet(_quadric, points, as_scale(points, 0.1), sampler="sobol")
