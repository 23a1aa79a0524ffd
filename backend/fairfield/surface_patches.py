"""The smoothed surface as overlapping patches: polynomials that all points near them share.

The operator's answer varies little within a fraction of its scale, and its disk has a quartic there
rather than a jet alone. So it is asked at places half a scale apart; between them the quartics of
the places around are blended, with weights that fall to zero (a partition of unity, as in Ohtake et
al., "Multi-level Partition of Unity Implicits", SIGGRAPH 2003). A vertex of an extracted mesh so
costs a few products instead of hundreds of the field's values; and as the samples of neighbouring
disks lie between each other, noise is averaged as if they were denser.

A quartic tells the distance d on the plane of its disk. Above the place u, at the height z,
distances go on by the eikonal equation: with q = sqrt(1 - |grad d|^2) the slope along the normal,
the distance is d(u) + q z + z^2 / 2 grad d^T hess d grad d / q^2.

Where patches disagree, as about edges or on thin walls, or where the scale is smaller than the
spacing, there is no answer: there the operator itself is to be asked.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .evaluation import Evaluator
from .jets import Jets
from .operators.differentiation import Scale, differentiate, scales, surface_offset
from .operators.polynomial import derivative_matrix, monomial_exponents, monomials
from .operators.tangent import DEGREE, LEAST_RISE, TangentPatch, tangent_patch
from .progress import Progress, ProgressCallback, part, silent
from .threads import one_torch_thread, run_shares, thread_count

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
ENOUGH = 0.4
"""Least sum of weights, of which one is 1 in the middle of a patch."""
AGREEING = 0.95
"""Least length of the mean of the patches' normals."""
DISAGREEING = 0.02
"""Largest standard deviation of their distances, in scales."""
NOISE_SHARE = 1.0
"""What they may differ by besides, in standard deviations of the mesh's noise."""
DISAGREEING_IN_CELLS = 0.5
"""The same between second-order parts at nodes of a lattice, in its cells."""
OFF_SURFACE = 0.05
"""A place farther from the smoothed surface than this share of its scale is moved there."""
SAME_NORMAL = np.radians(0.2)
"""By how much less a disk need not be turned for second derivatives."""
STEEP, TOO_STEEP = 0.5, 0.75
"""Squared slope of a distance along its disk, from which on a patch counts less, and nothing. Over
an edge, or where another part of the surface is near, it is no distance: those have slopes below 1.
"""
NEAREST = 12
"""Patches that a point on the surface may lie within."""
POINTS_AT_ONCE = 1 << 15
"""Of those that share patches, how many wait for their answers together."""
PLACES_PER_CHUNK = 1 << 9
PAIRS_PER_CHUNK = 1 << 14
CHUNKS_PER_TURN = 4
"""Of a thread, between two reports."""
CANDIDATES_PER_CHUNK = 1 << 17

_TERMS = [len(monomial_exponents(2, degree)) for degree in (DEGREE, DEGREE - 1, DEGREE - 2)]
_ENDS = np.repeat(_TERMS, [1, 2, 3])
_PAIRS = (0, 0), (0, 1), (1, 1)
_SYMMETRIC = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
"""Where the entries of a matrix stand in its upper triangle."""


@dataclass(frozen=True, eq=False)
class PatchAnswers:
    """What patches tell about N points, in units of the cube.

    Attributes
    ----------
    answered
        (N,) whether they do; the rest is meaningless where not.
    distance
        (N,) to the smoothed surface.
    gradient, hessian
        (N, 3) and (N, 3, 3) of the field, the smoothed surface's.
    scale
        (N,) of the patches.
    """

    answered: NDArray[np.bool_]
    distance: Array
    gradient: Array
    hessian: Array
    scale: Array

    def jets(self, rows: Rows, unit: float) -> Jets:
        """Return the jets at some of the points; the cube's unit is so long in the jets' own."""
        gradient = self.gradient[rows]
        return Jets(
            self.distance[rows] * np.linalg.norm(gradient, axis=1) * unit,
            gradient,
            self.hessian[rows] / unit,
            self.scale[rows] * unit,
        )


class SurfacePatches:
    """Patches on a field's smoothed surface, in units of the cube; see `surface_patches`.

    Attributes
    ----------
    points
        (M, 3) their places.
    moved
        (M,) how far the smoothed surface was from where it was looked for.
    """

    def __init__(
        self,
        points: Array,
        moved: Array,
        radius: Array,
        offset: Array,
        noise: float,
        heights: _Polynomials,
        bends: _Polynomials,
    ) -> None:
        self.points, self.moved = points, moved
        self._radius, self._offset, self._noise = radius, offset, noise
        self._heights, self._bends = heights, bends
        self._tree = cKDTree(points)

    def __len__(self) -> int:
        return len(self.points)

    def at(self, points: Array, progress: ProgressCallback = silent) -> PatchAnswers:
        """Return the answers at (N, 3) points about on the surface."""
        near = min(NEAREST, len(self))
        totals = _Totals(len(points), 13)
        step = max(1, PAIRS_PER_CHUNK // near)
        starts = range(0, len(points), step)
        threads = thread_count()

        def measure(start: int) -> None:
            chunk = points[start : start + step]
            away, nearest = self._tree.query(chunk, k=near)
            away, nearest = away.reshape(-1, near), nearest.reshape(-1, near)
            share = (away / self._radius[nearest]) ** 2
            row, column = np.nonzero(share < 1)
            owner, share = nearest[row, column], share[row, column]
            self._add(totals, start + row, owner, points[start + row] - self.points[owner], share)

        # No two chunks have a row in common, so it does not matter who works on which.
        for first in range(0, len(starts), CHUNKS_PER_TURN * threads):
            progress(Progress(first / len(starts), "Measuring curvature"))
            turn = starts[first : first + CHUNKS_PER_TURN * threads]

            def share_of(index: int, turn: range = turn) -> None:
                for start in turn[index::threads]:
                    measure(start)

            run_shares(threads, share_of)
        return self._answers(totals)

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
        its second-order part only. That is a polynomial of the node's place on the lattice, so many
        nodes are worked out by one product of matrices.

        Parameters
        ----------
        size
            Nodes along an axis of the cube.
        reach
            How far from the surface answers are wanted.
        """
        cell = 2 / (size - 1)
        totals = _Totals(len(nodes), 3)
        strides = np.array([size**2, size, 1])
        row_of = np.full(size**3, -1, np.int32)
        row_of[nodes @ strides] = np.arange(len(nodes))
        base = np.rint((self.points + 1) / cell).astype(np.int64)
        way = base * cell - 1 - self.points
        value, normal, hessian = self._heights.jet()
        distance = _in_cells(value - self._offset, normal, hessian, way, cell)
        height = _in_cells(np.zeros(len(self)), normal, np.zeros_like(hessian), way, cell)
        across = np.eye(3) - normal[:, :, None] * normal[:, None]
        share = _in_cells(
            np.zeros(len(self)), np.zeros((len(self), 3)), 2 * across, way, cell
        ) / np.float32(self._radius[:, None] ** 2)
        cells = np.ceil(np.hypot(self._radius, reach) / cell + 0.9).astype(np.int64)
        done = 0
        for count in np.unique(cells):
            members = np.flatnonzero(cells == count)
            along = np.arange(-count, count + 1)
            around = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1)
            around = around.reshape(-1, 3)
            around = around[(around**2).sum(axis=1) <= count**2]
            powers = _powers(around)
            at_border = base.min() < count or base.max() >= size - count
            step = max(1, CANDIDATES_PER_CHUNK // len(around))
            for start in range(0, len(members), step):
                progress(Progress((done + start) / len(self), "Smoothing the surface"))
                owners = members[start : start + step]
                shares = _product(share[owners], powers)
                near = (shares < 1) & (np.abs(_product(height[owners], powers)) < reach)
                owner, place = np.nonzero(near)
                node = base[owners[owner]] + around[place]
                if at_border:
                    within = ((node >= 0) & (node < size)).all(axis=1)
                    node, owner, place = node[within], owner[within], place[within]
                row = row_of[node @ strides]
                wanted = row >= 0
                row, owner, place = row[wanted], owner[wanted], place[wanted]
                values = _product(distance[owners], powers)[owner, place]
                weight = (1 - shares[owner, place]) ** 2
                moved = self.moved[owners[owner]]
                totals.add(row, weight, [values, values**2, moved**2])
            done += len(members)
        value, square, moved = totals.means
        agreeing = square - value**2 < (DISAGREEING_IN_CELLS * cell + self._noise) ** 2
        return (totals.weight > ENOUGH) & agreeing, value, np.sqrt(moved)

    def _add(self, totals: _Totals, row: Rows, owner: Rows, way: Array, share: Array) -> None:
        """Add what patches tell about points that lie a way (P, 3) from their middle.

        `share` (P,) is the square of its length, in those of their radii.
        """
        distance, gradient, lean = self._heights.distance(owner, way)
        hessian, other_lean = self._bends.hessian(owner, way)
        distance -= self._offset[owner]
        columns = [distance, distance**2, self._heights.slope[owner], self._heights.scale[owner]]
        upright = (TOO_STEEP - np.maximum(lean, other_lean)) / (TOO_STEEP - STEEP)
        weight = (1 - share) ** 2 * np.clip(upright, 0, 1)
        totals.add(row, weight, [*columns, *gradient, *hessian])

    def _answers(self, totals: _Totals) -> PatchAnswers:
        distance, square, slope, scale, *rest = totals.means
        gradient = np.stack(rest[:3], axis=1)
        length = np.linalg.norm(gradient, axis=1)
        answered = (
            (totals.weight > ENOUGH)
            & (length > AGREEING)
            & (square - distance**2 < (DISAGREEING * scale + self._noise) ** 2)
        )
        normal = gradient / np.maximum(length, 1e-12)[:, None]
        full = np.stack([rest[3 + index] for index in _SYMMETRIC.flat], axis=1)
        across = np.eye(3) - normal[:, :, None] * normal[:, None]
        hessian = slope[:, None, None] * (across @ full.reshape(-1, 3, 3) @ across)
        return PatchAnswers(answered, distance, slope[:, None] * normal, hessian, scale)


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
    moved, normals = heights.in_the_middle()
    away = np.flatnonzero(np.abs(moved) > OFF_SURFACE * first)
    points[away] -= moved[away, None] * normals[away]
    if len(away):
        moved_to = points[away], normals[away], first[away], share[away]
        heights.replace(away, _measured(field, *moved_to, part(progress, 0.4, 0.6)))
    left, normals = heights.in_the_middle()
    # What has the same normal, scale and share has been measured.
    bends = heights[np.arange(len(points))]
    turned = (normals * heights.frame[:, 2]).sum(axis=1) < np.cos(SAME_NORMAL)
    other = np.flatnonzero(turned | (second != first) | (wide_share != share))
    if len(other):
        wide = points[other], normals[other], second[other], wide_share[other]
        bends.replace(other, _measured(field, *wide, part(progress, 0.6, 1.0)))

    good = np.flatnonzero(
        (np.minimum(heights.slope, bends.slope) > LEAST_RISE)
        & (np.abs(left) < 4 * OFF_SURFACE * first)
    )
    place = field.normalization
    offset = np.zeros(len(good))
    if put_back:
        offset = surface_offset(field, place.from_cube(points[good]), scale) / place.unit
    return SurfacePatches(
        points[good],
        np.abs(moved[good]),
        REACH * spacing[good],
        offset,
        NOISE_SHARE * float(field.scale_map.noise[0]),
        heights[good],
        bends[good],
    )


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
    scales(field, points[:0], scale, scale_factor, "polynomial")  # refuses wrong ones
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
            jets.replace(rows[told], answers.jets(told, place.unit))
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
) -> _Polynomials:
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
    tables = zip(*(patches[start] for start in starts), strict=True)
    patch = TangentPatch(*(torch.cat(parts) for parts in tables))
    return _Polynomials.of(patch, lengths)


@dataclass(frozen=True, eq=False)
class _Polynomials:
    """Distances near the middles of M disks, from the polynomials over them.

    Attributes
    ----------
    frame
        (M, 3, 3) orthonormal: the axes of the disk, then its normal.
    terms
        (M, 53) coefficients of the straightened distance less its value in the middle, of its 2
        first and its 3 second derivatives along the disk.
    middle, curvature, slope, scale
        (M,), (M, 2, 2), (M,) and (M,), see `TangentPatch`; the values divided by the slope.
    """

    frame: Array
    terms: Array
    middle: Array
    curvature: Array
    slope: Array
    scale: Array

    @classmethod
    def of(cls, patch: TangentPatch, scale: Array) -> _Polynomials:
        """From what the operator tells."""
        frame, polynomial, middle, curvature, slope = (each.cpu().numpy() for each in patch)
        rise = np.maximum(slope, LEAST_RISE)
        middle = middle / rise
        polynomial = polynomial / rise[:, None]
        polynomial[:, 0] -= middle
        powers = scale[:, None] ** -np.repeat([0.0, 1, 1, 2, 2, 2], _ENDS)
        return cls(
            frame,
            _product(polynomial, derivative_matrix(2, DEGREE)) * powers,
            middle,
            curvature,
            slope,
            scale,
        )

    def __getitem__(self, rows: Rows) -> _Polynomials:
        return _Polynomials(*(table[rows] for table in self._tables()))

    def replace(self, rows: Rows, others: _Polynomials) -> None:
        """Put others in the place of some."""
        for table, mended in zip(self._tables(), others._tables(), strict=True):
            table[rows] = mended

    def _tables(self) -> list[Array]:
        return [getattr(self, each.name) for each in fields(self)]

    def in_the_middle(self) -> tuple[Array, Array]:
        """Distances (M,) and normals (M, 3) in the middles."""
        every = np.arange(len(self.scale))
        distance, normal, _ = self.distance(every, np.zeros((len(every), 3)))
        return distance, normal.T

    def jet(self) -> tuple[Array, Array, Array]:
        """Distances (M,), gradients (M, 3) and Hessians (M, 3, 3) in the middles."""
        every, nowhere = np.arange(len(self.scale)), np.zeros((len(self.scale), 3))
        upper, _ = self.hessian(every, nowhere)
        return *self.in_the_middle(), upper[_SYMMETRIC].transpose(2, 0, 1)

    def distance(self, owner: Rows, way: Array) -> tuple[Array, Array, Array]:
        """Distances (P,) and their gradients (3, P) at ways (P, 3) from the middles.

        The third, (P,), is their squared slope along the disk.
        """
        axes = self._axes[:, owner]
        a, b, height = _turned(axes, way.T)
        at = np.stack([a, b])
        value, slope = self._on_disk(owner, at)[:2]
        rise = _rise(slope)
        turn = _times(self._curvatures[:, owner], slope)
        bend = (turn * slope).sum(axis=0) / rise**2
        distance = value + height * rise + height**2 / 2 * bend
        local = [*(slope - height * turn / rise), rise + height * bend]
        gradient = np.stack(
            [sum(part * axes[3 * i + j] for i, part in enumerate(local)) for j in range(3)]
        )
        return distance, gradient / np.sqrt((gradient**2).sum(axis=0)), (slope**2).sum(axis=0)

    def hessian(self, owner: Rows, way: Array) -> tuple[Array, Array]:
        """The upper triangles (6, P) of the distance's Hessians at ways (P, 3) from the middles.

        The other, (P,), is its squared slope along the disk.
        """
        axes = self._axes[:, owner]
        a, b, height = _turned(axes, way.T)
        _, slope, (aa, ab, bb) = self._on_disk(owner, np.stack([a, b]), bent=True)
        aa, ab, bb = (
            aa - height * (aa**2 + ab**2),
            ab - height * ab * (aa + bb),
            bb - height * (ab**2 + bb**2),
        )
        # A distance's Hessian maps its gradient to zero: so it goes on along the normal.
        rise = _rise(slope)
        first, second = (
            [axes[3 * i + j] - along * axes[6 + j] for j in range(3)]
            for i, along in enumerate(slope / rise)
        )
        towards = [aa * f + ab * s for f, s in zip(first, second, strict=True)]
        aside = [ab * f + bb * s for f, s in zip(first, second, strict=True)]
        hessian = np.stack(
            [first[i] * towards[j] + second[i] * aside[j] for i in range(3) for j in range(i, 3)]
        )
        return hessian, (slope**2).sum(axis=0)

    @cached_property
    def _axes(self) -> Array:
        """(9, M) the frames, each component in a row of its own."""
        return np.ascontiguousarray(self.frame.reshape(-1, 9).T)

    @cached_property
    def _curvatures(self) -> Array:
        """(3, M) the upper triangles of the curvatures, likewise."""
        return np.ascontiguousarray(self.curvature.reshape(-1, 4)[:, [0, 1, 3]].T)

    def _on_disk(self, owner: Rows, at: Array, bent: bool = False) -> tuple[Array, Array, Array]:
        """Distances (P,), slopes (2, P) and, if asked, second derivatives (3, P) on disks.

        They are asked at places (2, P).
        """
        table = monomials(at / self.scale[owner], DEGREE).T
        values = []
        start = 0
        for count in _ENDS[: 6 if bent else 3]:
            terms = self.terms[owner, start : start + count]
            values.append(np.einsum("nm,nm->n", terms, table[:, :count]))
            start += count
        rise, first, second = values[0], np.stack(values[1:3]), values[3:]
        # The polynomial is e + k e^2 / 2 where e is what is wanted, and k = at^T K at / |at|^2.
        square = np.maximum((at**2).sum(axis=0), (0.1 * self.scale[owner]) ** 2)
        curvature = self._curvatures[:, owner]
        turn = _times(curvature, at)
        towards = (turn * at).sum(axis=0) / square
        change = 2 * (turn - towards * at) / square
        root = np.sqrt(np.maximum(1 + 2 * towards * rise, 0.25))
        e = 2 * rise / (1 + root)
        slope = (first - change * e**2 / 2) / root
        bends = []
        for index, bend in enumerate(second):
            i, j = _PAIRS[index]
            again = 2 * (
                curvature[index] - towards * (i == j) - at[i] * change[j] - at[j] * change[i]
            )
            bend = bend - towards * slope[i] * slope[j] - again / square * e**2 / 2
            bends.append((bend - e * (change[i] * slope[j] + change[j] * slope[i])) / root)
        return self.middle[owner] + e, slope, np.array(bends)


def _turned(axes: Array, way: Array) -> list[Array]:
    """Coordinates (P,) of ways (3, P) along axes (9, P)."""
    x, y, z = way
    return [axes[i] * x + axes[i + 1] * y + axes[i + 2] * z for i in (0, 3, 6)]


def _times(symmetric: Array, vector: Array) -> Array:
    """Products (2, P) of matrices, by their upper triangles (3, P), and vectors (2, P)."""
    aa, ab, bb = symmetric
    return np.stack([aa * vector[0] + ab * vector[1], ab * vector[0] + bb * vector[1]])


def _rise(slope: Array) -> Array:
    """The slope along the normal (P,) of a distance with slopes (2, P) along the disk."""
    return np.sqrt(np.maximum(1 - (slope**2).sum(axis=0), LEAST_RISE**2))


class _Totals:
    """Weighted means of what patches tell about N points.

    Attributes
    ----------
    weight
        (N,) sum of the weights.
    """

    def __init__(self, count: int, columns: int) -> None:
        self.weight = np.zeros(count)
        self._sums = np.zeros((columns, count))

    def add(self, row: Rows, weight: Array, columns: list[Array]) -> None:
        """Add values (P,) in every column, about the points in (P,) rows."""
        if len(row) == 0:
            return
        low, high = int(row.min()), int(row.max()) + 1
        self.weight[low:high] += np.bincount(row - low, weight, high - low)
        for total, column in zip(self._sums, columns, strict=True):
            total[low:high] += np.bincount(row - low, weight * column, high - low)

    @property
    def means(self) -> Array:
        """(columns, N), meaningless where there is no weight."""
        return self._sums / np.maximum(self.weight, 1e-12)


def _in_cells(value: Array, slope: Array, bend: Array, way: Array, cell: float) -> Array:
    """Coefficients (M, 10) of value + slope x + x^T bend x / 2 at x = way + cell i, i integers.

    In the order of `_powers`.
    """
    along = slope + np.einsum("nij,nj->ni", bend, way)
    value = value + np.einsum("ni,ni->n", way, slope + along) / 2
    i, j = np.triu_indices(3)
    square = cell**2 * bend[:, i, j] * np.where(i == j, 0.5, 1.0)
    return np.concatenate([value[:, None], cell * along, square], axis=1).astype(np.float32)


def _powers(steps: NDArray[np.int64]) -> Array:
    """(10, K) monomials up to the second degree of (K, 3) integers."""
    i, j = np.triu_indices(3)
    powers = [np.ones((len(steps), 1)), steps, steps[:, i] * steps[:, j]]
    return np.concatenate(powers, axis=1).T.astype(np.float32)


def _product(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Of two matrices, by one thread: with more the last bits would depend on their number."""
    with one_torch_thread():
        return (torch.from_numpy(first) @ torch.from_numpy(second)).numpy()
