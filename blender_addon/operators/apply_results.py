"""Writes the results of a finished job: short operators, so that each has its undo step."""

from __future__ import annotations

import bpy

from .. import session


class _ApplyResults:
    """Mixed into an operator; the label is the name of its undo step."""

    bl_options = {"UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write every result that can be written now; the session says why one could not be."""
        if session.current().write_results(context):
            return {"FINISHED"}
        # What is cancelled leaves no undo step, which would take nothing back.
        return {"CANCELLED"}


class ApplySmoothOperator(_ApplyResults, bpy.types.Operator):
    """Write measured normals and curvature"""

    bl_idname = "fairfield.apply_smooth"
    bl_label = "Fairfield Smooth"


class ApplyExtractOperator(_ApplyResults, bpy.types.Operator):
    """Add extracted meshes"""

    bl_idname = "fairfield.apply_extract"
    bl_label = "Fairfield Extract"
