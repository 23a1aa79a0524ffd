"""Differentiation of a fitted field at given points, in the mesh's own units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import SettingError
from ..jets import Jets
from ..progress import Progress, ProgressCallback, silent
from .autodiff import autodiff_jet
from .finite_difference import finite_difference_jet
from .polynomial import as_scale, polynomial_jet, two_shell_stencil

if TYPE_CHECKING:
    from ..field import Field

OPERATORS = ("polynomial", "autodiff", "finite-difference")
Scale = float | str
"""A length in the mesh's own units, or "auto"."""

AUTO_SCALE = 0.015
"""What "auto" stands for, in half-extents of the mesh."""
FINITE_DIFFERENCE_STEP = 0.001
"""What "auto" stands for in finite differences, in half-extents."""
SCALE_LIMITS = (1e-4, 1.0)
"""The smallest and largest scale, in half-extents: float32 ends below, the shape above."""
POINTS_PER_CHUNK = 1 << 11


def differentiate(
    field: Field,
    points: ArrayLike,
    *,
    scale: Scale = "auto",
    operator: str = "polynomial",
    progress: ProgressCallback = silent,
) -> Jets:
    """Return the jets of a field at (N, 3) points.

    Parameters
    ----------
    points
        In the mesh's own units. A point with coordinates that are not finite has a jet of NaN.
    scale
        Standard deviation per axis of the neighbourhood that the polynomial is fitted to (or step
        of finite differences), in the mesh's own units; "auto" chooses it. Autodiff has none.
    operator
        "polynomial", "autodiff" or "finite-difference".

    Raises
    ------
    SettingError
        For an unknown operator or a scale that is not a positive number or "auto".
    """
    if operator not in OPERATORS:
        known = ", ".join(OPERATORS)
        raise SettingError(f"There is no operator {operator!r}; choose from {known}.")
    table = as_points(points)
    unit = field.normalization.unit
    length = length_of_scale(field, scale, operator)
    cube = field.normalization.to_cube(table)
    finite = np.isfinite(cube).all(axis=1)
    value = np.full(len(cube), np.nan)
    gradient = np.full((len(cube), 3), np.nan)
    hessian = np.full((len(cube), 3, 3), np.nan)
    rows = np.flatnonzero(finite)
    for start in range(0, len(rows), POINTS_PER_CHUNK):
        progress(Progress(start / len(rows), "Measuring curvature"))
        chunk = rows[start : start + POINTS_PER_CHUNK]
        jet = _jet(field, field.tensor(cube[chunk]), length / unit, operator)
        value[chunk], gradient[chunk], hessian[chunk] = (part.cpu().numpy() for part in jet)
    return Jets(
        value * unit,
        gradient,
        hessian / unit,
        np.full(len(cube), 0.0 if operator == "autodiff" else length),
    )


def as_points(points: ArrayLike) -> np.ndarray:
    """Check that the points are an (N, 3) table of numbers; return it as float64."""
    try:
        table = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise SettingError("The points are not a table of numbers.") from None
    if table.ndim != 2 or table.shape[1] != 3:
        raise SettingError(f"The points have shape {table.shape}; expected (n, 3).")
    return table


def length_of_scale(field: Field, scale: Scale, operator: str = "polynomial") -> float:
    """Check a scale and return it as a length in the mesh's own units."""
    half_extent = field.normalization.half_extent
    if scale == "auto":
        return (FINITE_DIFFERENCE_STEP if operator == "finite-difference" else AUTO_SCALE) * (
            half_extent
        )
    if isinstance(scale, str) or not 0 < scale < np.inf:
        raise SettingError(f'The scale is {scale!r}; it must be a positive length or "auto".')
    low, high = (share * half_extent for share in SCALE_LIMITS)
    if not low <= scale <= high:
        raise SettingError(
            f"The scale is {scale:g}; for this mesh it must be {low:g} to {high:g} units."
        )
    return float(scale)


def _jet(
    field: Field, points: Tensor, length: float, operator: str
) -> tuple[Tensor, Tensor, Tensor]:
    if operator == "autodiff":
        return autodiff_jet(field.evaluate_module, points)
    with torch.no_grad():
        scale = as_scale(points, length)
        if operator == "finite-difference":
            return finite_difference_jet(field.evaluate, points, scale)
        return polynomial_jet(field.evaluate, points, scale, two_shell_stencil())
