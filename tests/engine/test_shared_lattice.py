"""The shared lattice on polynomials, and against the same fit made for each query alone."""

from __future__ import annotations

import fairfield
import numpy as np
import pytest
import torch
from conftest import SPHERE_CENTER
from fairfield.operators.autodiff import autodiff_jet
from fairfield.operators.polynomial import polynomial_jet
from fairfield.operators.shared_lattice import (
    SMALLEST_LATTICE_SCALE,
    lattice_jet,
    lattice_stencil,
    nearest_lattice_scale,
)
from shapes import icosphere

POINTS = np.random.default_rng(0).uniform(-1, 1, (200, 3))


def _quartic(points: torch.Tensor) -> torch.Tensor:
    x, y, z = points.unbind(dim=1)
    return 1 + 2 * x - y + x * y - 3 * y * z + z**3 - x * y * z + x**4 - 2 * x * y * y * z


def test_quartics_are_differentiated_exactly_wherever_the_nodes_are() -> None:
    jet = lattice_jet(lambda at: _quartic(torch.from_numpy(at)).numpy(), POINTS, 0.1)
    for got, exact in zip(jet, autodiff_jet(_quartic, torch.from_numpy(POINTS)), strict=True):
        # The lattice holds float32; second derivatives divide its rounding by the scale squared.
        np.testing.assert_allclose(got, exact.numpy(), atol=2e-4)


def test_at_its_nodes_it_is_the_fit_made_for_each_query_alone() -> None:
    def wavy(points: torch.Tensor) -> torch.Tensor:
        return torch.sin(9 * points).prod(dim=1) + points[:, 0]

    scale = 0.05
    nodes = np.rint(POINTS / (0.6 * scale)) * 0.6 * scale
    shared = lattice_jet(lambda at: wavy(torch.from_numpy(at)).numpy(), nodes, scale)
    at = torch.from_numpy(nodes)
    alone = polynomial_jet(wavy, at, torch.full_like(at[:, 0], scale), lattice_stencil())
    for got, expected in zip(shared, alone, strict=True):
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-3)


def test_few_values_are_asked_for_where_queries_are_many() -> None:
    directions, _ = icosphere(subdivisions=5)
    asked = 0

    def sphere(points: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += len(points)
        return np.linalg.norm(points, axis=1) - 0.5

    value, gradient, hessian = lattice_jet(sphere, 0.5 * directions, 0.05)
    assert asked < 20 * len(directions)
    np.testing.assert_allclose(value, 0, atol=1e-5)
    np.testing.assert_allclose(gradient, directions, atol=1e-3)
    np.testing.assert_allclose(np.trace(hessian, axis1=1, axis2=2), 2 / 0.5, rtol=0.01)


def test_scales_are_rounded_by_less_than_a_tenth() -> None:
    scales = np.geomspace(SMALLEST_LATTICE_SCALE, 0.5, 50)
    np.testing.assert_allclose(nearest_lattice_scale(scales), scales, rtol=0.1)


@pytest.mark.parametrize("scale", [0.004, 0.3])
def test_no_lattice_is_laid_out_of_the_cube_or_too_finely(
    sphere_field: fairfield.Field, scale: float
) -> None:
    directions, _ = icosphere(subdivisions=1)
    points = SPHERE_CENTER + directions * np.linspace(2.9, 300, len(directions))[:, None]
    jets = fairfield.differentiate(sphere_field, points, operator="polynomial-lattice", scale=scale)
    near = np.linalg.norm(points - SPHERE_CENTER, axis=1) < 10
    np.testing.assert_allclose(jets.normals[near], directions[near], atol=0.1)
    assert np.isfinite(jets.value).all()
