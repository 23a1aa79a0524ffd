"""From the scene to arrays: what is read of the selected objects when a button is clicked."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from math import isclose
from typing import Any

import bpy
import numpy as np

from .attributes import vertices_of
from .messages import Message
from .units import EVEN, Placement

# Modifiers that leave every vertex where it is.
_HARMLESS_MODIFIERS = {
    "DATA_TRANSFER",
    "NORMAL_EDIT",
    "UV_PROJECT",
    "UV_WARP",
    "VERTEX_WEIGHT_EDIT",
    "VERTEX_WEIGHT_MIX",
    "VERTEX_WEIGHT_PROXIMITY",
    "WEIGHTED_NORMAL",
}

# How the settings of a modifier begin that do not move what the viewport shows.
_UNSEEN = ("open_", "render_", "sculpt_levels", "show_group_selector", "show_only_control_edges")


class SceneError(Exception):
    """What the artist asked for cannot be done here; the message is one sentence."""


@dataclass(frozen=True)
class Source:
    """One mesh of the scene as it was when the artist clicked.

    Parameters
    ----------
    name
        The first object's name.
    objects
        `session_uid` of every selected object that this mesh and its field serve.
    modifiers
        Of each of them, what `modifiers_digest` returned.
    mesh
        `session_uid` of the base mesh, which takes the attributes.
    vertices, triangles
        (V, 3) and (F, 3) int32: the evaluated mesh in fitted coordinates.
    points
        (N, 3): the base mesh's own vertices in fitted coordinates.
    placement
        From local to fitted coordinates.
    digest
        Of the base mesh, to notice that it has changed since.
    warnings
        Sentences for the artist.
    replaces
        `session_uid` of objects that were extracted of these before, whose meshes give way to the
        next one.
    """

    name: str
    objects: list[int]
    modifiers: list[bytes]
    mesh: int
    vertices: np.ndarray
    triangles: np.ndarray
    points: np.ndarray
    placement: Placement
    digest: bytes
    warnings: list[str] = field(default_factory=list)
    replaces: list[int] = field(default_factory=list)


def read_selected(context: bpy.types.Context, units: str) -> tuple[list[Source], list[Message]]:
    """Read every selected mesh; return the sources and a sentence for each that has none.

    Parameters
    ----------
    units
        "local" or "world".

    Raises
    ------
    SceneError
        If no mesh is selected.
    """
    return read(context, selected_meshes(context), units)


def read(
    context: bpy.types.Context, objects: list[bpy.types.Object], units: str
) -> tuple[list[Source], list[Message]]:
    """Read mesh objects; return the sources and a sentence for each object that has none."""
    sources: list[Source] = []
    problems: list[Message] = []
    depsgraph = context.evaluated_depsgraph_get()
    for blender_object in objects:
        try:
            source = _read(blender_object, depsgraph, units)
            if not _joined(source, sources):
                sources.append(source)
        except SceneError as problem:
            problems.append(Message(str(problem), (blender_object.session_uid,)))
    return sources, problems


def selected_meshes(context: bpy.types.Context) -> list[bpy.types.Object]:
    """Return the selected mesh objects.

    Raises
    ------
    SceneError
        If there is none.
    """
    selected = list(context.selected_objects)
    if not selected:
        raise SceneError("Nothing is selected; select a mesh object first.")
    meshes = [each for each in selected if each.type == "MESH"]
    if not meshes:
        kind = selected[0].type.replace("_", " ").lower()
        raise SceneError(
            f"'{selected[0].name}' is not a mesh but of type {kind}; select a mesh object."
        )
    return meshes


def changes_geometry(blender_object: bpy.types.Object) -> bool:
    """Whether what the artist sees of an object is not its base mesh; cheap, for the panel."""
    if any(_may_move_vertices(modifier) for modifier in blender_object.modifiers):
        return True
    keys = blender_object.data.shape_keys
    return keys is not None and any(block.value != 0.0 for block in keys.key_blocks[1:])


def modifiers_sentence(name: str) -> str:
    """What the artist is told where `changes_geometry` is so."""
    return (
        f"{name}: modifiers or shape keys change the geometry; the values are those of the "
        "final surface next to each vertex of the base mesh."
    )


def find_object(uid: int) -> bpy.types.Object | None:
    """Return the object with this `session_uid`, or None if it is gone."""
    return next((each for each in bpy.data.objects if each.session_uid == uid), None)


def find_mesh(uid: int) -> bpy.types.Mesh | None:
    """Return the mesh with this `session_uid`, or None if it is gone."""
    return next((each for each in bpy.data.meshes if each.session_uid == uid), None)


def mesh_digest(mesh: bpy.types.Mesh) -> bytes:
    """Return a short fingerprint of vertices and faces."""
    corners = np.empty(len(mesh.loops), np.int32)
    stored = mesh.attributes.get(".corner_vert")
    if stored is not None:  # a hundred times as fast; Edit Mode has none
        stored.data.foreach_get("value", corners)
    else:
        mesh.loops.foreach_get("vertex_index", corners)
    digest = blake2b(f"{len(mesh.polygons)} faces".encode(), digest_size=16)
    for table in (vertices_of(mesh), corners):
        digest.update(table.data)
    return digest.digest()


def modifiers_digest(blender_object: bpy.types.Object) -> bytes:
    """Return a short fingerprint of what `changes_geometry` is about; cheap, for the panel.

    Of other objects and of node groups that a modifier uses, only which ones they are counts; what
    lies deeper, as curves and weights, and the coordinates of shape keys do not.
    """
    told: list[object] = [
        (modifier.type, _settings_of(modifier))
        for modifier in blender_object.modifiers
        if _may_move_vertices(modifier)
    ]
    keys = blender_object.data.shape_keys
    if keys is not None:
        told += [
            (number, block.value, block.mute)
            for number, block in enumerate(keys.key_blocks[1:])
            if block.value != 0.0
        ]
        if blender_object.show_only_shape_key:
            told.append(blender_object.active_shape_key_index)
    return blake2b(repr(told).encode(), digest_size=16).digest()


def _may_move_vertices(modifier: bpy.types.Modifier) -> bool:
    return modifier.show_viewport and modifier.type not in _HARMLESS_MODIFIERS


def _settings_of(modifier: bpy.types.Modifier) -> list[object]:
    """The settings of a modifier as plain values, without those that all modifiers have."""
    common = bpy.types.Modifier.bl_rna.properties.keys()
    values = [
        getattr(modifier, setting.identifier)
        for setting in modifier.bl_rna.properties
        if setting.identifier not in common
        and not setting.is_readonly
        and not setting.identifier.startswith(_UNSEEN)
    ]
    if modifier.type == "NODES":  # its group's inputs
        values += modifier.items()
    return [_plain(value) for value in values]


def _plain(value: Any) -> object:
    """A value that has the same text as long as it is the same."""
    if isinstance(value, bpy.types.ID):
        return value.session_uid
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return value if isinstance(value, (str, int, float)) else None
    return [_plain(each) for each in value]


def _read(blender_object: bpy.types.Object, depsgraph: bpy.types.Depsgraph, units: str) -> Source:
    name = blender_object.name
    mesh = blender_object.data
    if not mesh.is_editable:
        raise SceneError(
            f"{name}: the mesh is linked from another file and takes no attributes; make it local "
            "with Object > Relations > Make Local."
        )
    if blender_object.mode == "EDIT":
        blender_object.update_from_editmode()
    base = vertices_of(mesh)
    evaluated_vertices, triangles = _evaluated(blender_object, depsgraph)
    if not len(evaluated_vertices):
        raise SceneError(f"{name}: the mesh has no vertices; there is nothing to fit.")
    if not len(triangles):
        raise SceneError(
            f"{name}: the mesh has vertices but no faces; add faces, for instance with "
            "Mesh > Convex Hull or Edge > New Face."
        )
    placement = Placement.in_units(units, blender_object.matrix_world)
    if placement.singular:
        raise SceneError(
            f"{name}: the object's scale is zero along an axis, so it has no volume in world "
            "units; set a scale other than zero or choose local units."
        )
    warnings = []
    if len(base) != len(evaluated_vertices) or not np.array_equal(
        base, evaluated_vertices, equal_nan=True
    ):
        warnings.append(modifiers_sentence(name))
    return Source(
        name=name,
        objects=[blender_object.session_uid],
        modifiers=[modifiers_digest(blender_object)],
        mesh=mesh.session_uid,
        vertices=placement.place(evaluated_vertices),
        triangles=placement.orient(triangles),
        points=placement.place(base),
        placement=placement,
        digest=mesh_digest(mesh),
        warnings=warnings,
    )


def _evaluated(
    blender_object: bpy.types.Object, depsgraph: bpy.types.Depsgraph
) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (V, 3) float32 and triangles (F, 3) int32 with modifiers applied."""
    evaluated = blender_object.evaluated_get(depsgraph)
    mesh = evaluated.to_mesh()
    try:
        mesh.calc_loop_triangles()
        triangles = np.empty((len(mesh.loop_triangles), 3), np.int32)
        mesh.loop_triangles.foreach_get("vertices", triangles.reshape(-1))
        return vertices_of(mesh), triangles
    finally:
        evaluated.to_mesh_clear()


def _joined(source: Source, others: list[Source]) -> bool:
    """Whether the source's object could join one that has the same base mesh.

    Raises
    ------
    SceneError
        If two objects need different values on the one mesh that they share.
    """
    for other in others:
        if other.mesh != source.mesh:
            continue
        is_as_large = isclose(other.placement.unit, source.placement.unit, rel_tol=EVEN)
        if is_as_large and np.array_equal(other.vertices, source.vertices, equal_nan=True):
            other.objects.extend(source.objects)
            other.modifiers.extend(source.modifiers)
            return True
        raise SceneError(
            f"{source.name}: the mesh is shared with {other.name} but looks different there, and "
            "can hold one set of values only; use Object > Relations > Make Single User."
        )
    return False
