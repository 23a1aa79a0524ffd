"""From a field back to triangles: narrow-band marching cubes."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import FairfieldError, SettingError
from .jets import Jets
from .mesh import TriangleMesh
from .operators.differentiation import Scale, differentiate
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


def extract(
    field: Field,
    resolution: int = 256,
    scale: Scale | None = None,
    *,
    progress: ProgressCallback = silent,
) -> TriangleMesh:
    """Return the zero set of a field as a closed triangle mesh, in the mesh's own units.

    Parameters
    ----------
    resolution
        Cells along the side of the field's cube, in which the mesh's largest side takes 90 %.
    scale
        None for the raw field; a length in the mesh's own units, or "auto", moves the vertices to
        the zero set of the field smoothed at that scale.

    Raises
    ------
    SettingError
        For a resolution or scale out of range.
    FairfieldError
        If the field has no zero set.
    """
    if scale is None:
        return _marching_cubes(field, resolution, progress)
    return extract_with_jets(field, resolution, scale, progress=progress)[0]


def extract_with_jets(
    field: Field,
    resolution: int = 256,
    scale: Scale | None = None,
    *,
    progress: ProgressCallback = silent,
) -> tuple[TriangleMesh, Jets]:
    """Return what `extract` returns, and the jets at its vertices.

    With scale None the jets are those at scale "auto".
    """
    raw = _marching_cubes(field, resolution, part(progress, 0.0, 0.5))
    jets = smooth(
        field,
        raw.vertices,
        scale="auto" if scale is None else scale,
        progress=part(progress, 0.5, 1.0),
    )
    if scale is None:
        return raw, Jets(**{entry.name: getattr(jets, entry.name) for entry in fields(Jets)})
    # In a crevice thinner than the scale the smoothed field may have no surface nearby: a vertex
    # whose way is longer than the scale stays where it was, and is measured there.
    far = np.flatnonzero(~(np.abs(jets.deviation) <= jets.scale))
    vertices = jets.foot_points.copy()
    vertices[far] = raw.vertices[far]
    there = differentiate(field, vertices[far], scale=scale)
    values = {entry.name: getattr(jets, entry.name).copy() for entry in fields(Jets)}
    for name, table in values.items():
        table[far] = getattr(there, name)
    return TriangleMesh(vertices, raw.triangles), Jets(**values)


def _marching_cubes(field: Field, resolution: int, progress: ProgressCallback) -> TriangleMesh:
    from skimage.measure import marching_cubes

    low, high = RESOLUTION_LIMITS
    if not low <= resolution <= high:
        raise SettingError(f"The resolution is {resolution}; it must be {low} to {high}.")
    volume = _narrow_band(field, resolution, part(progress, 0.0, 0.9))
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
    return TriangleMesh(field.normalization.from_cube(cube), triangles)


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
