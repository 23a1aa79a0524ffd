"""From a field back to triangles: narrow-band marching cubes."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from .errors import FairfieldError, SettingError
from .jets import Jets
from .mesh import TriangleMesh
from .normalization import HALF_EXTENT_IN_CUBE
from .open_sheet import cut_off, interpolated
from .operators.differentiation import (
    Scale,
    check_scale,
    corrected_by_vertices,
    differentiate,
    smoothed_values,
)
from .progress import Progress, ProgressCallback, part, silent
from .smoothing import smooth
from .surface_patches import SurfacePatches, jets_of_answers, surface_patches

if TYPE_CHECKING:
    from .field import Field

BLOCK = 8
"""Cells along the side of a block; a block is evaluated as a whole or not at all."""
BAND = 1.5
"""A block is evaluated if its centre is nearer to the surface than this many half-diagonals.

1 would do for exact distances; the rest is for the field's error."""
RESOLUTION_LIMITS = (16, 1024)
POINTS_PER_CHUNK = 1 << 17
MARGIN = 1.8
"""Cells on either side of the smoothed surface in which values are needed: a cell's diagonal, and a
little."""
LEAST_SPACING = 0.8
"""Cells from one place to the next where the smoothed surface is asked for on behalf of many."""
MOVED_SHARE = 0.995
"""Of the smoothed surface's places, how many lie within the band of lattice nodes that is wide
enough for them."""
NOISE_REACH = 3.0
"""The smoothed surface lies within so many standard deviations of the noise from the raw one."""
OFFSET_REACH, ERROR_REACH = 2.0, 4.0
"""And so many times the offset and the error of the field, besides."""
BESIDES = 0.25
"""Cells by which a patch's answer may differ from the raw field besides, by trial: less has too
many nodes asked one by one, more leaves crumbs beside edges."""


def extract(
    field: Field,
    resolution: int = 256,
    scale: Scale | None = None,
    scale_factor: float = 1.0,
    *,
    progress: ProgressCallback = silent,
) -> TriangleMesh:
    """Return the zero set of a field as a triangle mesh, in the mesh's own units.

    It is closed, except where an open sheet ends.

    Parameters
    ----------
    resolution
        Cells along the side of the field's cube, in which the mesh's largest side takes 90 %.
    scale
        None for the raw field; a length in the mesh's own units, or "auto", for the field smoothed
        at that scale.
    scale_factor
        Multiplies the scale: above 1 is smoother.

    Raises
    ------
    SettingError
        For a resolution or scale out of range.
    FairfieldError
        If the field has no zero set.
    """
    if scale is None:
        check_scale("auto", scale_factor)
        return _raw_surface(field, resolution, progress)
    return extract_with_jets(field, resolution, scale, scale_factor, progress=progress)[0]


def extract_with_jets(
    field: Field,
    resolution: int = 256,
    scale: Scale | None = None,
    scale_factor: float = 1.0,
    *,
    progress: ProgressCallback = silent,
) -> tuple[TriangleMesh, Jets]:
    """Return what `extract` returns, and the jets at its vertices.

    With scale None the jets are those at scale "auto".
    """
    check_scale("auto" if scale is None else scale, scale_factor)
    if scale is None:
        surface = _raw_surface(field, resolution, part(progress, 0.0, 0.5))
        jets = smooth(
            field,
            surface.vertices,
            scale_factor=scale_factor,
            progress=part(progress, 0.5, 1.0),
        )
        return surface, Jets(**{entry.name: getattr(jets, entry.name) for entry in fields(Jets)})
    _check(resolution)
    volume = _narrow_band(field, resolution, part(progress, 0.0, 0.1))
    cell = 2 / resolution
    patches = surface_patches(
        field,
        _crossings(volume) * cell - 1,
        scale,
        scale_factor,
        LEAST_SPACING * cell,
        part(progress, 0.1, 0.3),
    )
    _smooth_band(field, volume, patches, scale, scale_factor, part(progress, 0.3, 0.6))
    surface = _marching_cubes(field, volume, part(progress, 0.6, 0.65))
    del volume
    return _on_smoothed_surface(
        field, surface, cell, patches, scale, scale_factor, part(progress, 0.65, 1.0)
    )


def sharp_edges(field: Field, surface: TriangleMesh, resolution: int) -> NDArray[np.int64]:
    """Return which edges (K, 2) of a surface extracted at a resolution are the mesh's sharp edges.

    Each by its two vertices. There are none where the surface was smoothed over them.
    """
    if field.creases is None:
        return np.zeros((0, 2), np.int64)
    cube = TriangleMesh(field.normalization.to_cube(surface.vertices), surface.triangles)
    return field.creases.edges_of(cube, 2 / resolution)


def _on_smoothed_surface(
    field: Field,
    surface: TriangleMesh,
    cell: float,
    patches: SurfacePatches | None,
    scale: Scale,
    scale_factor: float,
    progress: ProgressCallback,
) -> tuple[TriangleMesh, Jets]:
    """Move vertices to the smoothed surface; return the mesh and the jets there.

    Between the lattice's nodes marching cubes draws straight lines: this mends that.
    """
    count, place = len(surface.vertices), field.normalization
    vertices = surface.vertices.copy()
    jets = Jets(np.zeros(count), np.zeros((count, 3)), np.zeros((count, 3, 3)), np.zeros(count))
    alone = np.ones(count, bool)
    if patches is not None:
        cube = place.to_cube(vertices)
        answers = patches.at(cube, part(progress, 0.0, 0.7))
        shared = np.flatnonzero(answers.answered & (np.abs(answers.distance) <= cell))
        alone[shared] = False
        gradient = answers.gradient[shared]
        way = answers.distance[shared] / np.linalg.norm(gradient, axis=1)
        vertices[shared] = place.from_cube(cube[shared] - way[:, None] * gradient)
        told = jets_of_answers(answers, shared, place.unit)
        jets.replace(
            shared, corrected_by_vertices(field, vertices[shared], told, scale, scale_factor)
        )
        jets.value[shared] = 0
    rows = np.flatnonzero(alone)
    found = smooth(
        field,
        vertices[rows],
        scale=scale,
        scale_factor=scale_factor,
        operator="polynomial",
        progress=part(progress, 0.7, 0.95),
    )
    # A vertex whose way is longer than a cell found another part of the surface, or none: it stays
    # where it was, and is measured there.
    far = ~(np.abs(found.deviation) <= cell * place.unit)
    vertices[rows[~far]] = found.foot_points[~far]
    there = differentiate(field, vertices[rows[far]], scale=scale, scale_factor=scale_factor)
    jets.replace(rows, found)
    jets.replace(
        rows[far],
        corrected_by_vertices(field, vertices[rows[far]], there, scale, scale_factor),
    )
    # What would run farther stays where the clipped nodes have put it.
    value = _evaluate(field, place.to_cube(vertices))
    too_far = np.abs(value) > _farthest(field, scale, scale_factor)
    vertices[too_far] = surface.vertices[too_far]
    if field.creases is None or not _stays(scale, scale_factor):
        return TriangleMesh(vertices, surface.triangles), jets
    sharp = field.creases.sharpened(
        place.to_cube(vertices),
        surface.triangles,
        jets.normals,
        cell,
        part(progress, 0.95, 1.0),
    )
    between = (
        np.concatenate([each, each[sharp.parents].mean(axis=1)])
        for each in (jets.value, jets.gradient, jets.hessian, jets.scale)
    )
    return TriangleMesh(place.from_cube(sharp.vertices), sharp.triangles), Jets(*between)


def _check(resolution: int) -> None:
    low, high = RESOLUTION_LIMITS
    if not low <= resolution <= high or resolution != int(resolution):
        raise SettingError(
            f"The resolution is {resolution}; it must be a whole number from {low} to {high}."
        )


def _raw_surface(field: Field, resolution: int, progress: ProgressCallback) -> TriangleMesh:
    _check(resolution)
    volume = _narrow_band(field, resolution, part(progress, 0.0, 0.9))
    return _marching_cubes(field, volume, part(progress, 0.9, 1.0))


def _marching_cubes(
    field: Field, volume: NDArray[np.float32], progress: ProgressCallback
) -> TriangleMesh:
    """The zero set of values at the nodes of a lattice over the cube, in the mesh's own units."""
    from skimage.measure import marching_cubes

    progress(Progress(0.0, "Extracting the surface"))
    if not volume.min() < 0 < volume.max():
        raise FairfieldError(
            "The field has no surface to extract: its mesh may enclose no volume. Close the mesh, "
            "or give it thickness, and fit it again."
        )
    vertices, triangles, _, _ = marching_cubes(
        volume, level=0.0, gradient_direction="descent", allow_degenerate=False
    )
    cube = vertices.astype(np.float64) * (2 / (len(volume) - 1)) - 1
    if field.beyond_rim is not None:
        cube, triangles = cut_off(cube, triangles, interpolated(field.beyond_rim, cube))
    return TriangleMesh(field.normalization.from_cube(cube), triangles)


def _crossings(volume: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where the surface crosses the edges between the nodes of a lattice: (N, 3), in cells."""
    inside = volume < 0
    crossings = []
    for axis in range(3):
        step = np.eye(3, dtype=np.intp)[axis]
        here = [slice(None, -1) if each else slice(None) for each in step]
        there = [slice(1, None) if each else slice(None) for each in step]
        node = np.argwhere(inside[tuple(here)] != inside[tuple(there)])
        first, second = volume[tuple(node.T)], volume[tuple((node + step).T)]
        crossings.append(node + step * (first / (first - second))[:, None].astype(np.float64))
    return np.concatenate(crossings)


def _smooth_band(
    field: Field,
    volume: NDArray[np.float32],
    patches: SurfacePatches | None,
    scale: Scale,
    scale_factor: float,
    progress: ProgressCallback,
) -> None:
    """Replace the values near the surface by those of the smoothed field.

    Where the patches have no answer the nodes are asked for one by one. So they are where it is
    farther from the raw value than the surface moves about there: beyond an edge a patch goes on
    into the void, and would leave a crumb of surface there.
    """
    cell = 2 / (len(volume) - 1)
    noise = NOISE_REACH * float(field.scale_map.noise[0])
    away = noise
    if patches is not None:
        away = max(noise, float(np.quantile(patches.moved, MOVED_SHARE)))
    band = np.argwhere(np.abs(volume) < away + MARGIN * cell)
    raw = volume[tuple(band.T)]
    answered = np.zeros(len(band), bool)
    if patches is not None:
        reach = 2 * away + MARGIN * cell
        answered, values, moved = patches.values_at_nodes(
            band, len(volume), reach, part(progress, 0.0, 0.5)
        )
        change = np.abs(values - raw)
        answered &= change <= np.minimum(away, NOISE_REACH * moved + BESIDES * cell)
        volume[tuple(band[answered].T)] = values[answered]
    rest = band[~answered & (np.abs(raw) < noise + MARGIN * cell)]
    _ask_along_the_surface(field, volume, rest, scale, scale_factor, part(progress, 0.5, 1.0))
    limit = _farthest(field, scale, scale_factor)
    volume[tuple(band.T)] = np.clip(volume[tuple(band.T)], raw - limit, raw + limit)


def _stays(scale: Scale, scale_factor: float) -> bool:
    """Whether the surface is to stay where the mesh is, but for noise and facets."""
    return scale == "auto" and scale_factor <= 1


def _farthest(field: Field, scale: Scale, scale_factor: float) -> float:
    """How far from the raw field's surface the smoothed one may run, in units of the cube.

    At the automatic scale it is what noise, facets and the field's own error account for: over a
    sharp edge an average runs off farther, so that edges of models without noise would be wavy.
    """
    error = field.report.near_surface_error * HALF_EXTENT_IN_CUBE
    if not _stays(scale, scale_factor) or not np.isfinite(error):
        return np.inf
    noise = NOISE_REACH * float(field.scale_map.noise[0])
    facets = OFFSET_REACH * float(np.median(np.abs(field.scale_map.offset)))
    return noise + facets + ERROR_REACH * error


def _ask_along_the_surface(
    field: Field,
    volume: NDArray[np.float32],
    nodes: NDArray[np.int64],
    scale: Scale,
    scale_factor: float,
    progress: ProgressCallback,
) -> None:
    """Replace the values at those of (N, 3) nodes whose edges the smoothed surface crosses.

    Of most, which lie farther from it, the sign is all that is needed. So nodes with a neighbour of
    the other sign are asked, then those that have one by what the others turned out to be.
    """
    values, size = volume.reshape(-1), len(volume)
    cell = 2 / (size - 1)
    raw = np.ravel_multi_index(tuple(nodes.T), volume.shape)
    steps = np.array([size**2, size, 1])
    while True:
        # At the cube's faces some neighbour is another node, which may be asked in vain.
        ends = [values.take(raw + step, mode="clip") < 0 for step in (*steps, *-steps)]
        crossed = (np.array(ends) != (values[raw] < 0)).any(axis=0)
        asked, raw = raw[crossed], raw[~crossed]
        if len(asked) == 0:
            return
        points = np.stack(np.unravel_index(asked, volume.shape), axis=1) * cell - 1
        told = smoothed_values(
            field,
            field.normalization.from_cube(points),
            scale,
            scale_factor,
            part(progress, 0.0, 0.5),
        )
        values[asked] = told / field.normalization.unit
        progress = part(progress, 0.5, 1.0)


def _narrow_band(field: Field, resolution: int, progress: ProgressCallback) -> NDArray[np.float32]:
    """Values at the (resolution + 1)^3 lattice nodes: exact near the surface, elsewhere the sign.

    Coarse to fine: the field at the centres of a block and of those around it tells whether the
    surface can pass through it. The other blocks are filled with their centre's value, so one array
    holds the whole lattice and the surface comes out of it in one piece.
    """
    cell = 2 / resolution
    blocks = -(-resolution // BLOCK)
    centers_along = -1 + cell * BLOCK * (np.arange(blocks) + 0.5)
    centers = np.stack(np.meshgrid(*[centers_along] * 3, indexing="ij"), axis=-1)
    coarse = _evaluate(field, centers.reshape(-1, 3)).reshape([blocks] * 3)

    half_diagonal = np.sqrt(3) * cell * BLOCK / 2
    # What closes a hole of the mesh may be far from it: there the field jumps, and is not small.
    across = np.where(coarse < 0, maximum_filter(coarse, 3), -minimum_filter(coarse, 3))
    jumps = (across > 0) & (np.abs(coarse) + across > 2 * half_diagonal)
    near = np.argwhere((np.abs(coarse) < BAND * half_diagonal) | jumps)

    volume = coarse
    for axis in range(3):
        volume = volume.repeat(BLOCK, axis)
    # One more node than cells at the upper end of each axis.
    volume = np.pad(volume, (0, 1), mode="edge")

    # Both ends of a block are included: its neighbour may not be evaluated.
    inner = np.arange(BLOCK + 1)
    offsets = np.stack(np.meshgrid(inner, inner, inner, indexing="ij"), axis=-1).reshape(-1, 3)
    blocks_per_chunk = max(1, POINTS_PER_CHUNK // len(offsets))
    for start in range(0, len(near), blocks_per_chunk):
        progress(Progress(start / len(near), "Evaluating the field"))
        chunk = near[start : start + blocks_per_chunk]
        nodes = (chunk[:, None, :] * BLOCK + offsets).reshape(-1, 3)
        volume[tuple(nodes.T)] = _evaluate(field, nodes * cell - 1)
    return np.ascontiguousarray(volume[tuple([slice(resolution + 1)] * 3)])


def _evaluate(field: Field, cube_points: NDArray[np.floating]) -> NDArray[np.float32]:
    return field.evaluate(field.tensor(cube_points)).cpu().numpy()
