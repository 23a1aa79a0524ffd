"""The scale of the neighbourhood at each point of a surface, chosen without knowing the truth.

An estimate at a scale s is wrong by noise, which falls as s grows, and by bias, which rises.
Between neighbouring scales of a ladder the estimate changes by about as much as it is wrong: by
the noise that the wider neighbourhood averages away, and by the bias that it adds. So the scale at
which it changes least is close to the best one. This is Lepski's idea (1991) in its simplest form;
rules that subtract a modelled noise first were tried and are fragile, since no simple law fits the
noise of scans and of hash grids alike.

A change measured at one point is itself noisy: squared changes are averaged over half as much
surface as the neighbourhood covers, on probes spread over the mesh. Below the size of its own
facets a mesh is flat whatever the shape it stands for; there no scale is considered, unless the
facets meet at a crease, or something is narrower than they are: a wall, a gap, a bevel.

The degree is chosen likewise: where a quadric over the same disk differs from the quartic by no
more than the error that is to be expected anyway, the surface bends as evenly as a flat, a cylinder
or a sphere, and the quartic's further terms are noise.

The map is made once, when the field is fitted, and saved with it. So the answer at a point
depends on nothing but the field, and costs no more than at a given scale.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import NamedTuple

import igl
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree
from torch import Tensor

from ..distance import morton_order
from ..evaluation import Evaluator
from ..mesh import TriangleMesh
from ..normalization import HALF_EXTENT_IN_CUBE
from ..open_sheet import Rim
from ..progress import Progress, ProgressCallback, part, silent
from ..sampling import surface_samples
from ..threads import run_shares, thread_count
from .polynomial import as_scale, polynomial_jet, two_shell_stencil
from .tangent import TangentStencil, both_tangent_jets, tangent_jet, tangent_stencil
from .vertex_jets import are_waves

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

LADDER = 0.0035 * np.sqrt(2) ** np.arange(13)
"""The scales that are compared, in units of the cube: 0.0035 to 0.22."""
STEPS = LADDER[:-1] * 2**0.25
"""Between one scale and the next."""
EVERYWHERE = 5
"""The place on the ladder that all probes are measured at. At larger scales changes vary so slowly
that fewer tell them all."""
MOST_BEYOND = 1 << 12
"""So many at most; with twice as many, answers were the same to a thousandth, and took longer."""
PROBES = 1 << 13
"""Where scales are measured by default."""
NEIGHBOURS = 48
INTERPOLATED = 8
AVERAGED_OVER = 0.7
"""Radius, in scales, that squared changes are averaged over. At 1, necks and rounded edges between
flats were smoothed more than they bear; at 0.5, chance decided more than the shape, on spheres."""
AHEAD_OF_NORMAL, AHEAD_OF_CURVATURE = 0.5, 1.0
"""Weight of the change to the next larger scale beside that from the next smaller one. The noise of
second derivatives falls faster, so of theirs the smaller one tells less."""
BESIDE_NORMAL, BESIDE_CURVATURE = 0.1, 0.3
"""Weight of the other quantity's logarithmic change in the cost of each: it steadies it."""
DEEPER = 20.0
"""How many times smaller the cost at a smaller scale must be to be preferred to a later minimum."""
FIRST_AVERAGE, FIRST_AVERAGE_OF_WAVES = 2.0, 1.0
"""The scale, in sides of the mesh's triangles, at which most of a scan's noise is averaged away,
and at which waves of six vertices are not."""
LARGEST_FIRST_AVERAGE = 0.06
MORE_DEPARTURE, TYPICAL_DEPARTURE, LEAST_DEPARTURE = 1.1, 0.05, 2e-4
"""At scales beyond the first average the smoothed surface may depart from the raw one by so many
times what it does at the first average on the same probes, by so many times what it does so in the
middle of all, and by so much (in the cube): more is no noise but features that are lost."""
NEGLIGIBLE_TURN = np.radians(0.0005)
NEGLIGIBLE_BEND = 0.0005
"""Changes of the normal (radians) and, relatively, of curvature that are not worth more
smoothing."""
QUADRIC, QUARTIC = 1.0, 1.6
"""Mean squared difference of the two, in squared errors to be expected, up to which the quadric is
taken, and from which on the quartic."""
FACET_SHARE = 0.9
"""The smallest scale considered, as a share of the size of the facets."""
MOST_TURN = 0.5
"""Radians that the surface may turn within the size of a facet, by the edge that turns it most."""
BENT_DEGREES = (1.0, 45.0)
"""Angles between two triangles that stand for a curved surface: below they are one flat, above a
crease."""
SPARSE, DENSE = 0.72, 0.33
"""Spacing of the tangent stencil's samples: for a clean surface, and to average noise away."""
NOISE_OF_A_SCAN = 3e-4
"""Noise (in the cube) above which the dense stencil pays."""
NOISE_SCALE = 0.04
"""Where that is judged; stencils at less than half of it are sparse anyway."""
ROUGHNESS_VERTICES = 1 << 10
"""By about how many vertices."""
ONE_SHEET = 0.7
"""Rise of the field, for each length along the normal, that tells that no other part is near."""
SHEETS = 2.0 ** (-np.arange(7) / 2)
"""Lengths, in sizes of a facet, over which that is looked for."""
LEAST_SHEET = 5.0
"""Lengths of fewer times the mesh's roughness are not told from noise."""
THIN = 0.7
"""Share of a facet's size that the shape is thick or wide, below which it is thin there."""
COARSE_FACETS = 0.025
"""Size of facets (in the cube) above which the dense stencil pays: they are noise of a kind."""
GRADED_REACH, GRADED_SLOPE = 0.1, 0.25
"""How far from a rim, or from where the shape is thin (in the cube), scales may grow by no more
than this share of the way."""
GRADED_ROUNDS = 3
"""How often what one probe allows is passed on to its neighbours."""
INSIDE = 2e-3
INSIDE_DEVIATIONS = 5.0
"""Distance from the field's surface (in the cube, and in median distances) from which on a probe
lies on a part of the mesh that is inside another."""
AVERAGED_VERTICES = 96
LARGEST_HEIGHT = 3.0
"""Of a vertex that counts, in standard deviations of the noise. At folds and rims one may be far
from what is smooth there: it has little say."""
FEW_VERTICES = 12
"""Fewer vertices than so many, within two scales, do not tell where the surface runs."""
OFFSET_RADIUS = 1.5
"""What the heights of vertices are averaged over, in scales."""
POINTS_FOR_THREADS = 1 << 9
"""From which on a search among the probes is worth waking threads."""
SAMPLES_PER_CHUNK = 1 << 17


@dataclass(frozen=True, eq=False)
class ScaleMap:
    """Scales at M probes of a surface, all lengths in units of the cube.

    Attributes
    ----------
    points, normals
        (M, 3) the probes, and the unit normals there at the scale chosen.
    normal_scale, curvature_scale
        (M,) standard deviation per axis of the neighbourhood, for first and second derivatives.
    normal_error, curvature_error
        (M,) the change between neighbouring scales at the chosen one, an estimate of the error:
        radians, and 1 / length.
    normal_share, curvature_share
        (M,) how much of the quartic is taken for each, 0 to 1, the rest being the quadric.
    offset
        (M,) mean height of the mesh's vertices around over the smoothed surface. Noise makes the
        nearest point of a mesh nearer than the surface, and facets cut corners: the vertices know
        better where the surface runs.
    turn, bend
        (M, 3) and (M, 3, 3) what the vertices of a noisy mesh would have added to the unit normal
        and to the shape operator: see `vertex_evidence`.
    noise
        (1,) standard deviation from the smoothed surface of those of the mesh's vertices that have
        others around; 0 where none has.
    spacing
        (1,) of the samples of the stencil that this surface needs, in units of the scale.
    """

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    normal_scale: NDArray[np.float32]
    curvature_scale: NDArray[np.float32]
    normal_error: NDArray[np.float32]
    curvature_error: NDArray[np.float32]
    normal_share: NDArray[np.float32]
    curvature_share: NDArray[np.float32]
    offset: NDArray[np.float32]
    turn: NDArray[np.float32]
    bend: NDArray[np.float32]
    noise: NDArray[np.float32]
    spacing: NDArray[np.float32]

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """The attributes by name, as they are saved."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def stencil(self) -> TangentStencil:
        """The design that this surface needs."""
        return tangent_stencil(float(self.spacing[0]))

    def without_corrections(self) -> ScaleMap:
        """The same map, for a field that the vertices have nothing to add to."""
        return replace(self, turn=np.zeros_like(self.turn), bend=np.zeros_like(self.bend))

    def scales_at(self, points: Array) -> tuple[Array, Array]:
        """Return normal and curvature scales (N,) for (N, 3) points.

        Interpolated between the nearest probes by their logarithms.
        """
        nearest, weights = self._near(points)
        normal, curvature = (
            np.exp((weights * np.log(scale[nearest])).sum(axis=1))
            for scale in (self.normal_scale, self.curvature_scale)
        )
        return normal, curvature

    def disks_at(self, points: Array) -> tuple[Array, Array, Array]:
        """Return normals (N, 3), normal and curvature shares (N,) for (N, 3) points.

        Interpolated between the nearest probes.
        """
        nearest, weights = self._near(points)
        normals = (weights[:, :, None] * self.normals[nearest]).sum(axis=1)
        normal, curvature = (
            np.clip((weights * share[nearest]).sum(axis=1), 0, 1)
            for share in (self.normal_share, self.curvature_share)
        )
        return _unit(normals), normal, curvature

    def offset_at(self, points: Array) -> Array:
        """Return the offsets (N,) for (N, 3) points, interpolated likewise."""
        nearest, weights = self._near(points)
        return (weights * self.offset[nearest]).sum(axis=1)

    def corrections_at(self, points: Array) -> tuple[Array, Array]:
        """Return `turn` (N, 3) and `bend` (N, 3, 3) for (N, 3) points, interpolated likewise."""
        nearest, weights = self._near(points)
        return (
            np.einsum("nk,nki->ni", weights, self.turn[nearest]),
            np.einsum("nk,nkij->nij", weights, self.bend[nearest]),
        )

    def nearest(self, points: Array) -> NDArray[np.intp]:
        """Return which probe (N,) is the nearest to each of (N, 3) points."""
        return self._nearest(points, 1)[1][:, 0]

    def _nearest(self, points: Array, count: int) -> tuple[Array, NDArray[np.intp]]:
        """How far the nearest probes are, and which (N, count) they are."""
        workers = thread_count() if len(points) > POINTS_FOR_THREADS else 1
        distance, nearest = self._tree.query(points, k=count, workers=workers)
        # From too far off to be squared the tree finds none, and names one that is not there.
        nearest = np.minimum(nearest, len(self.points) - 1)
        return distance.reshape(-1, count), nearest.reshape(-1, count)

    def _near(self, points: Array) -> tuple[NDArray[np.intp], Array]:
        """The nearest probes (N, k) and their weights, which sum to 1."""
        distance, nearest = self._nearest(points, min(INTERPOLATED, len(self.points)))
        distance = np.where(np.isfinite(distance), distance, 1.0)
        weights = np.exp(-2 * (distance / (distance[:, -1:] + 1e-12)) ** 2)
        # A probe on the other side of a thin wall has another normal, and no say.
        normals = self.normals[nearest]  # [N, k, 3]
        weights *= (normals * normals[:, :1]).sum(axis=2) > 0
        return nearest, weights / weights.sum(axis=1, keepdims=True)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)


def choose_scales(
    evaluator: Evaluator,
    mesh: TriangleMesh,
    random: np.random.Generator,
    progress: ProgressCallback = silent,
    count: int = PROBES,
    is_cut: bool = False,
) -> ScaleMap:
    """Measure a field at all scales and choose among them.

    Parameters
    ----------
    evaluator
        Of the field, in the cube.
    mesh
        What it was fitted to, in the cube.
    count
        Of the probes that are measured: time grows with it. With half as many, normals were a tenth
        less exact on a thin shape, and a hundredth on most.
    is_cut
        Whether parts of the mesh are left out since they are inside others: see `outer_surface`.
    """
    with evaluator.in_small_parts():
        probes = _probes(mesh, count, random)
        values = evaluator.field(_tensor(probes.points, evaluator)).cpu().double().numpy()
        kept = _on_surface(values)
        if (kept & probes.is_vertex).any():
            probes = probes[np.flatnonzero(kept)]
        # Neighbours find each other's corners of the field in the cache.
        probes = probes[morton_order(probes.points)]
        roughness = _roughness(evaluator, probes)
        facets = np.median(probes.facets)
        # On flats and steps only the vertices at edges are rough, and no average helps.
        is_rough = facets > COARSE_FACETS or (facets > 0 and roughness > NOISE_OF_A_SCAN)
        spacing = DENSE if is_rough else SPARSE
        sheets = _sheets(evaluator, probes, LEAST_SHEET * roughness)
        narrow = _rims(mesh) if is_cut else np.zeros((0, 3))
        narrow = np.concatenate([narrow, probes.points[sheets < THIN * probes.facets]])
        probes = replace(probes, facets=sheets)
        ladder = _Ladder(evaluator, probes.points, spacing)
        samples = _samples(probes)
        # From coarse to fine: the smoother surface tells the finer one where its planes are.
        for done, index in enumerate(reversed(range(len(LADDER)))):
            ladder.measure(
                index,
                _needed(index, probes.facets, samples),
                part(progress, done / len(LADDER), (done + 1) / len(LADDER)),
            )
        sides = FIRST_AVERAGE
        if roughness > NOISE_OF_A_SCAN and are_waves(mesh):
            sides = FIRST_AVERAGE_OF_WAVES
        side = float(np.sqrt(2 * np.median(mesh.triangle_areas())))
        choice = _choose(probes, ladder, samples, sides * side, _near(narrow, probes.points))
        for index in range(EVERYWHERE + 1, len(LADDER)):
            ladder.measure(index, np.flatnonzero(choice.for_normal == index), silent)
    progress(Progress(1.0, "Choosing scales"))
    return _map(probes, ladder, choice, spacing, mesh.vertices)


@dataclass(frozen=True, eq=False)
class _Probes:
    """Points (M, 3) of a mesh, its normals (M, 3) and the size (M,) of its facets there, or of what
    is narrower than they are, and which are vertices (M,)."""

    points: Array
    normals: Array
    facets: Array
    is_vertex: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: Rows) -> _Probes:
        return _Probes(
            self.points[rows], self.normals[rows], self.facets[rows], self.is_vertex[rows]
        )

    @cached_property
    def neighbours(self) -> tuple[Array, Rows]:
        """Distances (M, k) and rows (M, k) of the nearest ones, itself first."""
        return self.neighbours_among(np.arange(len(self)))

    def neighbours_among(self, sample: Rows) -> tuple[Array, Rows]:
        """The same of some of them only."""
        ranks = np.arange(1, min(NEIGHBOURS, len(sample)) + 1)
        distance, near = cKDTree(self.points[sample]).query(
            self.points, k=ranks, workers=thread_count()
        )
        return distance, sample[near]


class _Ladder:
    """What is measured of a field at (scales, probes); 0 where nothing was asked.

    Attributes
    ----------
    heights, normals, shapes
        (S, M), (S, M, 3), (S, M, 3, 3) height above the smoothed surface, its normal and its shape
        operator.
    lower_heights
        (S, M) the heights by the quadric.
    turns_of_degree, bends_of_degree
        (S, M) squared differences of normal and shape operator between quartic and quadric.
    measured
        (S, M) bool.
    """

    def __init__(self, evaluator: Evaluator, points: Array, spacing: float) -> None:
        self._evaluator = evaluator
        self._points = points
        self._spacing = spacing
        shape = len(LADDER), len(points)
        self.heights = np.zeros(shape)
        self.normals = np.zeros((*shape, 3))
        self.shapes = np.zeros((*shape, 3, 3))
        self.lower_heights = np.zeros(shape)
        self.turns_of_degree, self.bends_of_degree = np.zeros((2, *shape))
        self.measured = np.zeros(shape, bool)

    def measure(self, index: int, rows: Rows, progress: ProgressCallback) -> None:
        """Measure some probes, unless they were, at one scale of the ladder."""
        scale = float(LADDER[index])
        stencil = tangent_stencil(self._spacing if scale > NOISE_SCALE / 2 else SPARSE)
        rows = rows[~self.measured[index, rows]]
        size = SAMPLES_PER_CHUNK // len(stencil.samples)

        def measure(evaluator: Evaluator, chunk: Rows) -> None:
            planes = self._planes(evaluator, index, chunk)
            at = _tensor(self._points[chunk], evaluator)
            with torch.no_grad():
                jets = both_tangent_jets(
                    evaluator.field, at, _tensor(planes, evaluator), as_scale(at, scale), stencil
                )
            (height, normal, shape), (lower, other_normal, other_shape) = map(_surface, jets)
            self.lower_heights[index, chunk] = lower
            self.heights[index, chunk] = height
            self.normals[index, chunk], self.shapes[index, chunk] = normal, shape
            self.turns_of_degree[index, chunk] = ((normal - other_normal) ** 2).sum(axis=1)
            self.bends_of_degree[index, chunk] = ((shape - other_shape) ** 2).sum(axis=(1, 2))

        self._evaluator.for_each(
            [rows[first : first + size] for first in range(0, len(rows), size)],
            measure,
            lambda done: progress(Progress(done, "Choosing scales")),
        )
        self.measured[index, rows] = True

    def _planes(self, evaluator: Evaluator, index: int, rows: Rows) -> Array:
        """Normals of the tangent planes to measure in: of the larger scale, or found afresh."""
        normals = np.zeros((len(rows), 3))
        known = np.zeros(len(rows), bool)
        if index + 1 < len(LADDER):
            known = self.measured[index + 1, rows]
            normals[known] = self.normals[index + 1, rows[known]]
        if not known.all():
            normals[~known] = _normals(
                evaluator, self._points[rows[~known]], float(LADDER[index]) / 2
            )
        return normals


def _normals(evaluator: Evaluator, points: Array, scale: float) -> Array:
    """Normals (M, 3) of which nothing is known before, by samples all around."""
    at = _tensor(points, evaluator)
    with torch.no_grad():
        _, gradient, _ = polynomial_jet(
            evaluator.field, at, as_scale(at, scale), two_shell_stencil()
        )
    return _unit(gradient.cpu().numpy())


def _surface(jet: tuple[Tensor, Tensor, Tensor]) -> tuple[Array, Array, Array]:
    """Height above the smoothed surface (M,), normal (M, 3) and shape operator (M, 3, 3)."""
    value, gradient, hessian = (each.cpu().numpy() for each in jet)
    norm = np.maximum(np.linalg.norm(gradient, axis=1), 1e-6)
    return value / norm, _unit(gradient), hessian / norm[:, None, None]


def _tensor(array: Array, evaluator: Evaluator) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float32, device=evaluator.device)


def _roughness(evaluator: Evaluator, probes: _Probes) -> float:
    """Standard deviation of the mesh's vertices about the surface at `NOISE_SCALE`."""
    vertices = probes.points[probes.is_vertex]
    some = vertices[:: max(1, len(vertices) // ROUGHNESS_VERTICES)]
    at, across = _tensor(some, evaluator), _normals(evaluator, some, NOISE_SCALE)
    with torch.no_grad():
        jet = tangent_jet(
            evaluator.field,
            at,
            _tensor(across, evaluator),
            as_scale(at, NOISE_SCALE),
            tangent_stencil(SPARSE),
        )
    height, _, _ = _surface(jet)
    return _spread(height)


def _sheets(evaluator: Evaluator, probes: _Probes, least: float) -> Array:
    """Size (M,) of the facets or, where it is less, the length up to which the shape is one sheet.

    On a wall, beside a gap or a crease, there is another part of the surface within the size of a
    facet. A disk that is as wide takes both in, and its answer fits neither. Lengths below `least`
    are not told from noise: that is the answer where no length tried is one sheet's.
    """
    is_known = probes.normals.any(axis=1)
    sheets = np.where(is_known, np.minimum(probes.facets, least), probes.facets)
    rows = np.flatnonzero(is_known & (probes.facets > least))

    def values(shift: Array) -> Array:
        points = probes.points[rows] + shift[:, None] * probes.normals[rows]
        return evaluator.field(_tensor(points, evaluator)).cpu().double().numpy()

    middle = values(np.zeros(len(rows)))
    for share in SHEETS:
        length = share * probes.facets[rows]
        above, below = values(length) - middle, middle - values(-length)
        # Both fall where the mesh's triangles are inside out.
        steep = np.minimum(np.abs(above), np.abs(below)) > ONE_SHEET * length
        is_one = steep & (above * below > 0)
        sheets[rows[is_one]] = np.maximum(length[is_one], least)
        rows, middle = rows[~is_one], middle[~is_one]
    return sheets


def _samples(probes: _Probes) -> list[Rows]:
    """For each step of the ladder the probes that stand for all where changes are averaged.

    As many as make `NEIGHBOURS` of them reach two radii far, beyond `EVERYWHERE` no more than are
    measured there.
    """
    count = len(probes)
    spread = float(np.median(probes.neighbours[0][:, -1]))
    order = np.random.default_rng(0).permutation(count)
    radii = [float(np.median(np.hypot(scale, probes.facets))) for scale in STEPS]
    wanted = np.clip(count * (spread / (2 * np.array(radii))) ** 2, 256, count).astype(int)
    wanted[EVERYWHERE:] = np.minimum(wanted[EVERYWHERE:], MOST_BEYOND)
    return [order[:number] for number in wanted]


def _needed(index: int, facets: Array, samples: list[Rows]) -> Rows:
    """The probes to be measured at a scale before there is a choice."""
    if index > EVERYWHERE:
        return samples[index - 1]
    # A scale is not considered below the size of the facets, but the one above is compared to it.
    return np.flatnonzero((FACET_SHARE * facets <= LADDER[index + 1]) | (index == EVERYWHERE))


@dataclass(frozen=True, eq=False)
class _Choice:
    """Places on the ladder (M,), the errors to be expected there (M,), and the quartic's shares."""

    for_normal: NDArray[np.intp]
    for_curvature: NDArray[np.intp]
    normal_error: Array
    curvature_error: Array
    normal_share: Array
    curvature_share: Array


def _choose(
    probes: _Probes, ladder: _Ladder, samples: list[Rows], first_average: float, graded: Rows
) -> _Choice:
    """Apply the rule to what was measured."""
    first_average = min(first_average, LARGEST_FIRST_AVERAGE)
    reference = max(1, int(np.searchsorted(LADDER, first_average)))
    averages = _averages(probes, ladder, samples, reference)
    turn = _both_ways(averages.turns, AHEAD_OF_NORMAL)
    bend = _both_ways(averages.bends, AHEAD_OF_CURVATURE)
    size = (ladder.shapes[EVERYWHERE] ** 2).sum(axis=(1, 2))
    negligible_bend = NEGLIGIBLE_BEND**2 * np.maximum(size, HALF_EXTENT_IN_CUBE**-2)
    turn_cost = np.log(np.maximum(turn / NEGLIGIBLE_TURN**2, 1.0))
    bend_cost = np.log(np.maximum(bend / negligible_bend, 1.0))
    too_small = FACET_SHARE * probes.facets > LADDER[:, None]
    too_small[0], too_small[-1] = True, False  # the first has no change to be judged by
    departures, usual = np.sqrt(averages.departures), np.sqrt(averages.usual_departures)
    typical = float(np.median(departures[reference]))
    too_large = departures > (
        MORE_DEPARTURE * usual + TYPICAL_DEPARTURE * typical + LEAST_DEPARTURE
    )
    # Where the facets themselves are larger than that, their size is what can be had.
    probe = np.arange(len(probes))
    too_large[: reference + 1] = False
    too_large[too_small.argmin(axis=0), probe] = False

    impossible = too_small | too_large
    for_normal = _last_valley(np.where(impossible, np.inf, turn_cost + BESIDE_NORMAL * bend_cost))
    for_curvature = _last_valley(
        np.where(impossible, np.inf, bend_cost + BESIDE_CURVATURE * turn_cost)
    )
    both = _graded(probes.points[graded], np.stack([for_normal[graded], for_curvature[graded]]))
    for_normal[graded], for_curvature[graded] = np.maximum(both, too_small.argmin(axis=0)[graded])
    return _Choice(
        for_normal,
        for_curvature,
        np.sqrt(turn[for_normal, probe]),
        np.sqrt(bend[for_curvature, probe]),
        _share_of_quartic(averages.turns_of_degree[for_normal, probe], turn[for_normal, probe]),
        _share_of_quartic(
            averages.bends_of_degree[for_curvature, probe], bend[for_curvature, probe]
        ),
    )


def _rims(mesh: TriangleMesh) -> Array:
    """The vertices (R, 3) at edges that only one triangle has."""
    return mesh.vertices[np.unique(Rim.of(mesh.triangles).edges)]


def _near(places: Array, points: Array) -> Rows:
    """Which of (M, 3) points are near one of (R, 3) places."""
    if len(places) == 0:
        return np.zeros(0, np.intp)
    distance, _ = cKDTree(places).query(
        points, distance_upper_bound=GRADED_REACH, workers=thread_count()
    )
    return np.flatnonzero(np.isfinite(distance))


def _graded(points: Array, chosen: Rows) -> Rows:
    """Places on the ladder (2, M) that are no larger than those around allow.

    Parts that meet make a crease, as a lid and an eye do. Its changes hide how small a scale the
    surface beside it needs; and where scales jump, as beside a thin wall, the surface is ragged.
    """
    if len(points) == 0:
        return chosen
    scale = LADDER[chosen]
    distance, near = cKDTree(points).query(
        points, k=min(NEIGHBOURS, len(points)), workers=thread_count()
    )
    distance, near = (each.reshape(len(points), -1) for each in (distance, near))
    for _ in range(GRADED_ROUNDS):
        scale = (scale[:, near] + GRADED_SLOPE * distance).min(axis=2)
    return np.searchsorted(STEPS, scale)


def _share_of_quartic(difference: Array, error: Array) -> Array:
    """From the squared difference to the quadric (M,) and the squared error expected (M,)."""
    ratio = difference / np.maximum(error, 1e-300)
    return np.clip((ratio - QUADRIC) / (QUARTIC - QUADRIC), 0, 1)


class _Averages(NamedTuple):
    """Mean squares around each probe.

    Attributes
    ----------
    turns, bends
        (steps, M) changes of the normal and of the shape operator from each scale to the next.
    turns_of_degree, bends_of_degree
        (scales, M) the same from quadric to quartic.
    departures, usual_departures
        (scales, M) heights above the smoothed surface, and those of the same probes at the
        reference.
    """

    turns: Array
    bends: Array
    turns_of_degree: Array
    bends_of_degree: Array
    departures: Array
    usual_departures: Array


def _averages(probes: _Probes, ladder: _Ladder, samples: list[Rows], reference: int) -> _Averages:
    averages = _Averages(
        *np.empty((2, len(STEPS), len(probes))), *np.zeros((4, len(LADDER), len(probes)))
    )
    usual = ladder.heights[reference] ** 2
    normals = ladder.normals.astype(np.float32)
    neighbours: list[tuple[Array, Rows]] = []
    for index, sample in enumerate(samples):
        if index > 0 and len(sample) == len(samples[index - 1]):
            neighbours.append(neighbours[-1])
        elif len(sample) == len(probes):
            neighbours.append(probes.neighbours)
        else:
            neighbours.append(probes.neighbours_among(sample))

    def average(index: int) -> None:
        distance, near = neighbours[index]
        radius = np.hypot(AVERAGED_OVER * STEPS[index], probes.facets)
        weights = np.exp(-(distance**2) / (2 * radius[:, None] ** 2)) + 1e-9
        weights *= ladder.measured[index, near]
        # What stands on the other side of a thin wall has none.
        side = normals[min(index, EVERYWHERE)]
        weights *= (side.take(near, axis=0) @ side[:, :, None])[:, :, 0] > 0
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
        squares = np.stack(
            [
                ((ladder.normals[index + 1] - ladder.normals[index]) ** 2).sum(axis=1),
                ((ladder.shapes[index + 1] - ladder.shapes[index]) ** 2).sum(axis=(1, 2)),
                ladder.turns_of_degree[index + 1],
                ladder.bends_of_degree[index + 1],
                ladder.heights[index + 1] ** 2,
                # Where facets are larger than the reference what it departs there is not known,
                # and any departure counts as usual.
                np.where(ladder.measured[reference], usual, ladder.heights[index + 1] ** 2),
            ],
            axis=1,
        )
        (
            averages.turns[index],
            averages.bends[index],
            averages.turns_of_degree[index + 1],
            averages.bends_of_degree[index + 1],
            averages.departures[index + 1],
            averages.usual_departures[index + 1],
        ) = (as_matrix(weights, near, len(squares)) @ squares).T

    threads = thread_count()

    def share(first: int) -> None:
        for index in range(first, len(STEPS), threads):
            average(index)

    run_shares(threads, share)
    return averages


def as_matrix(weights: Array, columns: Rows, width: int) -> csr_array:
    """The sparse (M, width) matrix with weights (M, k) in columns (M, k)."""
    starts = np.arange(0, weights.size + 1, weights.shape[1])
    return csr_array((weights.ravel(), columns.ravel(), starts), shape=(len(weights), width))


def _map(
    probes: _Probes,
    ladder: _Ladder,
    choice: _Choice,
    spacing: float,
    mesh_vertices: Array,
) -> ScaleMap:
    """What is saved of the choice."""
    points, probe = probes.points, np.arange(len(probes))
    lower = ladder.lower_heights[choice.for_normal, probe]
    height = lower + choice.normal_share * (ladder.heights[choice.for_normal, probe] - lower)
    scale = LADDER[choice.for_normal]
    # On the flats of a model from CAD there are no vertices to ask, and those at edges stand out.
    alone = _sparse(mesh_vertices, points, 2 * scale)
    noise = _spread(height[probes.is_vertex & ~alone])
    height = np.clip(height, -LARGEST_HEIGHT * noise, LARGEST_HEIGHT * noise)
    vertices = np.flatnonzero(probes.is_vertex)
    offset = _average_height(points, height, vertices, OFFSET_RADIUS * scale)
    offset[alone] = 0
    return ScaleMap(
        *(
            np.ascontiguousarray(array, np.float32)
            for array in (
                points,
                ladder.normals[choice.for_normal, probe],
                scale,
                LADDER[choice.for_curvature],
                choice.normal_error,
                choice.curvature_error,
                choice.normal_share,
                choice.curvature_share,
                offset,
                np.zeros((len(probes), 3)),
                np.zeros((len(probes), 3, 3)),
                [noise],
                [spacing],
            )
        )
    )


def _last_valley(cost: Array) -> NDArray[np.intp]:
    """The largest scale (M,) at which a cost (scales, M) has a minimum about as deep as any.

    Costs are logarithms. The field is smooth below the cells of its base, too, so between the
    smallest scales little changes, whatever its error: hence not simply the deepest. But the last
    of the ladder must be that. The last before those that would lose features is none such: down to
    it what was smoothed away was noise.
    """
    beyond = np.full((1, cost.shape[1]), np.inf)
    smaller, larger = np.vstack([beyond, cost[:-1]]), np.vstack([cost[1:], beyond])
    deepest = cost.min(axis=0)
    valley = (cost <= smaller) & (cost < larger) & (cost <= deepest + np.log(DEEPER))
    # Beyond the last scale the cost may rise or fall: it is no valley unless the deepest.
    valley[-1] &= cost[-1] <= deepest
    return len(cost) - 1 - valley[::-1].argmax(axis=0)


def _average_height(
    points: Array, heights: Array, vertices: NDArray[np.intp], radius: Array
) -> Array:
    """Mean (M,) of the heights of those probes that are vertices, within about a radius (M,)."""
    near, weights = averaging_weights(points, points[vertices], radius)
    near, weights = vertices[near], weights + 1e-9
    return (weights * heights[near]).sum(axis=1) / weights.sum(axis=1)


def averaging_weights(
    points: Array, others: Array, radius: Array, count: int = AVERAGED_VERTICES
) -> tuple[NDArray[np.intp], Array]:
    """Which others (N, k) to average over at (N, 3) points, within about a radius (N,), and how.

    At most so many.
    """
    ranks = np.arange(1, min(count, len(others)) + 1)
    distance, near = cKDTree(others).query(points, k=ranks, workers=thread_count())
    return near, np.exp(-(distance**2) / (2 * radius[:, None] ** 2))


def _sparse(vertices: Array, points: Array, reach: Array) -> NDArray[np.bool_]:
    """Where fewer than `FEW_VERTICES` of a mesh lie within reach."""
    if len(vertices) < FEW_VERTICES:
        return np.ones(len(points), bool)
    distance, _ = cKDTree(vertices).query(points, k=FEW_VERTICES, workers=thread_count())
    return distance[:, -1] > reach


def _spread(heights: Array) -> float:
    """Standard deviation, without what a few outliers add to it; 0 of none."""
    if len(heights) == 0:
        return 0.0
    away = np.abs(heights - np.median(heights))
    return float(np.sqrt((np.minimum(away, 7 * np.median(away)) ** 2).mean()))


def _on_surface(values: Array) -> NDArray[np.bool_]:
    """Which probes lie where the field has its surface.

    Parts of a mesh that lie inside others, as eyes in a head, are no surface of the field.
    """
    away = np.abs(values)
    return away <= INSIDE + INSIDE_DEVIATIONS * np.median(away)


def _both_ways(changes: Array, weight: float) -> Array:
    """The squared change at each scale: from the smaller one and, weighted, to the larger."""
    ahead = np.concatenate([changes[1:], changes[-1:]])
    both = (changes + weight * ahead) / (1 + weight)
    return np.concatenate([both[:1], both])


def _probes(mesh: TriangleMesh, count: int, random: np.random.Generator) -> _Probes:
    """Half of them on vertices, which are dense where there is detail; half uniform by area."""
    facet = facet_sizes(mesh)
    vertices = random.permutation(len(mesh.vertices))[: count // 2]
    largest = np.zeros(len(mesh.vertices))
    for corner in mesh.triangles.T:
        np.maximum.at(largest, corner, facet)
    points, triangles = surface_samples(mesh, count - count // 2, random)
    around = igl.per_vertex_normals(
        mesh.vertices,
        mesh.triangles.astype(np.int64),
        igl.PER_VERTEX_NORMALS_WEIGHTING_TYPE_ANGLE,
    )
    sampled = TriangleMesh(mesh.vertices, mesh.triangles[triangles])
    return _Probes(
        np.concatenate([mesh.vertices[vertices], points]),
        np.nan_to_num(np.concatenate([around[vertices], sampled.triangle_normals()])),
        np.concatenate([largest[vertices], facet[triangles]]),
        np.arange(len(vertices) + len(points)) < len(vertices),
    )


def facet_sizes(mesh: TriangleMesh) -> Array:
    """Size (F,) of each triangle across the edges at which the surface bends, 0 on flats.

    The height over an edge is what a facet replaces by a chord; of the two that meet there the
    lower one counts, since beside a rounding there may lie a flat. Edges where the surface does
    not bend, as inside a flat, or bends sharply, as at a crease, do not count. A facet that is long
    beside a narrow rounding is no longer than its turn across allows: it would be smeared else.
    """
    normals = np.nan_to_num(mesh.triangle_normals())
    areas = mesh.triangle_areas()
    edges, (first, second) = mesh.shared_edges()
    ends = mesh.vertices.take(edges, axis=0)
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    cosine = np.einsum("ni,ni->n", normals.take(first, axis=0), normals.take(second, axis=0))
    smallest, largest = np.cos(np.radians(BENT_DEGREES))
    bent = (cosine < smallest) & (cosine > largest)
    height = 2 * np.minimum(areas[first], areas[second]) / np.maximum(length, 1e-12)
    rate = np.arccos(np.clip(cosine[bent], -1, 1)) / np.maximum(height[bent], 1e-12)
    sizes, rates = np.zeros((2, len(mesh.triangles)))
    for side in (first[bent], second[bent]):
        np.maximum.at(sizes, side, height[bent])
        np.maximum.at(rates, side, rate)
    return np.minimum(sizes, MOST_TURN / np.maximum(rates, 1e-12))


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
