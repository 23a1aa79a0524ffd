"""Edges at which smooth shading ends: the ones of a model from CAD, and those that artists mark."""

from __future__ import annotations

import bpy
import numpy as np


def mark(mesh: bpy.types.Mesh, sharp: np.ndarray) -> None:
    """Mark edges (K, 2), by their vertices."""
    numbers, wanted = (
        each.min(axis=1) * np.int64(len(mesh.vertices)) + each.max(axis=1)
        for each in (_ends(mesh), sharp)
    )
    if len(wanted):
        mesh.edges.foreach_set("use_edge_sharp", np.isin(numbers, wanted))


def marked(mesh: bpy.types.Mesh) -> np.ndarray:
    """Return the marked edges (K, 2), by their vertices."""
    marks = np.empty(len(mesh.edges), np.bool_)
    mesh.edges.foreach_get("use_edge_sharp", marks)
    return _ends(mesh)[marks]


def _ends(mesh: bpy.types.Mesh) -> np.ndarray:
    ends = np.empty((len(mesh.edges), 2), np.int32)
    mesh.edges.foreach_get("vertices", ends.reshape(-1))
    return ends
