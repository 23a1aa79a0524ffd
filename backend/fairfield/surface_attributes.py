"""The vertex attributes that artists see: their names, and where each comes from.

The names are the contract with the Blender extension, with PLY files and with glTF.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .jets import Jets
from .smoothing import SurfaceJets


def surface_attributes(jets: Jets) -> dict[str, NDArray[np.float32]]:
    """Return N rows of each attribute, float32, NaN where there is no answer."""
    columns = {
        "smooth_normal": jets.normals,
        "mean_curvature": jets.mean_curvature,
        "gaussian_curvature": jets.gaussian_curvature,
        "curvature_max": jets.principal_curvatures[:, 0],
        "curvature_min": jets.principal_curvatures[:, 1],
        "curvedness": jets.curvedness,
        "shape_index": jets.shape_index,
        "curvature_max_direction": jets.principal_directions[:, 0],
    }
    if isinstance(jets, SurfaceJets):  # jets of points that may lie off the surface
        columns["deviation"] = jets.deviation
    return {name: np.ascontiguousarray(column, np.float32) for name, column in columns.items()}
