"""What Extract made: of which object, and whether it is still as it was made.

As long as it is, another Extract of it means its source: from the same field, with other settings.
Once it was edited, it is a mesh like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import bpy
import numpy as np

from . import sharp_edges, sources
from .messages import Message
from .quantities import COLOR, DIRECTIONS, SCALARS
from .sources import Source

# On an object that Extract made: the name of its source, and the fingerprints of both meshes.
KEY = "fairfield_extracted"

# What may be on a mesh that nobody has edited. Flat shading and custom normals are a click each,
# and sharp edges are counted.
_OWN = {"position", "sharp_face", "sharp_edge", "custom_normal", COLOR, *SCALARS, *DIRECTIONS}
# Names with a dot are Blender's own, as for what is selected; these hold what somebody has made.
_HIDDEN_WORK = {".uv_seam", ".sculpt_mask", ".sculpt_face_set"}
# Blender also stores these where all of them are zero.
_WORK_UNLESS_ZERO = {"material_index": np.int32}

# The source of an object, both by `session_uid`: a name is enough for later sessions only, since a
# pointer to the object would keep one that is deleted in the file.
_origins: dict[int, int] = {}


def mark(made: bpy.types.Object, origin: bpy.types.Object, digest: bytes) -> None:
    """Note of which object, and with which mesh, an object was made."""
    made[KEY] = {
        "source": origin.name,
        "source_mesh": sources.mesh_digest(origin.data).hex(),
        "mesh": digest.hex(),
        "sharp_edges": len(sharp_edges.marked(made.data)),
    }
    _origins[made.session_uid] = origin.session_uid


def is_untouched(blender_object: bpy.types.Object) -> bool:
    """Whether an object is of Extract, and has the mesh that it was made with and no more on it."""
    if blender_object.type != "MESH" or KEY not in blender_object or blender_object.mode == "EDIT":
        return False
    if _has_work(blender_object):
        return False
    return blender_object[KEY]["mesh"] == sources.mesh_digest(blender_object.data).hex()


def origin_of(made: bpy.types.Object) -> bpy.types.Object | None:
    """Return the source of an object that Extract made; None if it is gone.

    A name alone may be another object's by now, so in later sessions the mesh must be the same too.
    """
    if made.session_uid in _origins:
        origin = sources.find_object(_origins[made.session_uid])
    else:
        origin = bpy.data.objects.get(made[KEY]["source"])
        if origin is not None and not _has_source_mesh(origin, made):
            return None
    is_there = origin is not None and origin.type == "MESH" and origin.users_scene
    return origin if is_there and origin != made else None


def read_selected(context: bpy.types.Context, units: str) -> tuple[list[Source], list[Message]]:
    """As `sources.read_selected`, but read the source of what Extract made.

    Raises
    ------
    SceneError
        If no mesh is selected.
    """
    chosen: dict[bpy.types.Object, list[bpy.types.Object]] = {}
    problems = []
    orphans = {}
    for each in sources.selected_meshes(context):
        if not is_untouched(each):
            chosen.setdefault(each, [])
            continue
        origin = origin_of(each)
        if origin is None:
            chosen.setdefault(each, [])
            orphans[each.session_uid] = (
                f"{each.name}: its source '{each[KEY]['source']}' is gone or has another mesh by "
                "now, so the extracted mesh itself was fitted."
            )
        else:
            chosen.setdefault(origin, []).append(each)
    with _shown(chosen, context):
        for origin, made in list(chosen.items()):
            if made and not origin.visible_get(view_layer=context.view_layer):
                del chosen[origin]
                problems += [
                    Message(
                        f"{each.name}: its source '{origin.name}' is not shown in this view layer; "
                        "show it to extract it again.",
                        (each.session_uid,),
                    )
                    for each in made
                ]
        found, others = sources.read(context, list(chosen), units)
    made_of = {origin.session_uid: made for origin, made in chosen.items()}
    for source in found:
        for uid in source.objects:
            source.replaces.extend(each.session_uid for each in made_of[uid])
            if uid in orphans:
                source.warnings.append(orphans[uid])
    return found, problems + others


def _has_source_mesh(candidate: bpy.types.Object, made: bpy.types.Object) -> bool:
    if candidate.type != "MESH":
        return False
    return sources.mesh_digest(candidate.data).hex() == made[KEY].get("source_mesh")


def _has_work(blender_object: bpy.types.Object) -> bool:
    """Whether somebody has put on a mesh what another mesh would not have, as UVs or weights."""
    mesh = blender_object.data
    if mesh.shape_keys is not None or len(blender_object.vertex_groups):
        return True
    if any(modifier.type == "MULTIRES" for modifier in blender_object.modifiers):
        return True  # what is sculpted with it is on the mesh
    if len(sharp_edges.marked(mesh)) != blender_object[KEY].get("sharp_edges", 0):
        return True
    return any(_is_work(attribute) for attribute in mesh.attributes)


def _is_work(attribute: bpy.types.Attribute) -> bool:
    if attribute.name in _WORK_UNLESS_ZERO:
        values: np.ndarray = np.empty(len(attribute.data), _WORK_UNLESS_ZERO[attribute.name])
        attribute.data.foreach_get("value", values)
        return bool(values.any())
    if attribute.name.startswith("."):
        return attribute.name in _HIDDEN_WORK
    return attribute.name not in _OWN


@contextmanager
def _shown(objects: Iterable[bpy.types.Object], context: bpy.types.Context) -> Iterator[None]:
    """Show objects that Extract has hidden for a while: modifiers count on visible ones only."""
    present = context.view_layer.objects
    hidden = [each for each in objects if each.name in present and each.hide_get()]
    for each in hidden:
        each.hide_set(False)
    try:
        yield
    finally:
        for each in hidden:
            each.hide_set(True)
