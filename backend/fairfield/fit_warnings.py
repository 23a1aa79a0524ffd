"""Sentences on a mesh whose field may not be what the user expects."""

from __future__ import annotations

import numpy as np

from .distance import SignedDistance
from .mesh import TriangleMesh
from .normalization import Normalization

LOOKED_AT = 2000
"""Triangles, drawn by area, that tell where the surface is."""
MOST, FAR = 0.95, 10.0
"""Share of the surface in a box that is so many times smaller than the mesh, from which on what is
outside is too far away: the field has cells of one size."""
THIN, LOST = 0.06, 0.01
"""Thickness (in the cube) of what may be too thin, and share of places near the surface where the
field is on its wrong side that tells that it is. Noise has the field on its wrong side as well."""


def fit_warnings(
    distance: SignedDistance, normalization: Normalization, wrong_side: float, preset: str
) -> list[str]:
    """Return what to tell of a (repaired) mesh in the cube.

    Parameters
    ----------
    wrong_side
        Share of places near the surface where the field has another sign than the distance.
    """
    mesh, sentences = distance.surface, []
    if distance.sheet is not None:
        sentences.append(
            "The mesh is an open sheet: the side that its faces point to was taken as outside, and "
            "Extract ends at its rim. Close it, or give it thickness, if it is to be solid."
        )
    if distance.faces_inward:
        sentences.append(
            "The faces point inward; the field was fitted as if they pointed outward. "
            "Recalculate the normals to silence this."
        )
    size = float(np.ptp(mesh.vertices, axis=0).max())
    times = size / max(_size_of_most(mesh), 1e-12 * size)
    if times >= FAR:
        sentences.append(
            f"Nearly all of the surface lies within a box {times:.0f} times smaller than the mesh: "
            "pieces far away make its field as many times coarser. Delete them, or fit the parts "
            "apart."
        )
    thickness = 2 * abs(mesh.volume()) / mesh.cumulative_area[-1]
    if distance.sheet is None and thickness < THIN and wrong_side > LOST:
        or_finer = "" if preset == "fine" else ", or fit it with 'fine'"
        sentences.append(
            f"The mesh is about {thickness * normalization.unit:.2g} units thick, which is too "
            f"thin for this field: at {wrong_side:.0%} of places near the surface it has inside "
            f"and outside mixed up. Give it more thickness{or_finer}."
        )
    return sentences


def _size_of_most(mesh: TriangleMesh) -> float:
    """The largest side of a box that has most of the surface, but for as much on each side."""
    chosen = mesh.spread_by_area(LOOKED_AT)
    places = mesh.vertices[mesh.triangles[chosen]].mean(axis=1)
    low, high = np.quantile(places, [(1 - MOST) / 2, (1 + MOST) / 2], axis=0)
    return float((high - low).max())
