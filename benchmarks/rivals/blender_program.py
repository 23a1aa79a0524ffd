"""Runs in Blender's Python: what Blender's own tools make of a mesh.

    python blender_program.py IN.npz OUT.npz TOOL PARAMETER

Reads `vertices` and `faces`; writes the same of the evaluated mesh, and `normals` of its vertices.
Without a parameter the modifier stays as Blender adds it.
"""

from __future__ import annotations

import sys
from typing import Any

import bpy
import numpy as np


def main(source: str, target: str, tool: str, parameter: str) -> None:
    """Read, apply, write."""
    given = np.load(source)
    mesh = bpy.data.meshes.new("given")
    mesh.from_pydata(given["vertices"].tolist(), [], given["faces"].tolist())
    mesh.update()
    thing = bpy.data.objects.new("given", mesh)
    bpy.context.scene.collection.objects.link(thing)
    add_modifier(thing, tool, parameter)
    made = thing.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    made.calc_loop_triangles()
    vertices = _column(made.vertices, "co", np.float32, 3)
    faces = _column(made.loop_triangles, "vertices", np.int32, 3)
    normals = _column(made.vertex_normals, "vector", np.float32, 3)
    np.savez(target, vertices=vertices, faces=faces, normals=normals)


def add_modifier(thing: Any, tool: str, parameter: str) -> None:
    """Add what the tool is, with its one parameter."""
    if tool == "smooth":
        modifier = thing.modifiers.new("Smooth", "SMOOTH")
        if parameter:
            modifier.iterations = int(parameter)
    elif tool == "voxel-remesh":
        modifier = thing.modifiers.new("Remesh", "REMESH")
        modifier.mode = "VOXEL"
        if parameter:
            modifier.voxel_size = float(parameter)
    elif tool != "normals":
        raise ValueError(f"There is no tool {tool!r}.")


def _column(collection: Any, name: str, kind: type, width: int) -> np.ndarray:
    values = np.empty(len(collection) * width, kind)
    collection.foreach_get(name, values)
    return values.reshape(-1, width)


if __name__ == "__main__":
    main(*sys.argv[1:])
