"""Removes the backend that the extension keeps."""

from __future__ import annotations

import bpy

from .installation_operator import InstallationOperator


class RemoveBackendOperator(InstallationOperator, bpy.types.Operator):
    """Remove the installed backend and give its disk space back"""

    bl_idname = "fairfield.remove_backend"
    bl_label = "Remove Backend"
    remove = True
