"""Adds a corrected mesh beside each selected one, or makes one anew that it added before."""

from __future__ import annotations

import bpy

from ..session import Goal
from .job_operator import JobOperator


class ExtractOperator(JobOperator, bpy.types.Operator):
    """Add a corrected mesh beside each selected one; meshes are fitted first where needed. \
A mesh that Extract made is made anew from its source, as long as it was not edited"""

    bl_idname = "fairfield.extract"
    bl_label = "Extract"
    goal = Goal.EXTRACT
