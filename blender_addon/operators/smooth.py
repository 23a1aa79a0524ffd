"""Measures normals and curvature of each selected mesh, fitting it first where needed."""

from __future__ import annotations

import bpy

from ..session import Goal
from .job_operator import JobOperator


class SmoothOperator(JobOperator, bpy.types.Operator):
    """Measure smooth normals and curvature of the selected meshes and colour them, \
fitting them first where needed"""

    bl_idname = "fairfield.smooth"
    bl_label = "Smooth"
    goal = Goal.SMOOTH
