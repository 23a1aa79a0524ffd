"""The smoothed surface as overlapping patches: polynomials that all points near them share.

The operator's answer varies little within a fraction of its scale, and its disk has a quartic there
rather than a jet alone. So it is asked at places a third to half a scale apart; between them the
quartics of the places around are blended, with weights that fall to zero (a partition of unity, as
in Ohtake et al., "Multi-level Partition of Unity Implicits", SIGGRAPH 2003). A vertex of an
extracted mesh so costs a few products instead of hundreds of the field's values; and as the samples
of neighbouring disks lie between each other, noise is averaged as if they were denser.

A quartic tells the distance d on the plane of its disk. Above the place u, at the height z,
distances go on by the eikonal equation: with q = sqrt(1 - |grad d|^2) the slope along the normal,
the distance is d(u) + q z + z^2 / 2 grad d^T hess d grad d / q^2.

Where patches disagree, as about edges or on thin walls, or where the scale is smaller than the
spacing, there is no answer: there the operator itself is to be asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .evaluation import Evaluator
from .fused import (
    fused_blend,
    fused_jets_in_middles,
    fused_sums_at_nodes,
    reason_not_compiled,
)
from .fused.layout import ENOUGH, BlendedJets, BlendedPatches, PatchArrays
from .jets import Jets
from .operators.differentiation import Scale, differentiate, scales, surface_offset
from .operators.tangent import LEAST_RISE, TangentPatch, tangent_patch
from .progress import Progress, ProgressCallback, part, silent
from .threads import run_shares, share_bounds, thread_count

if TYPE_CHECKING:
    from .field import Field

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

SPACING = 0.36
"""Of the places, in scales."""
SHARED_SPACING = 0.55
"""Of the places that given points share."""
LEAST_SHARED = 2.0
"""Points to a place that make them worth it."""
WIDEST_SPACING = 0.55
"""What it may be, in scales, where it would be smaller than what is asked for."""
REACH = 1.2
"""Radius within which a patch counts, in spacings."""
NOISE_SHARE = 1.0
"""What patches may differ by, in standard deviations of the mesh's noise, beside what they may
without noise."""
DISAGREEING_IN_CELLS = 0.5
"""That without noise between second-order parts at nodes of a lattice, as a standard deviation in
its cells."""
OFF_SURFACE = 0.05
"""A place farther from the smoothed surface than this share of its scale is moved there."""
SAME_NORMAL = np.radians(0.2)
"""By how much less a disk need not be turned for second derivatives."""
NEAREST = 12
"""Patches that a point on the surface may lie within."""
POINTS_AT_ONCE = 1 << 15
"""Of those that share patches, how many wait for their answers together."""
PLACES_PER_CHUNK = 1 << 9
POINTS_PER_CHUNK = 1 << 11
CHUNKS_PER_TURN = 4
"""Of a thread, between two reports."""
TURNS_AT_NODES = 16
"""Reports while the nodes of a lattice are worked out."""


class SurfacePatches:
    """Patches on a field's smoothed surface, in units of the cube; see `surface_patches`.

    Attributes
    ----------
    moved
        (M,) how far the smoothed surface was from where it was looked for.
    """

    def __init__(self, patches: BlendedPatches, moved: Array, noise: float) -> None:
        self.moved = moved
        self._patches, self._noise = patches, noise
        self._tree = cKDTree(patches.middle)

    def __len__(self) -> int:
        return len(self.moved)

    @property
    def middles(self) -> Array:
        """(M, 3) where they are."""
        return self._patches.middle

    def in_middles(self) -> tuple[Array, Array, Array]:
        """Return unit normals (M, 3) in the middles, and shape operators (M, 3, 3) there.

        First those at the scale for normals, then those at the scale for curvature.
        """
        threads = thread_count()
        _, normals, shapes = fused_jets_in_middles(self._patches.heights, threads)
        return normals, shapes, fused_jets_in_middles(self._patches.bends, threads)[2]

    def at(self, points: Array, progress: ProgressCallback = silent) -> BlendedJets:
        """Return what they tell about (N, 3) points about on the surface."""
        near = min(NEAREST, len(self))
        jets = BlendedJets.empty(len(points))
        starts = range(0, len(points), POINTS_PER_CHUNK)
        threads = thread_count()
        for first in range(0, len(starts), CHUNKS_PER_TURN * threads):
            progress(Progress(first / len(starts), "Measuring curvature"))
            turn = starts[first : first + CHUNKS_PER_TURN * threads]

            def share_of(index: int, turn: range = turn) -> None:
                for start in turn[index::threads]:
                    chunk = points[start : start + POINTS_PER_CHUNK]
                    away, nearest = self._tree.query(chunk, k=np.arange(1, near + 1))
                    fused_blend(start, chunk, nearest, away, self._patches, self._noise, jets)

            run_shares(threads, share_of)
        return jets

    def values_at_nodes(
        self,
        nodes: NDArray[np.int64],
        size: int,
        reach: float,
        progress: ProgressCallback = silent,
    ) -> tuple[NDArray[np.bool_], Array, Array]:
        """Return where there is an answer (N,) and distances (N,) for (N, 3) nodes of a lattice.

        The third, (N,), is how far the smoothed surface was from where it was looked for, as the
        root mean square over the patches of each node.

        They are good enough to tell where a surface passes between the nodes: a patch counts with
        its second-order part only.

        Parameters
        ----------
        size
            Nodes along an axis of the cube.
        reach
            How far from the surface answers are wanted.
        """
        cell, threads = 2 / (size - 1), thread_count()
        row_of = np.full((size,) * 3, -1, np.int32)
        row_of[tuple(nodes.T)] = np.arange(len(nodes))
        distance, normal, hessian = fused_jets_in_middles(self._patches.heights, threads)
        jets = distance - self._patches.offset, normal, hessian
        totals = np.zeros((len(nodes), 4))
        for turn in range(TURNS_AT_NODES):
            progress(Progress(turn / TURNS_AT_NODES, "Smoothing the surface"))
            planes = range(*share_bounds(turn, TURNS_AT_NODES, size))
            fused_sums_at_nodes(
                planes, row_of, cell, reach, self._patches, jets, self.moved, totals, threads
            )
        weight = totals[:, 0]
        value, square, moved = totals[:, 1:].T / np.maximum(weight, 1e-12)
        agreeing = square - value**2 < (DISAGREEING_IN_CELLS * cell + self._noise) ** 2
        return (weight > ENOUGH) & agreeing, value, np.sqrt(moved)


def surface_patches(
    field: Field,
    start: Array,
    scale: Scale,
    scale_factor: float,
    least_spacing: float,
    progress: ProgressCallback = silent,
    *,
    spacing_in_scales: float = SPACING,
    least_shared: float = 0.0,
    put_back: bool = True,
) -> SurfacePatches | None:
    """Lay patches out over the smoothed surface, None if there is nowhere to.

    Neither are there where the kernels cannot be used: points are asked one by one there.

    Parameters
    ----------
    start
        (N, 3) points of the surface, in the cube, or about on it, closer together than
        `least_spacing`.
    scale, scale_factor
        Those of `differentiate`.
    least_spacing
        Places are not closer together; where the scale is too small for it there are none.
    spacing_in_scales
        What is aimed at between places.
    least_shared
        None are laid out either for fewer points to a place than this.
    put_back
        Whether distances are those to where the surface runs, see `surface_offset`, rather than to
        the smoothed field's zero set.
    """
    if reason_not_compiled() is not None:
        return None
    # Where places are to be, the nearest probe tells well enough.
    probes = field.scale_map.points.astype(np.float64)
    lengths = _scales(field, probes, scale, scale_factor)[0]
    finest = spacing_in_scales * lengths.min()
    few = _one_for_each_box(start, np.full(len(start), 0.7 * max(least_spacing, finest)))
    points = start[few]
    probe = field.scale_map.nearest(points)
    spacing = np.maximum(spacing_in_scales * lengths[probe], least_spacing)
    usable = np.flatnonzero(spacing <= WIDEST_SPACING * lengths[probe])
    sides = field.scale_map.normals[probe[usable]]
    kept = usable[_one_for_each_box(points[usable], spacing[usable], sides)]
    points = points[kept]
    if len(points) == 0 or len(start) < least_shared * len(points):
        return None

    normals, share, wide_share = field.scale_map.disks_at(points)
    first, second = _scales(field, points, scale, scale_factor)
    spacing = np.maximum(spacing_in_scales * first, least_spacing)
    heights = _measured(field, points, normals, first, share, part(progress, 0.0, 0.4))
    threads = thread_count()
    moved, normals, _ = fused_jets_in_middles(heights, threads)
    away = np.flatnonzero(np.abs(moved) > OFF_SURFACE * first)
    points[away] -= moved[away, None] * normals[away]
    left = moved.copy()
    if len(away):
        moved_to = points[away], normals[away], first[away], share[away]
        again = _measured(field, *moved_to, part(progress, 0.4, 0.6))
        heights.replace(away, again)
        left[away], normals[away], _ = fused_jets_in_middles(again, threads)
    # What has the same normal, scale and share has been measured.
    turned = (normals * heights.frame[:, 2]).sum(axis=1) < np.cos(SAME_NORMAL)
    is_bend_apart = turned | (second != first) | (wide_share != share)
    bends, other = heights, np.flatnonzero(is_bend_apart)
    if len(other):
        bends = heights.rows(np.arange(len(points)))
        wide = points[other], normals[other], second[other], wide_share[other]
        bends.replace(other, _measured(field, *wide, part(progress, 0.6, 1.0)))

    good = np.flatnonzero(
        (np.minimum(heights.slope, bends.slope) > LEAST_RISE)
        & (np.abs(left) < 4 * OFF_SURFACE * first)
    )
    if len(good) == 0:
        return None
    place = field.normalization
    offset = np.zeros(len(good))
    if put_back:
        offset = surface_offset(field, place.from_cube(points[good]), scale) / place.unit
    patches = BlendedPatches(
        points[good],
        REACH * spacing[good],
        offset,
        heights.rows(good),
        bends.rows(good),
        is_bend_apart[good],
    )
    noise = NOISE_SHARE * float(field.scale_map.noise[0])
    return SurfacePatches(patches, np.abs(moved[good]), noise)


def jets_by_patches(
    field: Field,
    points: Array,
    scale: Scale,
    scale_factor: float,
    progress: ProgressCallback = silent,
) -> Jets:
    """Return what `differentiate` does, at (N, 3) points that share patches where they are many.

    It does not depend on how they are split up, among threads or in time, but on which they are.
    Points off the surface, or with too few around, are answered by the operator alone.
    """
    place, count = field.normalization, len(points)
    jets = Jets(
        np.full(count, np.nan),
        np.full((count, 3), np.nan),
        np.full((count, 3, 3), np.nan),
        np.full(count, np.nan),
    )
    cube = place.to_cube(points)
    near = np.flatnonzero((np.abs(cube) <= 1).all(axis=1))  # not those that are not finite
    alone = np.ones(count, bool)
    probes = field.scale_map.points.astype(np.float64)
    longest = _scales(field, probes, scale, scale_factor)[0].max()
    # What is farther from the surface is in no patch's reach.
    values = field.evaluate(field.tensor(cube[near])).cpu().numpy()
    near = near[np.abs(values) < longest]
    patches = None
    if len(near):
        patches = surface_patches(
            field,
            cube[near],
            scale,
            scale_factor,
            0.0,
            part(progress, 0.0, 0.4),
            spacing_in_scales=SHARED_SPACING,
            least_shared=LEAST_SHARED,
            put_back=False,
        )
    if patches is not None:
        for first in range(0, len(near), POINTS_AT_ONCE):
            rows = near[first : first + POINTS_AT_ONCE]
            ends = np.array([first, first + len(rows)]) / len(near)
            answers = patches.at(cube[rows], part(progress, *(0.4 + 0.4 * ends)))
            told = np.flatnonzero(answers.answered)
            alone[rows[told]] = False
            jets.replace(rows[told], jets_of_answers(answers, told, place.unit))
    rest = np.flatnonzero(alone)
    asked = differentiate(
        field,
        points[rest],
        scale=scale,
        scale_factor=scale_factor,
        progress=part(progress, 0.8, 1.0),
    )
    jets.replace(rest, asked)
    return jets


def jets_of_answers(answers: BlendedJets, rows: Rows, unit: float) -> Jets:
    """Return the jets at some of the points; the cube's unit is so long in the jets' own."""
    gradient = answers.gradient[rows]
    return Jets(
        answers.distance[rows] * np.linalg.norm(gradient, axis=1) * unit,
        gradient,
        answers.hessian[rows] / unit,
        answers.scale[rows] * unit,
    )


def _scales(field: Field, points: Array, scale: Scale, scale_factor: float) -> tuple[Array, Array]:
    place = field.normalization
    first, second = scales(field, place.from_cube(points), scale, scale_factor, "polynomial")
    return first / place.unit, second / place.unit


def _one_for_each_box(points: Array, side: Array, normals: NDArray[Any] | None = None) -> Rows:
    """Which of (N, 3) points to keep, so that about one is left in a box of a side (N,).

    The sides are rounded to powers of the root of two. With normals (N, 3) points that look into
    different directions are told apart: those on two sides of a thin wall.
    """
    ladder = np.rint(2 * np.log2(side)).astype(np.int64)
    side = 2 ** (ladder / 2)
    box = np.floor((points + 2) / side[:, None])
    off_middle = ((points + 2 - (box + 0.5) * side[:, None]) ** 2).sum(axis=1)
    keys = [*box.astype(np.int64).T, ladder]
    if normals is not None:
        axis = np.abs(normals).argmax(axis=1)
        keys += [2 * axis + (np.take_along_axis(normals, axis[:, None], axis=1)[:, 0] > 0)]
    order = np.lexsort([off_middle, *keys])
    table = np.stack(keys, axis=1)[order]
    first = np.ones(len(points), bool)
    first[1:] = (table[1:] != table[:-1]).any(axis=1)
    return order[first]


def _measured(
    field: Field,
    points: Array,
    normals: Array,
    lengths: Array,
    shares: Array,
    progress: ProgressCallback,
) -> PatchArrays:
    """The quartics over disks across the normals of M points."""
    stencil = field.scale_map.stencil
    patches: dict[int, TangentPatch] = {}

    @torch.no_grad()
    def measure(evaluator: Evaluator, start: int) -> None:
        rows = slice(start, start + PLACES_PER_CHUNK)
        at, *rest = (field.tensor(each[rows]) for each in (points, normals, lengths, shares))
        across, length, share = rest
        patches[start] = tangent_patch(evaluator.field, at, across, length, stencil, share)

    starts = range(0, len(points), PLACES_PER_CHUNK)
    field.evaluator.for_each(
        starts, measure, lambda done: progress(Progress(done, "Smoothing the surface"))
    )
    in_order = (patches.pop(start) for start in starts)
    tables = [torch.cat(parts).cpu().numpy() for parts in zip(*in_order, strict=True)]
    frame, polynomial, middle, curvature, slope = tables
    rise = np.maximum(slope, LEAST_RISE)
    middle /= rise
    polynomial /= rise[:, None]
    polynomial[:, 0] -= middle
    return PatchArrays(frame, polynomial, middle, curvature, slope, lengths, LEAST_RISE)
