"""Where the surface runs beside the smoothed field's zero set, as a mesh's vertices tell.

The nearest point of a noisy mesh is nearer than the surface, so its distances, and what is smoothed
of them, lean to the outside. The vertices do not: their mean height over the patches of the
smoothed surface is how far that has to be moved. All of them are asked, since patches answer
cheaply: four thousand would leave an error of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .operators.automatic_scale import (
    FEW_VERTICES,
    LARGEST_HEIGHT,
    NOISE_OF_A_SCAN,
    OFFSET_RADIUS,
    ScaleMap,
    averaging_weights,
)
from .progress import ProgressCallback, part, silent
from .surface_patches import LEAST_SHARED, SHARED_SPACING, surface_patches

if TYPE_CHECKING:
    from .field import Field

Array = NDArray[np.float64]

STARTS, VERTICES = 1 << 15, 1 << 17
"""At most, of which patches are laid out, and which are asked; of more, so many at random."""


def with_vertex_offsets(
    field: Field,
    vertices: Array,
    random: np.random.Generator,
    progress: ProgressCallback = silent,
) -> ScaleMap:
    """Return a field's scale map with `offset` by the heights of all (V, 3) vertices, in the cube.

    Where the mesh has no noise, or vertices are too few for patches that they share, it stays as it
    is.
    """
    scale_map = field.scale_map
    noise = float(scale_map.noise[0])
    if noise < NOISE_OF_A_SCAN:
        return scale_map
    vertices = vertices[random.permutation(len(vertices))[:VERTICES]]
    patches = surface_patches(
        field,
        vertices[:STARTS],
        "auto",
        1.0,
        0.0,
        part(progress, 0.0, 0.8),
        spacing_in_scales=SHARED_SPACING,
        least_shared=LEAST_SHARED,
        put_back=False,
    )
    if patches is None:
        return scale_map
    answers = patches.at(vertices, part(progress, 0.8, 1.0))
    limit = LARGEST_HEIGHT * noise
    heights = np.clip(answers.distance[answers.answered], -limit, limit)
    probe = scale_map.nearest(vertices[answers.answered])
    count = len(scale_map.points)
    number, total = np.bincount(probe, minlength=count), np.bincount(probe, heights, count)

    points = scale_map.points.astype(np.float64)
    radius = OFFSET_RADIUS * scale_map.normal_scale.astype(np.float64)
    near, weights = averaging_weights(points, points, radius)
    # Those on the other side of a thin wall have another normal, and no say.
    weights *= (scale_map.normals[near] * scale_map.normals[:, None]).sum(axis=2) > 0
    enough = (weights * number[near]).sum(axis=1)
    mean = (weights * total[near]).sum(axis=1) / np.maximum(enough, 1e-9)
    offset = np.where(enough >= FEW_VERTICES, mean, scale_map.offset)
    return replace(scale_map, offset=offset.astype(np.float32))
