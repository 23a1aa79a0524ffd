"""Normals and curvature of the smoothed surface, for points on or near it.

For the vertices of the mesh that a field was fitted to, the mesh itself may know better: see
`vertex_jets`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import FairfieldError
from .jets import Array, Jets
from .mesh import TriangleMesh
from .normalization import HALF_EXTENT_IN_CUBE
from .operators.differentiation import (
    BY_PATCHES,
    Scale,
    as_points,
    check_scale,
    corrected_by_vertices,
    differentiate,
    surface_offset,
)
from .operators.vertex_jets import vertex_jets
from .outer_surface import HIDDEN
from .progress import ProgressCallback, part, silent

if TYPE_CHECKING:
    from .field import Field

MAX_STEPS = 12
DISKS = ("polynomial", BY_PATCHES)
SMOOTHING_OPERATORS = (*DISKS, "polynomial-volume", "polynomial-random")
CHECKED_VERTICES = 4096
LARGEST_DISTANCE = 0.1
"""In half-extents: of the tenth of a mesh's vertices that is nearest to the field's surface, from
there; and of the farthest vertex beyond the mesh that the field was fitted to."""
LEAST_DEPTH, DEPTH_IN_ERRORS, DEPTH_IN_NOISE = 0.01, 20.0, 3.0
"""From which distance on to the field's surface a vertex counts as inside another part, on no
surface: in half-extents, or in errors of the field, or in standard deviations of the noise."""
TOLERANCE = 0.05
"""A foot point is good enough when it misses the surface by less than this share of the scale."""
FARTHEST_FOOT = 1.25
"""How far it may be, in distances to the field's surface, with a scale besides: what is farther is
some other part of the surface."""
LEAST_GRADIENT = 0.05
"""Where the gradient is shorter, the field is no distance, and curvature is not to be trusted."""


@dataclass(frozen=True, eq=False)
class SurfaceJets(Jets):
    """Jets at the foot points of N given points on the smoothed zero set.

    Attributes
    ----------
    foot_points
        (N, 3) where the jets were taken, in the mesh's own units.
    deviation
        (N,) signed distance from the foot point to the given point, positive outside.
    mesh_share
        (N,) how far the answer is the mesh's own, from 0 to 1; always 0 for mere points.

    A point whose way to the surface was not found has NaN everywhere. The value is 0 where the foot
    point was not measured itself, see `smooth`.
    """

    foot_points: Array
    deviation: Array
    mesh_share: Array

    @property
    def from_mesh(self) -> NDArray[np.bool_]:
        """(N,) whether the mesh's own vertices were the better source."""
        return self.mesh_share > 0.5


def smooth(
    field: Field,
    points: ArrayLike | TriangleMesh,
    *,
    scale: Scale = "auto",
    scale_factor: float = 1.0,
    operator: str = BY_PATCHES,
    progress: ProgressCallback = silent,
) -> SurfaceJets:
    """Return the jets of the smoothed surface at the foot points of N points, in their order.

    Give the mesh that the field was fitted to for answers at its vertices that are no worse than
    the mesh's own: where its vertices turn out to be closer to the surface than the field is, as
    they are without noise, the answer comes from a polynomial through them, or is the mean of the
    facets' normals. So it is at automatic scale, unless `scale_factor` asks for more smoothing.

    The foot point is reached by Newton steps along the fitted gradient. A point that was as good
    as there is not measured again; from a mesh's own vertices one step is enough, and the few that
    need more take them. The other parameters are those of `differentiate`. By default, points that
    lie close together share disks: that takes less time, and averages noise better. Which points
    are asked so has a small influence on the answers.

    Raises
    ------
    SettingError
        For an unknown operator, or a scale that is not a positive length or "auto".
    FairfieldError
        If the mesh is not the one that the field was fitted to.
    """
    check_scale(scale, scale_factor)
    mesh = points if isinstance(points, TriangleMesh) else None
    if mesh is not None:
        _refuse_another_mesh(field, mesh)
    start = as_points(points.vertices if isinstance(points, TriangleMesh) else points)
    deepest = np.inf if mesh is None else _deepest_vertex(field)
    settings = scale, scale_factor, operator, deepest
    if mesh is None or scale != "auto" or scale_factor > 1 or operator not in DISKS:
        return _of_the_field(field, start, *settings, progress)
    answer = _of_the_field(field, start, *settings, part(progress, 0.0, 0.8))
    return _with_the_mesh(answer, mesh, part(progress, 0.8, 1.0))


def _refuse_another_mesh(field: Field, mesh: TriangleMesh) -> None:
    is_used = np.bincount(mesh.triangles.reshape(-1), minlength=len(mesh.vertices)) > 0
    used = mesh.vertices[is_used]
    reach = np.abs(field.normalization.to_cube(used)).max() / HALF_EXTENT_IN_CUBE
    if reach > 1 + LARGEST_DISTANCE:
        raise FairfieldError(
            f"The mesh reaches {reach:.2g} half-extents from the field's middle: the field was "
            "fitted to another mesh. Choose that one, or fit this."
        )
    counts = len(mesh.vertices), len(mesh.triangles)
    if reach > 1 - LARGEST_DISTANCE and counts == (field.report.vertices, field.report.triangles):
        return  # most of its vertices may lie inside other parts of it, far from the surface
    some = used[:: 1 + len(used) // CHECKED_VERTICES]
    distance = np.abs(field(some)) / field.normalization.half_extent
    nearest = float(np.quantile(distance, 0.1))
    if nearest > LARGEST_DISTANCE:
        raise FairfieldError(
            f"Nine tenths of the mesh's vertices are {nearest:.2g} half-extents and more from the "
            "field's surface: the field was fitted to another mesh. Choose that one, or fit this."
        )


def _deepest_vertex(field: Field) -> float:
    """How far from the field's surface a vertex may lie that is none of a part inside another.

    In the mesh's units; without end where there are no such parts.
    """
    if HIDDEN not in field.report.repairs:
        return np.inf
    error, noise = field.report.near_surface_error, field.report.noise
    reach = max(LEAST_DEPTH, DEPTH_IN_ERRORS * np.nan_to_num(error), DEPTH_IN_NOISE * noise)
    return float(reach * field.normalization.half_extent)


def _of_the_field(
    field: Field,
    start: Array,
    scale: Scale,
    scale_factor: float,
    operator: str,
    deepest: float,
    progress: ProgressCallback,
) -> SurfaceJets:
    """The field's answer alone, for what is not deeper than so below or above its surface."""

    def measure(at: Array, report: ProgressCallback) -> Jets:
        jets = differentiate(
            field, at, scale=scale, scale_factor=scale_factor, operator=operator, progress=report
        )
        if operator not in SMOOTHING_OPERATORS:
            return jets
        offset = surface_offset(field, at, scale)
        return replace(jets, value=jets.value - jets.gradient_norm * offset)

    first = measure(start, part(progress, 0.0, 0.5))
    foot = start + _newton_step(first)
    reach = np.where(first.scale > 0, first.scale, 0.01 * field.normalization.unit)
    tolerance = TOLERANCE * reach
    jets = _moved_to_the_surface(first)
    away = np.flatnonzero(~(np.abs(first.value) <= tolerance))
    jets.replace(away, measure(foot[away], part(progress, 0.5, 0.95)))
    for done in range(MAX_STEPS):
        missed = np.flatnonzero(np.abs(jets.value) > tolerance)
        if len(missed) == 0:
            break
        # Half a step: at a tip, whole ones lead from one side of the surface to the other.
        foot[missed] += 0.5 * _newton_step(jets[missed])
        steps = part(progress, *(0.95 + 0.05 * np.array([done, done + 1]) / MAX_STEPS))
        jets.replace(missed, measure(foot[missed], steps))
    distance = np.linalg.norm(start - foot, axis=1)
    found = (np.abs(jets.value) <= tolerance) & (jets.gradient_norm >= LEAST_GRADIENT)
    depth = np.abs(field(start))
    lost = ~(found & (distance <= FARTHEST_FOOT * depth + reach) & (depth <= deepest))
    for table in (jets.value, jets.gradient, jets.hessian, foot, distance):
        table[lost] = np.nan
    if operator in DISKS:
        jets = corrected_by_vertices(field, foot, jets, scale, scale_factor)
    return SurfaceJets(
        jets.value,
        jets.gradient,
        jets.hessian,
        jets.scale,
        foot_points=foot,
        deviation=np.copysign(distance, first.value),
        mesh_share=np.zeros(len(start)),
    )


def _with_the_mesh(
    answer: SurfaceJets, mesh: TriangleMesh, progress: ProgressCallback
) -> SurfaceJets:
    """The answer at a mesh's vertices, mixed with what the vertices around tell."""
    own = vertex_jets(mesh, answer.normals, answer.scale, progress)
    # A vertex that lies elsewhere than the field's surface is none of the mesh that was fitted.
    near = np.abs(answer.deviation) <= own.radius
    share, hessian_share = own.share * near, own.hessian_share * near
    rows = np.flatnonzero(share + hessian_share)
    norm = answer.gradient_norm[rows, None]

    def mixed(of_all: Array, of_field: Array, of_mesh: Array, share: Array = share) -> Array:
        weight = share[rows]
        table = of_all.copy()
        table[rows] = (of_field.T * (1 - weight) + of_mesh[rows].T * weight).T
        return table

    foot = mesh.vertices + own.height[:, None] * own.normals
    return SurfaceJets(
        value=mixed(answer.value, answer.value[rows], np.zeros(len(share))),
        gradient=mixed(answer.gradient, answer.gradient[rows] / norm, own.normals),
        hessian=mixed(
            answer.hessian, answer.hessian[rows] / norm[:, None], own.hessians, hessian_share
        ),
        # The standard deviation per axis of a disk is half its radius.
        scale=mixed(answer.scale, answer.scale[rows], own.radius / 2),
        foot_points=mixed(answer.foot_points, answer.foot_points[rows], foot),
        deviation=mixed(answer.deviation, answer.deviation[rows], -own.height),
        mesh_share=share,
    )


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
