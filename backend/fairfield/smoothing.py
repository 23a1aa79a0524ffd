"""Normals and curvature of the smoothed surface, for points on or near it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .jets import Array, Jets
from .operators.differentiation import Scale, as_points, differentiate, surface_offset
from .progress import ProgressCallback, part, silent

if TYPE_CHECKING:
    from .field import Field

MAX_STEPS = 12
SMOOTHING_OPERATORS = (
    "polynomial",
    "polynomial-volume",
    "polynomial-lattice",
    "polynomial-random",
)
TOLERANCE = 0.05
"""A foot point is good enough when it misses the surface by less than this share of the scale."""


@dataclass(frozen=True, eq=False)
class SurfaceJets(Jets):
    """Jets at the foot points of N given points on the smoothed zero set.

    Attributes
    ----------
    foot_points
        (N, 3) where the jets were taken, in the mesh's own units.
    deviation
        (N,) signed distance from the foot point to the given point, positive outside.

    A point whose way to the surface was not found has NaN everywhere. The value is 0 where the foot
    point was not measured itself, see `smooth`.
    """

    foot_points: Array
    deviation: Array


def smooth(
    field: Field,
    points: ArrayLike,
    *,
    scale: Scale = "auto",
    scale_factor: float = 1.0,
    operator: str = "polynomial",
    progress: ProgressCallback = silent,
) -> SurfaceJets:
    """Return the jets of the smoothed surface at the foot points of (N, 3) points, in their order.

    The foot point is reached by Newton steps along the fitted gradient. A point that was as good
    as there is not measured again; from a mesh's own vertices one step is enough, and the few that
    need more take them. The other parameters are those of `differentiate`.

    Raises
    ------
    SettingError
        For an unknown operator, or a scale that is not a positive length or "auto".
    """
    start = as_points(points)

    def measure(at: Array, report: ProgressCallback) -> Jets:
        jets = differentiate(
            field, at, scale=scale, scale_factor=scale_factor, operator=operator, progress=report
        )
        if operator not in SMOOTHING_OPERATORS:
            return jets
        return replace(jets, value=jets.value - surface_offset(field, at, scale))

    first = measure(start, part(progress, 0.0, 0.5))
    foot = start + _newton_step(first)
    tolerance = TOLERANCE * np.where(first.scale > 0, first.scale, 0.01 * field.normalization.unit)
    jets = _moved_to_the_surface(first)
    values = {entry.name: getattr(jets, entry.name) for entry in fields(Jets)}
    away = np.flatnonzero(~(np.abs(first.value) <= tolerance))
    again = measure(foot[away], part(progress, 0.5, 0.95))
    for name, table in values.items():
        table[away] = getattr(again, name)
    for done in range(MAX_STEPS):
        missed = np.flatnonzero(np.abs(values["value"]) > tolerance)
        if len(missed) == 0:
            break
        # Half a step: at a tip, whole ones lead from one side of the surface to the other.
        step = _newton_step(Jets(**{name: v[missed] for name, v in values.items()}))
        foot[missed] += 0.5 * step
        steps = part(progress, *(0.95 + 0.05 * np.array([done, done + 1]) / MAX_STEPS))
        again = measure(foot[missed], steps)
        for name, table in values.items():
            table[missed] = getattr(again, name)
    lost = ~(np.abs(values["value"]) <= tolerance)
    for table in (values["value"], values["gradient"], values["hessian"], foot):
        table[lost] = np.nan
    distance = np.linalg.norm(start - foot, axis=1)
    return SurfaceJets(**values, foot_points=foot, deviation=np.copysign(distance, first.value))


def _moved_to_the_surface(jets: Jets) -> Jets:
    """The jets where the way along the gradient has led to a value of 0, if it was short.

    There a distance has the same gradient, and the parallel surface's curvature k / (1 - k d).
    """
    way = jets.value / jets.gradient_norm**2
    bend = jets.hessian + way[:, None, None] * (jets.hessian @ jets.hessian)
    return Jets(np.zeros(len(way)), jets.gradient.copy(), bend, jets.scale.copy())


def _newton_step(jets: Jets) -> Array:
    """The displacement (N, 3) that takes the linear part of each jet to zero."""
    return -(jets.value / jets.gradient_norm**2)[:, None] * jets.gradient
