"""A field's values as the polynomial operator smooths them, at the nodes of a lattice.

Near the surface a node gets its distance to the smoothed surface, so a spline through the nodes has
nearly the operator's gradient. Three things would spoil the gradient more than the values:

- Off the surface a network is worse than on it, since it was trained on it most. So the operator is
  asked at the foot of each node, and tells the distance along its normal there.
- The samples of a stencil form a regular pattern, and noise of the pattern's own wavelength is not
  averaged. So the values are smoothed again, with patterns of other sizes.
- A scale that jumps from one probe of the map to the next would leave a step. So the logarithm of
  the scale is averaged over the nodes around.

Over a hole of a scan the field is no distance: it tells how far the rim is, and its sign jumps on
the surface that closes the hole. There the lattice gets the distance to that surface first.

All passes but the first look at the spline through the values of the one before: a lattice is
evaluated several times faster than a network.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import distance_transform_edt, gaussian_filter

from .distance import unsigned_distance
from .evaluation import Evaluator
from .field import Field
from .fields import FieldConfig, HashGridConfig, NeuralField
from .mesh import TriangleMesh
from .operators.automatic_scale import SPARSE
from .operators.differentiation import Scale, scales
from .operators.tangent import REACH, TangentStencil, tangent_jet, tangent_stencil
from .progress import Progress, ProgressCallback, part, silent

Floats = NDArray[np.float64]
Indices = tuple[NDArray[np.intp], ...]
"""Of nodes, by axis."""

NODES = (64, 96)
"""Least and most nodes per axis."""
CELL_OF_SCALE = 0.4
"""Side of a cell, in scales of the finest part of the surface: so much detail the smoothed values
have."""
FINEST_SHARE = 0.05
"""Of the surface, what counts as its finest part."""
PASSES = (1.0, 0.75, 0.9)
"""Scales of the passes, in those of the operator."""
INNER, OUTER = 3.5, 5.0
"""Cells from the surface, within which the values are the smoothed ones and from which on they are
the field's; a base at the surface needs those within two."""
STEEPEST = 1.5
"""Slope between two nodes, on different sides of the surface, from which on it is a jump."""
FALSE_DISTANCE = (0.25, 0.75)
"""Cells by which a value may exceed the distance to the surface, and from which on it is replaced
by it altogether."""
CELLS_MOVED, NOISE_MOVED = 1.0, 4.0
"""What a value may change by: cells, and standard deviations of the noise."""
AVERAGED_NODES = 4.0
"""Standard deviation, in nodes, of the weights that the scales are averaged with."""
POINTS_PER_CHUNK = 1 << 9


def smoothed_lattice(field: Field, scale: Scale, progress: ProgressCallback = silent) -> Floats:
    """Return values (n, n, n), in units of the cube, at the nodes of a lattice over it.

    Far from the surface they are the field's own. The parameters are those of `differentiate`.
    """
    progress(Progress(0.0, "Smoothing"))
    values = _values_of(field, _resolution(field, scale))
    from_fill = _close_holes(values)
    band = np.nonzero(np.abs(values) < OUTER * _cell(values))
    share = np.clip((OUTER - np.abs(values[band]) / _cell(values)) / (OUTER - INNER), 0, 1)
    lengths = _averaged_scales(field, values, scale)[band]
    nodes = np.asarray(np.stack(band, axis=1) * _cell(values) - 1, np.float64)
    _, quartic, _ = field.scale_map.disks_at(nodes)
    stencil, sparse = field.scale_map.stencil, tangent_stencil(SPARSE)
    # The network itself is asked first, as the lattice may miss what it has between nodes; where
    # the mesh is rough that matters little, and the many samples it needs would take long.
    clean = len(stencil.samples) == len(sparse.samples)
    by_network = (from_fill[band] > REACH * lengths) & clean
    # Where it is no distance, as between two rims, what is asked far off could be anything.
    before = values[band]
    most = CELLS_MOVED * _cell(values) + NOISE_MOVED * float(field.scale_map.noise[0])
    for index, factor in enumerate(PASSES):
        smoothed, done = np.empty(len(nodes)), 0.0
        for rows in (by_network, ~by_network):
            if not rows.any():
                continue
            source = (
                (field.evaluator, "field")
                if rows is by_network
                else (_spline(values, field.device), "base")
            )
            some, scaled = tuple(axis[rows] for axis in band), factor * lengths[rows]
            ends = (index + done) / len(PASSES), (index + done + rows.mean()) / len(PASSES)
            smoothed[rows] = _smoothed(
                field, values, *source, some, scaled, quartic[rows], stencil, part(progress, *ends)
            )
            done += rows.mean()
        moved = values[band] + share * (smoothed - values[band])
        values[band] = np.clip(moved, before - most, before + most)
        # What is left after the first pass needs no dense samples.
        by_network, stencil = np.zeros_like(by_network), sparse
    return values


def upsampled(values: Floats, resolution: int) -> Floats:
    """Return the values of a lattice at the nodes of a finer one, by quintic splines."""
    old, new = (np.linspace(-1, 1, count) for count in (len(values), resolution))
    for axis in range(values.ndim):
        values = make_interp_spline(old, values, k=5, axis=axis)(new)
    return values


def _resolution(field: Field, scale: Scale) -> int:
    probes = field.scale_map.points.astype(np.float64)
    finest = np.quantile(_scales(field, probes, scale), FINEST_SHARE)
    return int(np.clip(1 + np.ceil(2 / (CELL_OF_SCALE * finest)), *NODES))


def _values_of(field: Field, resolution: int) -> Floats:
    along = torch.linspace(-1, 1, resolution, device=field.device)
    nodes = torch.cartesian_prod(along, along, along)
    return field.evaluate(nodes).cpu().double().numpy().reshape([resolution] * 3)


def _close_holes(values: Floats) -> Floats:
    """Put distances to what closes the holes of a scan into a lattice (n, n, n), in place.

    Return how far (n, n, n) the nodes are from that; infinitely far where there are no holes.
    """
    from skimage.measure import marching_cubes

    cell = _cell(values)
    jumps = np.zeros(values.shape, np.bool_)
    for axis in range(values.ndim):
        here, there = np.swapaxes(values, 0, axis)[:-1], np.swapaxes(values, 0, axis)[1:]
        jump = (np.abs(here - there) > STEEPEST * cell) & ((here < 0) != (there < 0))
        for ends in (slice(None, -1), slice(1, None)):
            np.swapaxes(jumps, 0, axis)[ends] |= jump
    if not jumps.any():
        return np.full(values.shape, np.inf)
    from_fill: Floats = distance_transform_edt(~jumps, sampling=cell)
    near = np.nonzero(from_fill < 2 * OUTER * cell)
    nodes = np.asarray(np.stack(near, axis=1) * cell - 1, np.float64)
    corners, triangles, _, _ = marching_cubes(values, 0.0, allow_degenerate=False)
    distance = unsigned_distance(TriangleMesh(corners * cell - 1, triangles), nodes)
    told = np.abs(values[near])
    none, whole = FALSE_DISTANCE
    share = np.clip(((told - distance) / cell - none) / (whole - none), 0, 1)
    values[near] = np.sign(values[near]) * (told + share * (distance - told))
    return from_fill


def _cell(values: Floats) -> float:
    return 2 / (len(values) - 1)


def _scales(field: Field, points: Floats, scale: Scale) -> Floats:
    """The operator's scales (N,) for first derivatives at points of the cube, in its units."""
    place = field.normalization
    first, _ = scales(field, place.from_cube(points), scale, 1.0, "polynomial")
    return first / place.unit


def _averaged_scales(field: Field, values: Floats, scale: Scale) -> Floats:
    """The scale (n, n, n) at the nodes of a lattice, averaged over those around at the surface."""
    at_surface = np.nonzero(np.abs(values) < _cell(values))
    points = np.asarray(np.stack(at_surface, axis=1) * _cell(values) - 1, np.float64)
    total, weight = np.zeros(values.shape), np.zeros(values.shape)
    total[at_surface], weight[at_surface] = np.log(_scales(field, points, scale)), 1.0
    total, weight = (gaussian_filter(each, AVERAGED_NODES) for each in (total, weight))
    return np.exp(total / np.maximum(weight, 1e-12))


def _smoothed(
    field: Field,
    values: Floats,
    evaluator: Evaluator,
    asked: str,
    band: Indices,
    scale: Floats,
    quartic: Floats,
    stencil: TangentStencil,
    progress: ProgressCallback,
) -> Floats:
    """The distances (N,) of the nodes of a band to the smoothed surface of a function.

    That is the evaluator's "field" or "base". The lattice's own values and gradient lead to the
    feet, and tell how the disks lie.
    """
    nodes = np.stack(band, axis=1) * _cell(values) - 1
    normals = np.stack([np.asarray(slope)[band] for slope in np.gradient(values)], axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    ways = values[band][:, None] * normals
    points = nodes - ways
    smoothed = np.empty(len(points))

    @torch.no_grad()
    def smooth(evaluator: Evaluator, rows: slice) -> None:
        at, *rest = (field.tensor(each[rows]) for each in (points, normals, scale, quartic))
        across, length, share = rest
        evaluate = getattr(evaluator, asked)
        value, gradient, _ = tangent_jet(evaluate, at, across, length, stencil, share)
        normal = torch.nn.functional.normalize(gradient, dim=1).cpu().numpy()
        smoothed[rows] = value.cpu().numpy() + (normal * ways[rows]).sum(axis=1)

    evaluator.for_each(
        [
            slice(first, first + POINTS_PER_CHUNK)
            for first in range(0, len(points), POINTS_PER_CHUNK)
        ],
        smooth,
        lambda done: progress(Progress(done, "Smoothing")),
    )
    return smoothed


def _spline(values: Floats, device: torch.device) -> Evaluator:
    """What evaluates a lattice, as the base of a field whose network is as small as can be."""
    encoding = HashGridConfig(levels=1, log2_table_size=4, base_resolution=2)
    with torch.random.fork_rng(devices=[]):
        module = NeuralField(FieldConfig(encoding=encoding, base_resolution=len(values)))
    module.base.values.copy_(torch.from_numpy(values))
    return Evaluator(module.to(device))
