"""Makes the smooth normals the ones that meshes are shaded with."""

from __future__ import annotations

import bpy
import numpy as np

from .. import attributes, sharp_edges, sources
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
    # A zero vector keeps Blender's own normals: where the field had no answer, and where a marked
    # edge parts the faces of a vertex, which one normal would shade across.
    normals = np.nan_to_num(normals)
    normals[sharp_edges.marked(mesh)] = 0
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    # Set by corner: for a vertex, zero stands for one normal between all of its faces.
    mesh.normals_split_custom_set(normals[corners])
    return True
