"""Takes the noise out of the field of each selected mesh, fitting it first where needed."""

from __future__ import annotations

import bpy

from ..session import Goal
from .job_operator import JobOperator


class RefineOperator(JobOperator, bpy.types.Operator):
    """Take the fine noise out of the fitted field while the surface stays in place, so that \
Smooth and Extract come out cleaner, most of all on smooth shapes; Fit goes back to the field \
without it"""

    bl_idname = "fairfield.refine"
    bl_label = "Refine"
    goal = Goal.REFINE
