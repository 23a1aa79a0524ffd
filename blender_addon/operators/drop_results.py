"""Drops results that wait to be written.

An operator of its own: a second click on Cancel, before the panel is drawn again, is not meant so.
"""

from __future__ import annotations

import bpy

from .. import session, timer


class DropResultsOperator(bpy.types.Operator):
    """Do not write the results that wait for Object Mode"""

    bl_idname = "fairfield.drop_results"
    bl_label = "Drop the Results"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Forget them."""
        session.current().waiting.clear()
        timer.ensure()
        return {"FINISHED"}
