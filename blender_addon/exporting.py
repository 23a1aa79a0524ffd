"""Export to PLY and glTF through Blender's own exporters, attributes included.

Copies of the evaluated meshes are exported, and the scene stays as it is. In the copies directions
turn with the geometry into the file's axes, and for glTF, which keeps only attributes whose names
begin with an underscore, they are renamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np

from . import attributes
from .quantities import DIRECTIONS, SCALARS
from .sources import SceneError
from .units import Placement

PLY, GLB = "PLY", "GLB"
SUFFIXES = {PLY: ".ply", GLB: ".glb"}


def export(
    context: bpy.types.Context, objects: list[bpy.types.Object], path: Path, file_format: str
) -> None:
    """Write mesh objects to one file.

    Parameters
    ----------
    path
        The file, which is replaced if it exists.
    file_format
        `PLY` or `GLB`.

    Raises
    ------
    SceneError
        If the file cannot be written.
    """
    if not path.parent.is_dir():
        raise SceneError(f"The folder '{path.parent}' does not exist; choose another one.")
    with _exported_copies(context, objects, file_format):
        try:
            if file_format == PLY:
                bpy.ops.wm.ply_export(
                    filepath=str(path),
                    export_selected_objects=True,
                    export_normals=True,
                    export_attributes=True,
                    export_colors="SRGB",
                )
            else:
                bpy.ops.export_scene.gltf(
                    filepath=str(path),
                    export_format="GLB",
                    use_selection=True,
                    export_attributes=True,
                )
        except RuntimeError as problem:
            raise SceneError(f"'{path}' could not be written: {problem}".rstrip()) from None


@contextmanager
def _exported_copies(
    context: bpy.types.Context, objects: list[bpy.types.Object], file_format: str
) -> Iterator[None]:
    """Have copies of the objects as the selection, under the objects' names, for a while."""
    view_layer = context.view_layer
    selected = list(context.selected_objects)
    active = view_layer.objects.active
    names = [each.name for each in objects]
    copies: list[bpy.types.Object] = []
    try:
        depsgraph = context.evaluated_depsgraph_get()
        for original in objects:
            copy = _copy(original, depsgraph, file_format)
            copies.append(copy)
            context.scene.collection.objects.link(copy)
        for original, copy, name in zip(objects, copies, names, strict=True):
            if original.is_editable:
                original.name = name + " (original)"
                copy.name = name
        for each in selected:
            each.select_set(False)
        for copy in copies:
            copy.select_set(True)
        view_layer.objects.active = copies[0]
        yield
    finally:
        for copy in copies:
            bpy.data.meshes.remove(copy.data)  # takes the object with it
        for original, name in zip(objects, names, strict=True):
            if original.is_editable:
                original.name = name
        for each in selected:
            each.select_set(True)
        view_layer.objects.active = active


def _copy(
    original: bpy.types.Object, depsgraph: bpy.types.Depsgraph, file_format: str
) -> bpy.types.Object:
    evaluated = original.evaluated_get(depsgraph)
    mesh = bpy.data.meshes.new_from_object(
        evaluated, preserve_all_data_layers=True, depsgraph=depsgraph
    )
    _fill_unanswered(mesh)
    copy = bpy.data.objects.new(original.name, mesh)
    if file_format == PLY:
        # A PLY file has no transforms: geometry and directions are turned alike.
        placement = Placement(np.array(original.matrix_world.to_3x3(), np.float64))
        _turn_directions(mesh, placement)
        mesh.transform(original.matrix_world)
        if placement.mirrors:
            mesh.flip_normals()
    else:
        copy.matrix_world = original.matrix_world
        _rename_for_gltf(mesh)
    return copy


def _fill_unanswered(mesh: bpy.types.Mesh) -> None:
    """Put 0 where there is no answer: glTF allows no NaN, and few programs expect one."""
    for name in (*SCALARS, *DIRECTIONS):
        values = attributes.read(mesh, name)
        if values is not None and not np.isfinite(values).all():
            kind = "FLOAT" if values.ndim == 1 else "FLOAT_VECTOR"
            attributes.write(mesh, name, kind, np.nan_to_num(values, posinf=0.0, neginf=0.0))


def _turn_directions(mesh: bpy.types.Mesh, placement: Placement) -> None:
    if placement.singular:
        return
    normal, tangent = DIRECTIONS
    values = attributes.read(mesh, normal)
    if values is not None:
        attributes.write(mesh, normal, "FLOAT_VECTOR", placement.normals_forth(values))
    values = attributes.read(mesh, tangent)
    if values is not None:
        attributes.write(mesh, tangent, "FLOAT_VECTOR", placement.tangents_forth(values))


def _rename_for_gltf(mesh: bpy.types.Mesh) -> None:
    for name in SCALARS:
        values = attributes.read(mesh, name)
        if values is not None:
            attributes.write(mesh, "_" + name, "FLOAT", values)
    for name in DIRECTIONS:
        values = attributes.read(mesh, name)
        if values is not None:
            # glTF's y axis is up: Blender's exporter turns positions so, but not attributes.
            turned = np.stack([values[:, 0], values[:, 2], -values[:, 1]], axis=1)
            attributes.write(mesh, "_" + name, "FLOAT_VECTOR", turned)
