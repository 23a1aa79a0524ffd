"""Reading and choosing the objects of a test's scene."""

from __future__ import annotations

import bpy
import numpy as np


def select(*objects: bpy.types.Object) -> None:
    """Make these the selection and the last one active."""
    for each in bpy.context.selected_objects:
        each.select_set(False)
    for each in objects:
        each.select_set(True)
    bpy.context.view_layer.objects.active = objects[-1] if objects else None


def positions(owner: bpy.types.Object) -> np.ndarray:
    """Return the (V, 3) local coordinates of an object's mesh."""
    flat = np.empty(len(owner.data.vertices) * 3, np.float32)
    owner.data.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3)
