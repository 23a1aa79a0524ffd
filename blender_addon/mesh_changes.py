"""Whether a mesh is still the one that was fitted; cheap enough to ask in every redraw of a panel.

The fingerprint of a mesh of a million vertices takes some 40 ms. So it is kept until Blender says
that the mesh's geometry was touched.
"""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import attributes, sources
from .units import Placement

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


def is_unchanged(blender_object: bpy.types.Object, digest: bytes, placement: Placement) -> bool:
    """Whether an object's base mesh and its size are those of a `Source` with these.

    What is edited or sculpted counts when that mode is left, at the latest.
    """
    if not placement.is_as_large(blender_object.matrix_world):
        return False
    mesh = blender_object.data
    if mesh.is_editmode:
        return True
    uid = mesh.session_uid
    if uid not in _digests:
        _digests[uid] = sources.digest_of(attributes.vertices_of(mesh))
    return _digests[uid] == digest


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
