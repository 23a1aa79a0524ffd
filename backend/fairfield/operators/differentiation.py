"""Differentiation of a fitted field at given points, in the mesh's own units."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..errors import SettingError
from ..jets import Array, Jets
from ..open_sheet import interpolated
from ..progress import Progress, ProgressCallback, silent
from .autodiff import autodiff_jet
from .finite_difference import finite_difference_jet
from .polynomial import polynomial_jet, two_shell_stencil
from .random_samples import random_samples_jet
from .tangent import REACH, tangent_jet

if TYPE_CHECKING:
    from ..evaluation import Evaluator
    from ..field import Field

Rows = NDArray[np.intp]

Scale = float | str
"""A length in the mesh's own units, or "auto"."""

FINITE_DIFFERENCE_STEP = 0.001
"""What "auto" stands for in finite differences, in half-extents."""
SCALE_LIMITS = (1e-4, 1.0)
"""The smallest and largest scale, in half-extents: float32 ends below, the shape above."""
PRINTED = 1e-5
"""Relative error of the limits as messages print them: what they say is accepted."""
SCALE_FACTORS = (0.05, 20.0)
"""Beyond them answers are noise, or those of the whole shape."""
POINTS_PER_CHUNK = 1 << 8
"""With all their neighbours they stay in the processor's cache."""
POINTS_OF_MESH_PER_CHUNK = 1 << 15
"""The operator "mesh" answers many together, with all threads."""
CORRECTED_OCTAVES = 0.5
"""Of a factor of the scale, within which what was measured at the scale itself holds at all."""
WITHOUT_SCALE = ("autodiff", "mesh")
TILT = 0.9
"""Least cosine between the normal that was found and the one that the disk was laid across."""

CubeJet = tuple[Array, Array, Array]
"""Value, gradient, Hessian in units of the cube."""
Operator = Callable[["Field", Array, Array, Array], CubeJet]
"""Field, points, scales for first and for second derivatives, all in units of the cube."""


def differentiate(
    field: Field,
    points: ArrayLike,
    *,
    scale: Scale = "auto",
    scale_factor: float = 1.0,
    operator: str = "polynomial",
    progress: ProgressCallback = silent,
) -> Jets:
    """Return the jets of a field at (N, 3) points.

    They are the field's alone: `smooth` adds what the vertices of a noisy mesh tell.

    Parameters
    ----------
    points
        In the mesh's own units. A point with coordinates that are not finite has a jet of NaN.
    scale
        Standard deviation per axis of the neighbourhood that the polynomial is fitted to (or step
        of finite differences), in the mesh's own units. "auto" takes it from the field's map, for
        the Hessian and for the rest each its own. Autodiff and the mesh have none. Near the rim of
        an open sheet, and off its surface, a larger one is replaced by the largest whose disk ends
        within the rim, or by "auto".
    scale_factor
        Multiplies the scale: above 1 is smoother.
    operator
        One of `OPERATORS`:

        - "polynomial": a quartic or quadric over the tangent plane, fixed samples (see `tangent`);
        - "polynomial-volume": a quadric over a ball, fixed samples (see `polynomial`);
        - "polynomial-lattice": the disks of "polynomial", laid out along the surface and shared by
          all points between them (see `surface_patches`);
        - "polynomial-random": the quadric with random samples, as published (see
          `random_samples`);
        - "finite-difference", "autodiff", "mesh" (marching cubes, see `mesh_based`): baselines.

    Raises
    ------
    SettingError
        For an unknown operator or a scale that is not a positive number or "auto".
    """
    if operator not in OPERATORS:
        known = ", ".join(OPERATORS)
        raise SettingError(f"There is no operator {operator!r}; choose from {known}.")
    table = as_points(points)
    if operator == BY_PATCHES:
        from ..surface_patches import jets_by_patches  # which asks this module

        return jets_by_patches(field, table, scale, scale_factor, progress)
    unit = field.normalization.unit
    cube = field.normalization.to_cube(table)
    first, second = (s / unit for s in scales(field, table, scale, scale_factor, operator))
    value = np.full(len(cube), np.nan)
    gradient = np.full((len(cube), 3), np.nan)
    hessian = np.full((len(cube), 3, 3), np.nan)
    rows = np.flatnonzero(np.isfinite(cube).all(axis=1))

    def measure(one: Field, chunk: Rows) -> None:
        jet = _OPERATORS[operator](one, cube[chunk], first[chunk], second[chunk])
        value[chunk], gradient[chunk], hessian[chunk] = jet

    def report(done: float) -> None:
        progress(Progress(done, "Measuring curvature"))

    if operator == "mesh":  # all threads work on one chunk
        with field.evaluator.in_small_parts():
            for chunk in _chunks(rows, POINTS_OF_MESH_PER_CHUNK):
                report(chunk[0] / len(cube))
                measure(field, chunk)
    else:
        _for_each(field, _chunks(rows, POINTS_PER_CHUNK), measure, report)
    return Jets(value * unit, gradient, hessian / unit, first * unit)


def smoothed_values(
    field: Field,
    points: ArrayLike,
    scale: Scale,
    scale_factor: float = 1.0,
    progress: ProgressCallback = silent,
) -> Array:
    """Return the distances (N,) to the surface smoothed at a scale, in the mesh's own units.

    They are the jets' values, less what `surface_offset` makes of them; the parameters are those of
    `differentiate`.
    """
    table = as_points(points)
    unit = field.normalization.unit
    cube = field.normalization.to_cube(table)
    first, _ = (s / unit for s in scales(field, table, scale, scale_factor, "polynomial"))
    value, slope = np.empty(len(cube)), np.empty(len(cube))

    def measure(one: Field, rows: Rows) -> None:
        value[rows], gradient, _ = _tangent(one, cube[rows], first[rows], first[rows])
        slope[rows] = np.linalg.norm(gradient, axis=1)

    _for_each(
        field,
        _chunks(np.arange(len(cube)), POINTS_PER_CHUNK),
        measure,
        lambda done: progress(Progress(done, "Smoothing the surface")),
    )
    return value * unit - slope * surface_offset(field, table, scale)


def _chunks(rows: Rows, length: int) -> list[Rows]:
    return [rows[start : start + length] for start in range(0, len(rows), length)]


def _for_each(
    field: Field,
    chunks: list[Rows],
    measure: Callable[[Field, Rows], None],
    report: Callable[[float], None],
) -> None:
    """Measure chunks in all threads, each with the field as its own evaluator sees it."""

    def on_thread(evaluator: Evaluator, chunk: Rows) -> None:
        measure(field.with_evaluator(evaluator), chunk)

    field.evaluator.for_each(chunks, on_thread, report)


def surface_offset(field: Field, points: Array, scale: Scale) -> Array:
    """Return how far (N,) outside the smoothed field's zero set the surface runs at (N, 3) points.

    See `ScaleMap.offset`. It is known at automatic scale; at a given one it counts as 0.
    """
    if scale != "auto":
        return np.zeros(len(points))
    cube = np.nan_to_num(field.normalization.to_cube(points), posinf=0, neginf=0)
    return field.scale_map.offset_at(cube) * field.normalization.unit


def corrected_by_vertices(
    field: Field, points: Array, jets: Jets, scale: Scale, scale_factor: float
) -> Jets:
    """Return a field's jets at (N, 3) points with what the vertices of a noisy mesh add to them.

    See `vertex_evidence`. That is known at automatic scale; at larger and smaller ones it counts
    less, and at a given one not at all.
    """
    strength = max(0.0, 1 - abs(np.log2(scale_factor)) / CORRECTED_OCTAVES)
    if scale != "auto" or strength == 0 or not field.scale_map.turn.any():
        return jets
    cube = np.nan_to_num(field.normalization.to_cube(points), posinf=0, neginf=0)
    turn, bend = field.scale_map.corrections_at(cube)
    norm = jets.gradient_norm[:, None]
    normals = jets.gradient / norm + strength * turn
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    bend *= strength / field.normalization.unit
    return Jets(jets.value, norm * normals, jets.hessian + norm[:, None] * bend, jets.scale)


def as_points(points: ArrayLike) -> np.ndarray:
    """Check that the points are an (N, 3) table of numbers; return it as float64."""
    try:
        table = np.asarray(points)
        if np.iscomplexobj(table):  # of which numpy would drop a part
            raise TypeError
        table = table.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise SettingError("The points are not a table of numbers.") from None
    if table.ndim != 2 or table.shape[1] != 3:
        raise SettingError(f"The points have shape {table.shape}; expected (n, 3).")
    return table


def check_scale(scale: Scale, scale_factor: float) -> None:
    """Refuse what is neither a positive length nor "auto", and factors that are out of range."""
    least, most = SCALE_FACTORS
    if not _is_number(scale_factor) or not least <= scale_factor <= most:
        raise SettingError(
            f"The scale factor is {scale_factor!r}; it must be {least:g} to {most:g}."
        )
    is_auto = isinstance(scale, str) and scale == "auto"
    if not is_auto and not (_is_number(scale) and 0 < float(scale) < np.inf):
        raise SettingError(f'The scale is {scale!r}; it must be a positive length or "auto".')


def _is_number(value: object) -> bool:
    """Whether it is a real number; a truth value, which Python calculates with, is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def scales(
    field: Field, points: Array, scale: Scale, scale_factor: float, operator: str
) -> tuple[Array, Array]:
    """Return the lengths (N,), in the mesh's units, for first and for second derivatives."""
    low, high = (share * field.normalization.half_extent for share in SCALE_LIMITS)
    check_scale(scale, scale_factor)
    if operator in WITHOUT_SCALE:
        return np.zeros(len(points)), np.zeros(len(points))
    cube = np.nan_to_num(field.normalization.to_cube(points), posinf=0, neginf=0)
    if scale == "auto" and operator != "finite-difference":
        unit = field.normalization.unit
        first, second = field.scale_map.scales_at(cube)
        limited = [np.clip(s * unit * scale_factor, low, high) for s in (first, second)]
        return _within_rim(field, cube, limited[0], limited[1])
    if scale == "auto":
        scale = FINITE_DIFFERENCE_STEP * field.normalization.half_extent
    length = float(scale) * scale_factor
    if not low * (1 - PRINTED) <= length <= high * (1 + PRINTED):
        raise SettingError(
            f"The scale is {length:g}; for this mesh it must be {low:g} to {high:g} units."
        )
    everywhere = np.full(len(points), np.clip(length, low, high))
    return _within_rim(field, cube, everywhere, everywhere)


def _within_rim(field: Field, cube: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """The lengths (N,) at (N, 3) points of the cube, but so that disks end at an open sheet's rim.

    What is beyond it was made up, and outside the cube the field is no height over the sheet. Only
    the automatic scale may reach there: with it the answer was measured.
    """
    if field.beyond_rim is None:
        return first, second
    unit = field.normalization.unit
    fitting = -interpolated(field.beyond_rim, cube) / REACH
    limits = [np.maximum(fitting, each) * unit for each in field.scale_map.scales_at(cube)]
    return np.minimum(first, limits[0]), np.minimum(second, limits[1])


def _tangent(field: Field, points: Array, first: Array, second: Array) -> CubeJet:
    """The tangent-plane polynomial, with disks across the normals of the nearest probes."""
    normals, share, wide_share = field.scale_map.disks_at(points)
    value, gradient, hessian = _tangent_at(field, points, normals, first, share)
    other = np.flatnonzero((first != second) | (share != wide_share))
    if len(other):
        norm = np.linalg.norm(gradient[other], axis=1)
        normals = gradient[other] / np.maximum(norm, 1e-12)[:, None]
        _, wide_gradient, wide_hessian = _tangent_at(
            field, points[other], normals, second[other], wide_share[other]
        )
        # The shape operator is the Hessian over the gradient's norm: keep it as the wider disk
        # sees it.
        wide_norm = np.linalg.norm(wide_gradient, axis=1)
        hessian[other] = wide_hessian * (norm / np.maximum(wide_norm, 1e-12))[:, None, None]
    return value, gradient, hessian


def _tangent_at(field: Field, points: Array, normals: Array, scale: Array, share: Array) -> CubeJet:
    stencil = field.scale_map.stencil

    def measure(rows: slice | NDArray[np.intp], across: Array) -> CubeJet:
        at = field.tensor(points[rows])
        with torch.no_grad():
            jet = tangent_jet(
                field.evaluate,
                at,
                field.tensor(across),
                field.tensor(scale[rows]),
                stencil,
                field.tensor(share[rows]),
            )
        return _arrays(jet)

    jet = measure(slice(None), normals)
    # Off the surface, or under a fold, the nearest probe's normal may be far from the field's.
    gradient = jet[1]
    norm = np.linalg.norm(gradient, axis=1)
    tilted = np.flatnonzero(((gradient * normals).sum(axis=1) < TILT * norm) & (norm > 0.1))
    if len(tilted):
        again = measure(tilted, gradient[tilted] / norm[tilted, None])
        for part, mended in zip(jet, again, strict=True):
            part[tilted] = mended
    return jet


def _for_each_order(jet: Callable[[Field, Array, Array], CubeJet]) -> Operator:
    """An operator that takes all from one neighbourhood, asked for each order of derivative."""

    def both(field: Field, points: Array, first: Array, second: Array) -> CubeJet:
        value, gradient, hessian = jet(field, points, first)
        if not np.array_equal(first, second):
            _, _, hessian = jet(field, points, second)
        return value, gradient, hessian

    return both


def _in_torch(
    jet: Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], tuple[Tensor, Tensor, Tensor]],
) -> Callable[[Field, Array, Array], CubeJet]:
    def in_torch(field: Field, points: Array, scale: Array) -> CubeJet:
        with torch.no_grad():
            return _arrays(jet(field.evaluate, field.tensor(points), field.tensor(scale)))

    return in_torch


def _autodiff(field: Field, points: Array, _first: Array, _second: Array) -> CubeJet:
    return _arrays(autodiff_jet(field.evaluate_module, field.tensor(points)))


def _mesh(field: Field, points: Array, _first: Array, _second: Array) -> CubeJet:
    value = field.evaluate(field.tensor(points)).cpu().double().numpy()
    return value, *field.extracted_surface.jet(points)


def _arrays(jet: tuple[Tensor, Tensor, Tensor]) -> CubeJet:
    value, gradient, hessian = (part.cpu().double().numpy() for part in jet)
    return value, gradient, hessian


BY_PATCHES = "polynomial-lattice"
"""The operator that all points are given to at once, and that decides on their scales itself."""

_OPERATORS: dict[str, Operator] = {
    "polynomial": _tangent,
    "polynomial-volume": _for_each_order(
        _in_torch(lambda f, x, s: polynomial_jet(f, x, s, two_shell_stencil()))
    ),
    "polynomial-random": _for_each_order(_in_torch(random_samples_jet)),
    "finite-difference": _for_each_order(_in_torch(finite_difference_jet)),
    "autodiff": _autodiff,
    "mesh": _mesh,
}

OPERATORS = (*_OPERATORS, BY_PATCHES)
"""What `differentiate` offers."""
