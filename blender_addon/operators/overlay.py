"""Turns the coloured overlay on and off."""

from __future__ import annotations

import bpy

from .. import overlay, sources
from ..quantities import QUANTITIES
from ..sources import SceneError


class OverlayOperator(bpy.types.Operator):
    """Show the chosen quantity as colours in the viewports, or show them as before"""

    bl_idname = "fairfield.overlay"
    bl_label = "Overlay"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Turn the overlay over; turning it on colours the selected meshes."""
        if overlay.is_on(context.screen):
            overlay.turn_off(context.window_manager)
            return {"FINISHED"}
        try:
            self._color_selected(context)
        except SceneError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        overlay.turn_on(context.window_manager)
        return {"FINISHED"}

    def _color_selected(self, context: bpy.types.Context) -> None:
        meshes = {each.data for each in sources.selected_meshes(context)}
        if any(mesh.is_editmode for mesh in meshes):
            raise SceneError("Colours cannot be written in Edit Mode; leave it first.")
        colored = [overlay.color_mesh(mesh, context.scene) for mesh in meshes if mesh.is_editable]
        if not any(colored):
            label = QUANTITIES[context.scene.fairfield.quantity].label.lower()
            raise SceneError(f"The selected meshes have no {label}; click Smooth to measure it.")
