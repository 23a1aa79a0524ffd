"""Blender's own tools, each in a process of Blender's Python."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import fairfield
import numpy as np
from judging import Answer

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".blender" / "4.5.15" / "bin" / "python"
PROGRAM = Path(__file__).with_name("blender_program.py")


def tool(name: str, *, moves: bool) -> Callable[[fairfield.TriangleMesh, float], Answer]:
    """A tool of `blender_program.py`; whether it moves the given vertices or makes a new mesh."""

    def apply(mesh: fairfield.TriangleMesh, parameter: float) -> Answer:
        vertices, triangles, normals = _run(mesh, name, f"{parameter:g}")
        return Answer(
            surface=fairfield.TriangleMesh(vertices, triangles),
            surface_normals=normals,
            moved=moves,
        )

    return apply


def _run(mesh: fairfield.TriangleMesh, name: str, parameter: str) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        np.savez(given, vertices=mesh.vertices, faces=mesh.triangles)
        subprocess.run([PYTHON, PROGRAM, given, made, name, parameter], check=True, stdout=-3)
        with np.load(made) as arrays:
            return [
                arrays[key].astype(kind)
                for key, kind in (("vertices", float), ("faces", np.int32), ("normals", float))
            ]
