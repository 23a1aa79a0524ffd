"""Makes the smooth normals the ones that meshes are shaded with."""

from __future__ import annotations

import bpy
import numpy as np

from .. import attributes, sources
from ..quantities import SMOOTH_NORMAL
from ..sources import SceneError


class ApplyNormalsOperator(bpy.types.Operator):
    """Shade the selected meshes with their smooth normals"""

    bl_idname = "fairfield.apply_normals"
    bl_label = "Use Smooth Normals"
    bl_options = {"UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set custom normals from the attribute."""
        try:
            meshes = {each.data for each in sources.selected_meshes(context)}
            set_meshes = [_set_normals(mesh) for mesh in meshes]
            if not any(set_meshes):
                raise SceneError(
                    "The selected meshes have no smooth normals; click Smooth to measure them."
                )
        except SceneError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}


def _set_normals(mesh: bpy.types.Mesh) -> bool:
    """Set custom normals from the attribute; return whether the mesh has it."""
    if mesh.is_editmode:
        raise SceneError(f"'{mesh.name}' is in Edit Mode; leave it to set its normals.")
    normals = attributes.read(mesh, SMOOTH_NORMAL)
    if normals is None or not mesh.is_editable:
        return False
    mesh.shade_smooth()
    # A zero vector keeps Blender's own normal, where the field had no answer.
    mesh.normals_split_custom_set_from_vertices(np.nan_to_num(normals).tolist())
    return True
