"""Adds a corrected mesh beside each selected one, fitting it first where needed."""

from __future__ import annotations

import bpy

from ..session import Goal
from .job_operator import JobOperator


class ExtractOperator(JobOperator, bpy.types.Operator):
    """Add a corrected mesh beside each selected one; meshes are fitted first where needed"""

    bl_idname = "fairfield.extract"
    bl_label = "Extract"
    goal = Goal.EXTRACT
