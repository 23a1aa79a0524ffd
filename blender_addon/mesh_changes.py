"""Whether a mesh is still the one that was fitted; cheap enough to ask in every redraw of a panel.

The fingerprint of a mesh of a million vertices takes some 60 ms. So it is kept until Blender says
that the mesh's geometry was touched.
"""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import sources
from .reports import Report

# By the `session_uid` of a mesh.
_digests: dict[int, bytes] = {}


def register() -> None:
    """Follow what happens to meshes from now on."""
    bpy.app.handlers.depsgraph_update_post.append(_forget_touched)
    for handlers in _whole_file():
        handlers.append(_forget_all)


def unregister() -> None:
    """Follow it no more."""
    for handlers in _whole_file():
        handlers.remove(_forget_all)
    bpy.app.handlers.depsgraph_update_post.remove(_forget_touched)
    _digests.clear()


def is_unchanged(blender_object: bpy.types.Object, report: Report) -> bool:
    """Whether an object's mesh, its modifiers and its size are those that a report is about.

    What is edited or sculpted counts when that mode is left, at the latest.
    """
    if not report.placement.is_as_large(blender_object.matrix_world):
        return False
    if sources.modifiers_digest(blender_object) != report.modifiers:
        return False
    mesh = blender_object.data
    if mesh.is_editmode:
        return True
    uid = mesh.session_uid
    if uid not in _digests:
        _digests[uid] = sources.mesh_digest(mesh)
    return _digests[uid] == report.digest


def _whole_file() -> tuple[list[Any], ...]:
    """The handlers of what may exchange every mesh at once."""
    return (
        bpy.app.handlers.undo_post,
        bpy.app.handlers.redo_post,
        bpy.app.handlers.load_post,
    )


@persistent
def _forget_touched(_scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    if not _digests:
        return
    for update in depsgraph.updates:
        # What is named here are evaluated copies, which have no `session_uid` of their own.
        if update.is_updated_geometry and isinstance(update.id, bpy.types.Mesh):
            _digests.pop(update.id.original.session_uid, None)


@persistent
def _forget_all(*_arguments: Any) -> None:
    _digests.clear()
