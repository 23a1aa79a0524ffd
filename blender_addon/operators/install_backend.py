"""Installs the backend that the extension keeps."""

from __future__ import annotations

import bpy

from .installation_operator import InstallationOperator


class InstallBackendOperator(InstallationOperator, bpy.types.Operator):
    """Download and install the backend's own Python packages, apart from Blender's"""

    bl_idname = "fairfield.install_backend"
    bl_label = "Install Backend"
    remove = False
