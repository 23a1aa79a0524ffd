"""From arrays to the scene: what is written when a job is done."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from . import attributes, extractions, overlay, sharp_edges, sources
from .client.jobs import Job
from .sources import SceneError, Source

EXTRACTED_SUFFIX = " Fairfield"


@dataclass(frozen=True)
class Work:
    """A job and the mesh of the scene that it serves."""

    source: Source
    job: Job


def write_smoothed(work: Work, scene: bpy.types.Scene) -> None:
    """Write the quantities of a smoothed mesh as attributes, and colour it.

    Raises
    ------
    SceneError
        If the mesh is gone or was changed, or an object with it was scaled; then nothing is
        written.
    """
    source, smoothed = work.source, work.job.smoothed
    assert smoothed is not None
    mesh = sources.find_mesh(source.mesh)
    if mesh is None or not any(each.data == mesh for each in _objects(source)):
        raise SceneError(
            f"{source.name}: the object was deleted meanwhile, so its result is dropped."
        )
    if sources.mesh_digest(mesh) != source.digest:
        raise SceneError(
            f"{source.name}: the mesh was changed meanwhile, so nothing is written; click Smooth "
            "again."
        )
    _refuse_other_sizes(source, [each for each in _objects(source) if each.data == mesh], "Smooth")
    attributes.write_quantities(mesh, smoothed.arrays, source.placement)
    overlay.color_mesh(mesh, scene)


def add_extracted(work: Work, context: bpy.types.Context) -> list[bpy.types.Object]:
    """Add the extracted mesh beside each object that it serves; return the objects that have it.

    What was extracted of an object before, and is still as it was, takes the mesh instead and keeps
    its materials; in world units only if it is as large as the object.

    Raises
    ------
    SceneError
        If the objects are gone, or one was scaled.
    """
    source, extracted = work.source, work.job.extracted
    assert extracted is not None
    originals = _objects(source)
    if not originals:
        raise SceneError(
            f"{source.name}: the object was deleted meanwhile, so its result is dropped."
        )
    _refuse_other_sizes(source, originals, "Extract")
    placement = source.placement
    mesh = new_mesh(
        originals[0].name + EXTRACTED_SUFFIX,
        placement.bring_back(extracted.arrays["vertices"]),
        placement.orient(extracted.arrays["triangles"]),
    )
    sharp_edges.mark(mesh, extracted.arrays["sharp_edges"])
    attributes.write_quantities(mesh, extracted.arrays, placement)
    overlay.color_mesh(mesh, context.scene)
    digest = sources.mesh_digest(mesh)
    found = (sources.find_object(uid) for uid in source.replaces)
    earlier = [each for each in found if each is not None and _can_take(each, source)]
    dressed: dict[tuple[bpy.types.Material | None, ...], bpy.types.Mesh] = {}
    added = []
    for original in originals:
        own = [each for each in earlier if extractions.origin_of(each) == original]
        for each in own:
            _exchange_mesh(each, _dressed_like(each, mesh, dressed))
        made = own or [_place_beside(original, _dressed_like(original, mesh, dressed), context)]
        for each in made:
            extractions.mark(each, original, digest)
        added += made
    if context.scene.fairfield.hide_source:
        for original in originals:
            if original.name in context.view_layer.objects:
                original.hide_set(True)
    return added


def new_mesh(name: str, vertices: np.ndarray, triangles: np.ndarray) -> bpy.types.Mesh:
    """Return a new smooth-shaded mesh of (V, 3) local coordinates and (F, 3) triangles."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(vertices, np.float32).reshape(-1))
    mesh.loops.add(triangles.size)
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(triangles, np.int32).reshape(-1))
    mesh.polygons.add(len(triangles))
    mesh.polygons.foreach_set("loop_start", np.arange(0, triangles.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    return mesh


def select_only(objects: list[bpy.types.Object], context: bpy.types.Context) -> None:
    """Make these the selection, and the last of them the active object."""
    for each in list(context.selected_objects):
        each.select_set(False)
    present = [each for each in objects if each.name in context.view_layer.objects]
    for each in present:
        each.select_set(True)
    if present:
        context.view_layer.objects.active = present[-1]


def link_beside(
    copy: bpy.types.Object, original: bpy.types.Object, context: bpy.types.Context
) -> None:
    """Put an object into the collections of another one, or where that is not possible, here."""
    collections = [each for each in original.users_collection if each.library is None]
    for collection in collections or [context.collection]:
        collection.objects.link(copy)


def _objects(source: Source) -> list[bpy.types.Object]:
    found = (sources.find_object(uid) for uid in source.objects)
    return [each for each in found if each is not None]


def _refuse_other_sizes(source: Source, users: list[bpy.types.Object], button: str) -> None:
    """Values in world units are those of the size that the objects had at the click."""
    if not all(source.placement.is_as_large(each.matrix_world) for each in users):
        raise SceneError(
            f"{source.name}: the object was scaled meanwhile, so nothing is written; click "
            f"{button} again."
        )


def _can_take(earlier: bpy.types.Object, source: Source) -> bool:
    """Whether an object of Extract can have the new mesh: nothing is lost, and values are right."""
    is_as_large = source.placement.is_as_large(earlier.matrix_world)
    return is_as_large and extractions.is_untouched(earlier)


def _dressed_like(
    owner: bpy.types.Object,
    mesh: bpy.types.Mesh,
    dressed: dict[tuple[bpy.types.Material | None, ...], bpy.types.Mesh],
) -> bpy.types.Mesh:
    """Return the mesh with an object's materials: the first time itself, for others a copy.

    Parameters
    ----------
    dressed
        The meshes that there are by now, by their materials.
    """
    materials = tuple(owner.data.materials)
    if materials not in dressed:
        own = mesh.copy() if dressed else mesh
        own.materials.clear()
        for material in materials:
            own.materials.append(material)
        dressed[materials] = own
    return dressed[materials]


def _exchange_mesh(owner: bpy.types.Object, mesh: bpy.types.Mesh) -> None:
    """Give an object another mesh, which takes the name of the former if nobody else has that."""
    former = owner.data
    owner.data = mesh
    if not former.users:
        name = former.name
        bpy.data.meshes.remove(former)
        mesh.name = name


def _place_beside(
    original: bpy.types.Object, mesh: bpy.types.Mesh, context: bpy.types.Context
) -> bpy.types.Object:
    """Add an object with the mesh, standing exactly where the original stands."""
    added = bpy.data.objects.new(original.name + EXTRACTED_SUFFIX, mesh)
    link_beside(added, original, context)
    added.parent = original.parent
    added.parent_type = original.parent_type
    added.parent_bone = original.parent_bone
    added.matrix_parent_inverse = original.matrix_parent_inverse
    added.rotation_mode = original.rotation_mode
    for channel in (
        "location",
        "rotation_euler",
        "rotation_quaternion",
        "rotation_axis_angle",
        "scale",
        "delta_location",
        "delta_rotation_euler",
        "delta_rotation_quaternion",
        "delta_scale",
    ):
        setattr(added, channel, getattr(original, channel))
    context.view_layer.update()
    if not np.allclose(added.matrix_world, original.matrix_world, rtol=1e-5, atol=1e-6):
        # Constraints hold the original in place; the copy stands there by its own transform.
        added.matrix_world = original.matrix_world
    return added
