"""Writes the results of a finished job: short operators, so that each has its undo step."""

from __future__ import annotations

import bpy

from .. import session
from ..session import Goal


class _ApplyResults:
    """Mixed into an operator: `goal` says which results, the label is the name of its undo step."""

    goal: Goal
    bl_options = {"UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write what can be written now; the session says why a result could not be."""
        if session.current().write_results(context, self.goal):
            return {"FINISHED"}
        # What is cancelled leaves no undo step, which would take nothing back.
        return {"CANCELLED"}


class ApplySmoothOperator(_ApplyResults, bpy.types.Operator):
    """Write measured normals and curvature"""

    bl_idname = "fairfield.apply_smooth"
    bl_label = "Fairfield Smooth"
    goal = Goal.SMOOTH


class ApplyExtractOperator(_ApplyResults, bpy.types.Operator):
    """Add extracted meshes"""

    bl_idname = "fairfield.apply_extract"
    bl_label = "Fairfield Extract"
    goal = Goal.EXTRACT
