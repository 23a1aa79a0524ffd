"""What a noisy mesh's vertices tell beside its field: where the surface runs, and how it lies.

The nearest point of a noisy mesh is nearer than the surface, so its distances, and what is smoothed
of them, lean to the outside. The vertices do not: their mean height over the patches of the
smoothed surface is how far that has to be moved. All of them are asked, since patches answer
cheaply: four thousand would leave an error of their own.

Nor are normals and curvature of the field all that can be had: distances hide the vertices that lie
deep, and a network does not follow what is left of noise. A polynomial through the vertices
themselves (see `height_polynomials`) has noise of another kind, so that a mixture of both is better
than either. But over a wide disk, a polynomial is wrong where the surface bends too much for it.
That shows: the two differ by more than the errors that each is expected to have. (It shows, too,
where noise is larger than a mesh's edges and the field is much further off than it seems to be: who
is wrong is not known then, and the field is believed.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from .fused import VertexCells
from .operators.automatic_scale import (
    FEW_VERTICES,
    LARGEST_HEIGHT,
    NOISE_OF_A_SCAN,
    OFFSET_RADIUS,
    ScaleMap,
    as_matrix,
    averaging_weights,
)
from .operators.height_polynomials import UNKNOWN, height_polynomials
from .progress import ProgressCallback, part, silent
from .surface_patches import LEAST_SHARED, SHARED_SPACING, SurfacePatches, surface_patches
from .threads import thread_count

if TYPE_CHECKING:
    from .field import Field

Array = NDArray[np.float64]

LARGE_NOISE, FEW_ENOUGH = 2e-3, 1 << 14
"""Noise (cube units) from which on vertices are asked even where patches hardly share them, and how
many vertices a mesh may have for that. Measured: normals up to a tenth closer, mostly a hundredth,
for half a second at 10 000 vertices."""
STARTS, VERTICES = 1 << 15, 1 << 17
"""At most, of which patches are laid out, and which are asked; of more, so many at random."""
WINDOW = 2.2
"""Radius of the disks that vertices are fitted over, in the field's scales. Over the same disk as
the field's, which has 2.6 with a Gaussian's weights, they average as much."""
AGREEING_NORMALS, AGREEING_SHAPES = (0.8, 1.5), (0.5, 1.0)
"""Squared difference of field and vertices, in the squared errors to be expected of both, up to
which the vertices are believed, and from which on not. Second derivatives of a polynomial are wrong
before first ones are."""
MOST_OF_SHAPE = 0.5
"""The largest share of the vertices in the shape operator."""
AGREEMENT_PATCHES, AGREEMENT_RADIUS = 48, 2.0
"""Over how many patches that is averaged, and within how many scales about."""
ALIKE = 0.5
"""Least cosine between their normals."""
BLENDED_PATCHES = 8
"""Of which a probe takes the mean."""
TINY = 1e-12
"""Keeps quotients finite."""


def with_vertex_evidence(
    field: Field,
    vertices: Array,
    random: np.random.Generator,
    progress: ProgressCallback = silent,
) -> ScaleMap:
    """Return a field's scale map with what all (V, 3) vertices, in the cube, tell.

    Where the mesh has no noise, or little and too few vertices for patches to share them, it stays
    as it is.
    """
    scale_map = field.scale_map
    noise = float(scale_map.noise[0])
    if noise < NOISE_OF_A_SCAN:
        return scale_map
    alone = noise >= LARGE_NOISE and len(vertices) <= FEW_ENOUGH
    vertices = vertices[random.permutation(len(vertices))[:VERTICES]]
    patches = surface_patches(
        field,
        vertices[:STARTS],
        "auto",
        1.0,
        0.0,
        part(progress, 0.0, 0.5),
        spacing_in_scales=SHARED_SPACING,
        least_shared=0.0 if alone else LEAST_SHARED,
        put_back=False,
    )
    if patches is None:
        return scale_map
    probe = scale_map.nearest(vertices)
    offset = _offset(scale_map, patches, vertices, probe, part(progress, 0.5, 0.6))
    cells = VertexCells(vertices, scale_map.normals[probe].astype(np.float64))
    turn, bend = _corrections(scale_map, patches, cells, part(progress, 0.6, 1.0))
    return replace(
        scale_map,
        offset=offset.astype(np.float32),
        turn=turn.astype(np.float32),
        bend=bend.astype(np.float32),
    )


def _offset(
    scale_map: ScaleMap,
    patches: SurfacePatches,
    vertices: Array,
    probe: NDArray[np.intp],
    progress: ProgressCallback,
) -> Array:
    """How far (M,) outside the smoothed surface the vertices lie around the probes.

    Parameters
    ----------
    probe
        (V,) the nearest to each vertex.
    """
    answers = patches.at(vertices, progress)
    limit = LARGEST_HEIGHT * float(scale_map.noise[0])
    heights = np.clip(answers.distance[answers.answered], -limit, limit)
    probe = probe[answers.answered]
    count = len(scale_map.points)
    number, total = np.bincount(probe, minlength=count), np.bincount(probe, heights, count)

    points = scale_map.points.astype(np.float64)
    radius = OFFSET_RADIUS * scale_map.normal_scale.astype(np.float64)
    near, weights = averaging_weights(points, points, radius)
    # Those on the other side of a thin wall have another normal, and no say.
    weights *= (scale_map.normals[near] * scale_map.normals[:, None]).sum(axis=2) > 0
    enough = (weights * number[near]).sum(axis=1)
    mean = (weights * total[near]).sum(axis=1) / np.maximum(enough, 1e-9)
    return np.where(enough >= FEW_VERTICES, mean, scale_map.offset)


def _corrections(
    scale_map: ScaleMap, patches: SurfacePatches, vertices: VertexCells, progress: ProgressCallback
) -> tuple[Array, Array]:
    """What to add to the normals (M, 3) and to the shape operators (M, 3, 3) at the probes."""
    middles = patches.middles
    normals, narrow_shapes, shapes = patches.in_middles()
    scales, shares = scale_map.scales_at(middles), scale_map.disks_at(middles)[1:]
    narrow, wide = (
        height_polynomials(middles, normals, bent, WINDOW * scale, share, vertices, report)
        for bent, scale, share, report in zip(
            (narrow_shapes, shapes),
            scales,
            shares,
            (part(progress, 0.0, 0.5), part(progress, 0.5, 1.0)),
            strict=True,
        )
    )
    turn, bend = narrow.normals - normals, wide.shapes - shapes
    turn_rate = narrow.shapes - narrow_shapes

    # How far field and vertices agree is told by all the disks around.
    around = _neighbours(middles, normals, AGREEMENT_RADIUS * scales[0])
    probe = scale_map.nearest(middles)
    of_turn = _share_of_vertices(
        turn, narrow.normal_variance, scale_map.normal_error[probe], AGREEING_NORMALS, around
    )
    of_bend = _share_of_vertices(
        bend, wide.shape_variance, scale_map.curvature_error[probe], AGREEING_SHAPES, around
    )
    of_bend = np.minimum(of_bend, MOST_OF_SHAPE)

    points = scale_map.points.astype(np.float64)
    ranks = np.arange(1, min(BLENDED_PATCHES, len(middles)) + 1)
    distance, near = cKDTree(middles).query(points, k=ranks, workers=thread_count())
    weights = np.exp(-2 * (distance / (distance[:, -1:] + TINY)) ** 2)
    weights *= (normals[near] * scale_map.normals[:, None]).sum(axis=2) > 0
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), TINY)
    # From the middles on, the normals turn as the shape operators tell.
    away = points[:, None] - middles[near]
    turned = turn[near] + np.einsum("nkij,nkj->nki", turn_rate[near], away)
    return (
        np.einsum("nk,nki->ni", weights * of_turn[near], turned),
        np.einsum("nk,nkij->nij", weights * of_bend[near], bend[near]),
    )


def _neighbours(points: Array, normals: Array, radius: Array) -> csr_array:
    """The sparse (N, N) matrix that averages over the points around, within about a radius (N,)."""
    near, weights = averaging_weights(points, points, radius, AGREEMENT_PATCHES)
    weights *= (normals[near] * normals[:, None]).sum(axis=2) > ALIKE
    weights /= weights.sum(axis=1, keepdims=True)
    return as_matrix(weights, near, len(points))


def _share_of_vertices(
    change: Array,
    variance: Array,
    error: NDArray[np.float32],
    agreeing: tuple[float, float],
    around: csr_array,
) -> Array:
    """How much of a change (N, ...) from field to vertices is to be made, 0 to 1.

    Parameters
    ----------
    variance, error
        (N,) of the vertices' answer, and what the field's is expected to have.
    """
    # Disks with too few vertices tell nothing, neither for nor against.
    known = (variance < UNKNOWN).astype(np.float64)
    weight = np.maximum(around @ known, TINY)
    square = around @ (known * (change**2).reshape(len(change), -1).sum(axis=1)) / weight
    variance = around @ (known * variance) / weight
    of_field = error.astype(np.float64) ** 2 + TINY
    low, high = agreeing
    agreement = np.clip((high - square / (of_field + variance)) / (high - low), 0, 1)
    # How wrong the vertices are is not known better than by how much the two differ.
    share: Array = known * agreement * of_field / (of_field + np.maximum(variance, square))
    return share
