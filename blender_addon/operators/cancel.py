"""Cancels what is under way."""

from __future__ import annotations

import bpy

from .. import session, timer


class CancelOperator(bpy.types.Operator):
    """Cancel what is under way"""

    bl_idname = "fairfield.cancel"
    bl_label = "Cancel"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Ask for the end; the timer sees to it."""
        active = session.current()
        active.queue.cancel()
        if active.installation is not None:
            active.installation.cancel()
        timer.ensure()
        return {"FINISHED"}
