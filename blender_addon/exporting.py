"""Export to PLY and glTF through Blender's own exporters, attributes included.

The exporters write to a new name beside the file, which is renamed only when it is whole: an export
that fails, for instance because the disk is full, leaves the earlier file as it was.
Copies of the evaluated meshes are exported, and the scene stays as it is. In the copies directions
turn with the geometry into the file's axes, and numbers are scaled with it. For glTF, which keeps
only attributes whose names begin with an underscore, they are renamed, and vectors become three
numbers as they do in PLY: Blender's own importer (4.2 to 4.5) fails on most files that hold both.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np

from . import attributes
from .quantities import DIRECTIONS, QUANTITIES, SCALARS
from .sources import SceneError
from .units import Placement

PLY, GLB = "PLY", "GLB"
SUFFIXES = {PLY: ".ply", GLB: ".glb"}
_PLY_BYTES = {
    "char": 1,
    "uchar": 1,
    "short": 2,
    "ushort": 2,
    "int": 4,
    "uint": 4,
    "float": 4,
    "double": 8,
}
_PLY_HEADER_BYTES = 1 << 16


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
    draft = path.with_name(f".fairfield-{secrets.token_hex(8)}{SUFFIXES[file_format]}")
    try:
        with _exported_copies(context, objects, file_format) as copies:
            corners = sum(len(copy.data.loops) for copy in copies)
            _call_exporter(draft, file_format)
        if file_format == PLY and not _is_whole_ply(draft, corners):
            # Blender's exporter does not notice that a write failed.
            raise SceneError(f"'{path}' could not be written whole; is the disk full?")
        os.replace(draft, path)
    except (RuntimeError, OSError) as problem:
        raise SceneError(f"'{path}' could not be written: {_reason(problem)}.") from None
    finally:
        draft.unlink(missing_ok=True)


def keeps_local_units(original: bpy.types.Object) -> bool:
    """Whether a PLY file cannot have an object's curvature in its own units.

    Under an uneven scale it is no multiple of that in the object's units, which the file has then.
    """
    measured = any(name in original.data.attributes for name in SCALARS)
    return measured and bool(np.isnan(_stretch(original)))


def _call_exporter(path: Path, file_format: str) -> None:
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


def _is_whole_ply(path: Path, corners: int) -> bool:
    """Whether a binary PLY file is as long as its header says, given its number of face corners."""
    with path.open("rb") as file:
        header, end, _ = file.read(_PLY_HEADER_BYTES).partition(b"end_header\n")
    expected = len(header) + len(end)
    rows = 0
    for line in header.decode(errors="replace").split("\n"):
        words = line.split()
        if words[:1] == ["element"]:
            rows = int(words[2])
        elif words[:2] == ["property", "list"]:
            expected += rows * _PLY_BYTES[words[2]] + corners * _PLY_BYTES[words[3]]
        elif words[:1] == ["property"]:
            expected += rows * _PLY_BYTES[words[1]]
    return bool(end) and path.stat().st_size == expected


def _reason(problem: Exception) -> str:
    """What went wrong, in one line: a failing exporter gives a whole traceback."""
    if isinstance(problem, OSError):
        return problem.strerror or str(problem)
    errors = re.findall(r"^\w*(?:Error|Exception): (.+)$", str(problem), re.MULTILINE)
    return (errors[-1] if errors else str(problem).split("\n")[0]).strip().rstrip(".")


@contextmanager
def _exported_copies(
    context: bpy.types.Context, objects: list[bpy.types.Object], file_format: str
) -> Iterator[list[bpy.types.Object]]:
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
        yield copies
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
        # A PLY file has no transforms: geometry and what was measured on it are moved alike.
        placement = _placement(original)
        _turn_directions(mesh, placement)
        _scale_numbers(mesh, _stretch(original))
        mesh.transform(original.matrix_world)
        if placement.mirrors:
            mesh.flip_normals()
    else:
        copy.matrix_world = original.matrix_world
        _rename_for_gltf(mesh)
    return copy


def _placement(original: bpy.types.Object) -> Placement:
    return Placement(np.array(original.matrix_world.to_3x3(), np.float64))


def _stretch(original: bpy.types.Object) -> float:
    """What the lengths that were measured on an object are multiplied with in the scene's units."""
    in_world = original.data.get(attributes.UNITS_KEY) == "world"
    return 1.0 if in_world else _placement(original).stretch


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


def _scale_numbers(mesh: bpy.types.Mesh, stretch: float) -> None:
    """Bring numbers in the object's units to the scene's, if that can be done, see above."""
    if not stretch > 0:
        return
    for name, quantity in QUANTITIES.items():
        values = attributes.read(mesh, name)
        if values is not None:
            attributes.write(mesh, name, "FLOAT", values * stretch**quantity.length_power)


def _rename_for_gltf(mesh: bpy.types.Mesh) -> None:
    for name in SCALARS:
        values = attributes.read(mesh, name)
        if values is not None:
            attributes.write(mesh, "_" + name, "FLOAT", values)
    for name in DIRECTIONS:
        values = attributes.read(mesh, name)
        if values is not None:
            # glTF's y axis is up: Blender's exporter turns positions so, but not attributes.
            turned = values[:, 0], values[:, 2], -values[:, 1]
            for letter, component in zip("xyz", turned, strict=True):
                attributes.write(mesh, f"_{name}_{letter}", "FLOAT", component)
