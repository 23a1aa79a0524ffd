"""Polynomials through vertices over wide disks: exact where there is no noise, honest where is."""

from __future__ import annotations

import numpy as np
import pytest
from fairfield.fused import VertexCells, reason_not_compiled
from fairfield.operators.height_polynomials import BALL, HeightPolynomials, height_polynomials
from numpy.typing import NDArray
from shapes import icosphere

pytestmark = pytest.mark.skipif(
    reason_not_compiled() is not None, reason=f"{reason_not_compiled()}"
)

UP = np.array([[0.0, 0.0, 1.0]])


def _fit(
    vertices: NDArray[np.float64],
    sides: NDArray[np.float64],
    *,
    radius: float,
    share: float = 1.0,
    shape: NDArray[np.float64] | float = 0.0,
    middle: NDArray[np.float64] = 0 * UP,
) -> HeightPolynomials:
    """Over one disk that looks up."""
    shapes = np.zeros((1, 3, 3)) + shape
    cells = VertexCells(vertices, sides)
    return height_polynomials(middle, UP, shapes, np.array([radius]), np.array([share]), cells)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_straightened_sphere_is_exact_even_by_a_quadric(share: float) -> None:
    directions, _ = icosphere(subdivisions=5)
    shape = np.diag([2.0, 2.0, 0.0])
    found = _fit(directions / 2, directions, radius=0.4, share=share, shape=shape, middle=UP / 2)
    np.testing.assert_allclose(found.normals, UP, atol=1e-6)
    np.testing.assert_allclose(found.shapes[0], shape, atol=1e-6)


def test_the_other_side_of_a_thin_wall_has_no_say() -> None:
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 4000))
    wall = np.stack([x, y, np.repeat([0.0, -0.02], 2000)], axis=1)
    sides = np.repeat([1.0, -1.0], 2000)[:, None] * UP
    found = _fit(wall, sides, radius=0.5)
    np.testing.assert_allclose(found.normals, UP, atol=1e-6)
    assert found.normal_variance[0] < 1e-12


def test_few_vertices_are_not_believed() -> None:
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 40))
    flat = np.stack([x, y, 0 * x], axis=1)
    found = _fit(flat, np.repeat(UP, 40, axis=0), radius=0.3)
    assert found.normal_variance[0] > 1e3
    np.testing.assert_array_equal(found.normals, UP)


def test_many_disks_are_what_plain_least_squares_makes_of_each() -> None:
    random = np.random.default_rng(1)
    at = random.uniform(-0.9, 0.9, (5000, 2))
    height = 0.3 * np.sin(2 * at[:, 0]) * np.cos(at[:, 1]) + 0.01 * random.normal(size=5000)
    vertices = np.column_stack([at, height])
    middles = vertices[(np.abs(at) < 0.6).all(axis=1)][:40]
    radius = random.uniform(0.15, 0.4, 40)
    many = height_polynomials(
        middles,
        np.repeat(UP, 40, axis=0),
        np.zeros((40, 3, 3)),
        radius,
        np.zeros(40),
        VertexCells(vertices, np.repeat(UP, 5000, axis=0)),
    )
    for disk in range(40):
        away = vertices - middles[disk]
        within = np.linalg.norm(away[:, :2], axis=1) < radius[disk]
        within &= np.linalg.norm(away, axis=1) < BALL * radius[disk]
        x, y, z = away[within].T
        table = np.column_stack([np.ones(len(x)), x, y, x**2, x * y, y**2])
        fitted = np.linalg.lstsq(table, z)[0]
        normal = np.array([-fitted[1], -fitted[2], 1]) / np.hypot(1, np.hypot(*fitted[1:3]))
        np.testing.assert_allclose(many.normals[disk], normal, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_variances_are_those_of_many_fits(share: float) -> None:
    random = np.random.default_rng(3)
    x, y = random.uniform(-1, 1, (2, 1500))
    sides = np.repeat(UP, 1500, axis=0)
    fits = [
        _fit(
            np.stack([x, y, 0.01 * random.normal(size=1500)], axis=1),
            sides,
            radius=0.7,
            share=share,
        )
        for _ in range(300)
    ]
    turns = np.mean([((fit.normals - UP) ** 2).sum() for fit in fits])
    bends = np.mean([(fit.shapes**2).sum() for fit in fits])
    assert np.mean([fit.normal_variance for fit in fits]) == pytest.approx(turns, rel=0.2)
    assert np.mean([fit.shape_variance for fit in fits]) == pytest.approx(bends, rel=0.2)
