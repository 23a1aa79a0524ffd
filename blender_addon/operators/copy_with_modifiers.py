"""Copies objects with their modifiers applied, so that what is seen is what is measured."""

from __future__ import annotations

import bpy

from .. import results, sources
from ..sources import SceneError

SUFFIX = " Applied"


class CopyWithModifiersOperator(bpy.types.Operator):
    """Copy the selected objects with modifiers and shape keys applied, and select the copies"""

    bl_idname = "fairfield.copy_with_modifiers"
    bl_label = "Copy with Modifiers Applied"
    bl_options = {"UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the copies."""
        if context.mode != "OBJECT":
            self.report({"ERROR"}, "Objects are copied in Object Mode; switch to it first.")
            return {"CANCELLED"}
        try:
            originals = sources.selected_meshes(context)
        except SceneError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        depsgraph = context.evaluated_depsgraph_get()
        copies = [_copy(original, depsgraph) for original in originals]
        for original, copy in zip(originals, copies, strict=True):
            results.link_beside(copy, original, context)
        results.select_only(copies, context)
        return {"FINISHED"}


def _copy(original: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> bpy.types.Object:
    mesh = bpy.data.meshes.new_from_object(
        original.evaluated_get(depsgraph), preserve_all_data_layers=True, depsgraph=depsgraph
    )
    copy = original.copy()
    copy.modifiers.clear()
    copy.data = mesh
    copy.name = mesh.name = original.name + SUFFIX
    return copy
