"""From a field back to triangles: narrow-band marching cubes."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from .errors import FairfieldError, SettingError
from .jets import Jets
from .mesh import TriangleMesh
from .open_sheet import cut_off
from .operators.differentiation import Scale, differentiate, smoothed_values
from .progress import Progress, ProgressCallback, part, silent
from .smoothing import smooth

if TYPE_CHECKING:
    from .field import Field

BLOCK = 8
"""Cells along the side of a block; a block is evaluated as a whole or not at all."""
BAND = 1.5
"""A block is evaluated if its centre is nearer to the surface than this many half-diagonals.

1 would do for exact distances; the rest is for the field's error."""
RESOLUTION_LIMITS = (16, 1024)
POINTS_PER_CHUNK = 1 << 17
STRIDE = 4
"""Nodes of the lattice from one that is smoothed first to the next."""
MARGIN = 2.5
"""Cells on either side of where the smoothed surface is expected that are smoothed one by one."""
NOISE_REACH = 3.0
"""The smoothed surface lies within so many standard deviations of the noise from the raw one."""


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
        return _marching_cubes(field, resolution, None, 1.0, progress)
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
    surface = _marching_cubes(field, resolution, scale, scale_factor, part(progress, 0.0, 0.5))
    jets = smooth(
        field,
        surface.vertices,
        scale="auto" if scale is None else scale,
        scale_factor=scale_factor,
        progress=part(progress, 0.5, 1.0),
    )
    if scale is None:
        return surface, Jets(**{entry.name: getattr(jets, entry.name) for entry in fields(Jets)})
    # Between the lattice's nodes marching cubes draws straight lines: the foot points mend that.
    # A vertex whose way is longer than a cell found another part of the surface, or none: it stays
    # where it was, and is measured there.
    cell = 2 / resolution * field.normalization.unit
    far = np.flatnonzero(~(np.abs(jets.deviation) <= cell))
    vertices = jets.foot_points.copy()
    vertices[far] = surface.vertices[far]
    there = differentiate(field, vertices[far], scale=scale, scale_factor=scale_factor)
    values = {entry.name: getattr(jets, entry.name).copy() for entry in fields(Jets)}
    for name, table in values.items():
        table[far] = getattr(there, name)
    return TriangleMesh(vertices, surface.triangles), Jets(**values)


def _marching_cubes(
    field: Field,
    resolution: int,
    scale: Scale | None,
    scale_factor: float,
    progress: ProgressCallback,
) -> TriangleMesh:
    from skimage.measure import marching_cubes

    low, high = RESOLUTION_LIMITS
    if not low <= resolution <= high:
        raise SettingError(f"The resolution is {resolution}; it must be {low} to {high}.")
    if scale is None:
        volume = _narrow_band(field, resolution, part(progress, 0.0, 0.9))
    else:
        volume = _narrow_band(field, resolution, part(progress, 0.0, 0.2))
        _smooth_band(field, volume, scale, scale_factor, part(progress, 0.2, 0.9))
    progress(Progress(0.9, "Extracting the surface"))
    if not volume.min() < 0 < volume.max():
        raise FairfieldError(
            "The field has no surface to extract: its mesh encloses no volume. Close the mesh, or "
            "give it thickness, and fit it again."
        )
    vertices, triangles, _, _ = marching_cubes(
        volume, level=0.0, gradient_direction="descent", allow_degenerate=False
    )
    cube = vertices.astype(np.float64) * (2 / resolution) - 1
    if field.beyond_rim is not None:
        cube, triangles = cut_off(cube, triangles, _beyond_rim(field.beyond_rim, cube))
    return TriangleMesh(field.normalization.from_cube(cube), triangles)


def _beyond_rim(lattice: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate what a lattice over the cube holds at (N, 3) points."""
    places = (points.T + 1) * ((len(lattice) - 1) / 2)
    return map_coordinates(lattice.astype(np.float64), places, order=1, mode="nearest")


def _smooth_band(
    field: Field,
    volume: NDArray[np.float32],
    scale: Scale,
    scale_factor: float,
    progress: ProgressCallback,
) -> None:
    """Replace the values near the surface by those of the smoothed field.

    Noise hides where the smoothed surface runs, so every fourth node of a wide band is smoothed
    first; interpolation between them tells which of the others are worth it.
    """
    cell = 2 / (len(volume) - 1)
    unit = field.normalization.unit

    def smoothed(nodes: NDArray[np.intp], report: ProgressCallback) -> NDArray[np.float64]:
        points = field.normalization.from_cube(nodes * cell - 1)
        return smoothed_values(field, points, scale, scale_factor, report) / unit

    reach = NOISE_REACH * float(field.scale_map.noise[0]) + MARGIN * cell
    # As the last node of an axis need not be a fourth one, a copy of it lies beyond.
    padded = np.pad(volume, (0, -(len(volume) - 1) % STRIDE), mode="edge")
    sparse = padded[::STRIDE, ::STRIDE, ::STRIDE].copy()
    near = np.argwhere(np.abs(sparse) < reach + np.sqrt(3) * STRIDE * cell)
    sparse[tuple(near.T)] = smoothed(near * STRIDE, part(progress, 0.0, 0.2))

    band = np.argwhere(np.abs(volume) < reach)
    expected = map_coordinates(sparse, band.T / STRIDE, order=1)
    volume[tuple(band.T)] = expected
    band = band[np.abs(expected) < MARGIN * cell]
    volume[tuple(band.T)] = smoothed(band, part(progress, 0.2, 1.0))


def _narrow_band(field: Field, resolution: int, progress: ProgressCallback) -> NDArray[np.float32]:
    """Values at the (resolution + 1)^3 lattice nodes: exact near the surface, elsewhere the sign.

    Coarse to fine: the field at the centre of a block tells whether the surface can pass through
    it. The other blocks are filled with their centre's value, so one array holds the whole lattice
    and the surface comes out of it in one piece.
    """
    cell = 2 / resolution
    blocks = -(-resolution // BLOCK)
    centers_along = -1 + cell * BLOCK * (np.arange(blocks) + 0.5)
    centers = np.stack(np.meshgrid(*[centers_along] * 3, indexing="ij"), axis=-1)
    coarse = _evaluate(field, centers.reshape(-1, 3)).reshape([blocks] * 3)

    half_diagonal = np.sqrt(3) * cell * BLOCK / 2
    near = np.argwhere(np.abs(coarse) < BAND * half_diagonal)

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
