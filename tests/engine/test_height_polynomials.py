"""Polynomials through vertices over wide disks: exact where there is no noise, honest where is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fairfield.fused import VertexCells, reason_not_compiled
from fairfield.operators.height_polynomials import (
    BALL,
    FEWEST,
    SAME_SIDE,
    HeightPolynomials,
    height_polynomials,
)
from fairfield.operators.tangent import tangent_frame
from numpy.typing import NDArray
from shapes import icosphere

pytestmark = pytest.mark.skipif(
    reason_not_compiled() is not None, reason=f"{reason_not_compiled()}"
)

UP = np.array([[0.0, 0.0, 1.0]])


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


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


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_disks_anywhere_are_what_plain_least_squares_makes_of_them(share: float) -> None:
    random = np.random.default_rng(1)
    vertices = random.uniform(-0.5, 0.5, (4000, 3))
    sides = unit(random.normal(size=(4000, 3)) + 2 * np.sign(vertices))
    middles, normals = random.uniform(-0.4, 0.4, (30, 3)), unit(random.normal(size=(30, 3)))
    radius = random.uniform(0.3, 0.5, 30)
    across = tangent_frame(torch.from_numpy(normals)).numpy()
    bends = random.normal(size=(30, 2, 2))
    bends += bends.transpose(0, 2, 1)
    shapes = across.transpose(0, 2, 1) @ bends @ across
    cells = VertexCells(vertices, sides)
    found = height_polynomials(middles, normals, shapes, radius, np.full(30, share), cells)
    powers = [(p - q, q) for p in range(5) for q in range(p + 1)]
    for disk in range(30):
        away = vertices - middles[disk]
        x, y, z = np.concatenate([across[disk], normals[None, disk]]) @ away.T / radius[disk]
        above = (np.linalg.norm(away, axis=1) < BALL * radius[disk]) & (x**2 + y**2 < 1)
        above &= sides @ normals[disk] > SAME_SIDE
        if above.sum() < FEWEST:
            np.testing.assert_array_equal(found.normals[disk], normals[disk])
            continue
        x, y, z = x[above], y[above], z[above]
        towards = -radius[disk] * np.einsum(
            "in,ij,jn->n", unit(np.stack([x, y]).T).T, bends[disk], unit(np.stack([x, y]).T).T
        )
        height = z - towards * z**2 / 2
        table = np.stack([x**p * y**q for p, q in powers], axis=1)
        quadric, quartic = (np.linalg.lstsq(table[:, :m], height)[0][:6] for m in (6, 15))
        _, slope_x, slope_y, xx, xy, yy = quadric + share * (quartic - quadric)
        normal = np.array([-slope_x, -slope_y, 1.0]) @ np.vstack([across[disk], normals[disk]])
        np.testing.assert_allclose(found.normals[disk], unit(normal[None])[0], atol=1e-4)
        rise = np.sqrt(1 + slope_x**2 + slope_y**2)
        bent = across[disk] @ found.shapes[disk] @ across[disk].T
        steep = np.eye(2) - np.outer([slope_x, slope_y], [slope_x, slope_y]) / rise**2
        expected = steep @ -np.array([[2 * xx, xy], [xy, 2 * yy]]) @ steep / (rise * radius[disk])
        np.testing.assert_allclose(bent, expected, rtol=0.01, atol=0.01)


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
