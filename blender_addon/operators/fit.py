"""Fits a field to each selected mesh."""

from __future__ import annotations

import bpy

from ..session import Goal
from .job_operator import JobOperator


class FitOperator(JobOperator, bpy.types.Operator):
    """Fit a distance field to the selected meshes"""

    bl_idname = "fairfield.fit"
    bl_label = "Fit"
    goal = Goal.FIT
