"""Reading and choosing the objects of a test's scene."""

from __future__ import annotations

from hashlib import blake2b

import bmesh
import bpy
import numpy as np


def select(*objects: bpy.types.Object) -> None:
    """Make these the selection and the last one active."""
    for each in bpy.context.selected_objects:
        each.select_set(False)
    for each in objects:
        each.select_set(True)
    bpy.context.view_layer.objects.active = objects[-1] if objects else None


def delete_a_face(mesh: bpy.types.Mesh) -> None:
    """Delete one face and no vertex of a mesh."""
    editor = bmesh.new()
    editor.from_mesh(mesh)
    editor.faces.ensure_lookup_table()
    editor.faces.remove(editor.faces[40])
    editor.to_mesh(mesh)
    editor.free()


def positions(owner: bpy.types.Object) -> np.ndarray:
    """Return the (V, 3) local coordinates of an object's mesh."""
    flat = np.empty(len(owner.data.vertices) * 3, np.float32)
    owner.data.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3)


def fingerprint() -> dict[str, object]:
    """Return all of the open file that Fairfield could spoil; equal before and after if it did not.

    Objects with their place and their material slots, meshes with every attribute's bytes.
    """
    objects = {
        each.name: (
            each.type,
            each.data.name if each.data is not None else None,
            [tuple(row) for row in each.matrix_world],
            each.mode,
            each.select_get(),
            each.hide_get(),
        )
        for each in bpy.context.scene.objects
    }
    return {"objects": objects, "meshes": {each.name: _digest(each) for each in bpy.data.meshes}}


def _digest(mesh: bpy.types.Mesh) -> object:
    if mesh.is_editmode:
        return None  # its attributes belong to the editor now
    digests = {}
    for attribute in mesh.attributes:
        values = [
            tuple(getattr(entry, field)) if field in ("vector", "color") else getattr(entry, field)
            for entry in attribute.data
            for field in ("value", "vector", "color")
            if hasattr(entry, field)
        ]
        text = repr((attribute.data_type, attribute.domain, values))
        digests[attribute.name] = blake2b(text.encode(), digest_size=8).hexdigest()
    return len(mesh.vertices), len(mesh.polygons), digests
