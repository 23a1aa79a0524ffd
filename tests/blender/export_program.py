"""Smooths a sphere and exports it, in a Blender of its own: `python export_program.py FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy
import installed
import numpy as np


def main(folder: Path) -> None:
    installed.enable()
    for each in list(bpy.data.objects):
        bpy.data.objects.remove(each)
    bpy.ops.mesh.primitive_uv_sphere_add(segments=48, ring_count=24, radius=3.0)
    ball = bpy.context.object
    ball.rotation_euler, ball.location = (0.3, 0.8, -0.2), (1.0, 2.0, 3.0)
    bpy.context.view_layer.update()
    settings = bpy.context.scene.fairfield
    settings.preset, settings.scale_is_auto, settings.scale = "draft", False, 0.4
    bpy.ops.fairfield.smooth()
    before = contents()
    for name in ("turned.ply", "turned.glb"):
        bpy.ops.fairfield.export(filepath=str(folder / name))
    after = contents()
    ball.scale = (-1.0, 1.0, 1.0)
    bpy.context.view_layer.update()
    bpy.ops.fairfield.export(filepath=str(folder / "mirrored.ply"))
    ball.scale = (10.0, 10.0, 10.0)
    bpy.context.view_layer.update()
    bpy.ops.fairfield.export(filepath=str(folder / "enlarged.ply"), file_format="PLY")
    (folder / "imported").write_text(json.dumps(imported(folder / "turned.glb")))
    if sys.platform == "linux":
        (folder / "refusals").write_text(json.dumps(export_to_a_full_disk(folder)))
    installed.disable()
    (folder / "finished").write_text(json.dumps([before, after]))


def imported(path: Path) -> dict[str, float]:
    """Return the median size of every number that an imported file has at its vertices."""
    present, selected = list(bpy.data.objects), bpy.context.object
    bpy.ops.import_scene.gltf(filepath=str(path))
    (loaded,) = (each for each in bpy.data.objects if each not in present)
    medians = {}
    for attribute in loaded.data.attributes:
        if attribute.data_type == "FLOAT":
            values = np.empty(len(attribute.data), np.float32)
            attribute.data.foreach_get("value", values)
            medians[attribute.name] = float(np.median(np.abs(values)))
    bpy.data.objects.remove(loaded)
    selected.select_set(True)
    bpy.context.view_layer.objects.active = selected
    return medians


def export_to_a_full_disk(folder: Path) -> list[str]:
    """Return what is said where a write fails; a limit on files' sizes stands for the full disk."""
    import resource

    said = []
    for file_format in ("PLY", "GLB"):
        path = folder / f"full.{file_format.lower()}"
        path.write_bytes(b"what was there before")
        for room in (0, 1000, 30_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            try:
                bpy.ops.fairfield.export(filepath=str(path), file_format=file_format)
                said.append("nothing")
            except RuntimeError as problem:
                said.append(str(problem))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    return said


def contents() -> list:
    """What an export must leave as it is."""
    return [
        sorted(each.name for each in bpy.data.objects),
        sorted(each.name for each in bpy.data.meshes),
        sorted(bpy.context.object.data.attributes.keys()),
        [each.name for each in bpy.context.selected_objects],
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
