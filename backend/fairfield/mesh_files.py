"""Mesh files: PLY (see `ply`) and OBJ (see `obj`), STL and GLB by trimesh, and `.npz`.

Vertices are neither merged nor reordered, and unused ones are kept, so that results match the file
row by row. Polygons are triangulated: see `polygons`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from .errors import MeshError
from .mesh import TriangleMesh, distinct_rows
from .obj import read_obj
from .ply import read_ply
from .whole_files import write_whole

SUFFIXES = (".ply", ".obj", ".stl", ".glb", ".npz")


def read_mesh(path: str | Path) -> TriangleMesh:
    """Read a mesh file; the suffix tells the format.

    Raises
    ------
    MeshError
        If the file cannot be read, or holds no mesh that passes the gate.
    """
    path = Path(path)
    suffix = check_suffix(path)
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise MeshError(f"Cannot read the mesh {path}: {problem.strerror}.") from None
    try:
        if suffix == ".npz":
            vertices, triangles = _read_npz(content)
        else:
            vertices, triangles = _read_polygons(content, suffix)
    except MeshError as problem:
        raise MeshError(f"{path}: {problem}") from None
    try:
        return TriangleMesh(vertices, triangles)
    except MeshError as problem:
        raise MeshError(f"{path}: {problem}") from None


def write_mesh(
    path: str | Path,
    mesh: TriangleMesh,
    *,
    normals: NDArray[np.floating] | None = None,
    attributes: Mapping[str, NDArray[np.floating]] | None = None,
) -> None:
    """Write a mesh file, whole or not at all; the suffix tells the format.

    PLY and GLB also carry (V, 3) normals and (V,) or (V, 3) attributes; a vector becomes three
    numbers that end in `_x`, `_y` and `_z`. In GLB, where Blender's importer fails on a mixture,
    names are upper case and get a leading underscore. In `.npz` the arrays are `vertices`, `faces`
    and the attributes by their names.
    """
    path = Path(path)
    suffix = check_suffix(path)
    attributes = attributes or {}
    if suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, vertices=mesh.vertices, faces=mesh.triangles, **attributes)  # type: ignore[arg-type]
        write_whole(path, buffer.getvalue())
        return
    import trimesh

    exported = trimesh.Trimesh(
        mesh.vertices,
        mesh.triangles,
        vertex_normals=normals,
        process=False,
        validate=False,
    )
    for name, column in attributes.items():
        parts = {name: column}
        if column.ndim == 2:
            parts = {f"{name}_{letter}": column[:, axis] for axis, letter in enumerate("xyz")}
        for part, numbers in parts.items():
            stored = f"_{part.upper()}" if suffix == ".glb" else part
            exported.vertex_attributes[stored] = numbers
    content: Any = exported.export(file_type=suffix[1:])
    write_whole(path, content.encode() if isinstance(content, str) else content)


def check_suffix(path: Path) -> str:
    """Return the lower-case suffix of a mesh file.

    Raises
    ------
    MeshError
        If it is none that Fairfield reads and writes.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise MeshError(
            f"{path} has the suffix {path.suffix!r}; meshes are {', '.join(SUFFIXES)} files."
        )
    return suffix


def _read_npz(content: bytes) -> tuple[NDArray, NDArray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            missing = [name for name in ("vertices", "faces") if name not in arrays]
            if missing:
                raise MeshError(
                    f"no array {missing[0]!r} in the file; it must have 'vertices' and 'faces'."
                )
            return arrays["vertices"], arrays["faces"]
    except (OSError, ValueError, EOFError, BadZipFile, AttributeError) as problem:
        if isinstance(problem, MeshError):
            raise
        raise MeshError("the file is damaged or no .npz file.") from None


def _read_polygons(content: bytes, suffix: str) -> tuple[NDArray, NDArray]:
    try:
        if suffix == ".ply":
            vertices, triangles = read_ply(content)
        elif suffix == ".obj":
            vertices, triangles = read_obj(content)
        else:
            vertices, triangles = _read_by_trimesh(content, suffix)
    except (MemoryError, MeshError):
        raise
    # The loaders raise whatever the broken bytes happen to trip over.
    except Exception:
        raise MeshError(f"the file is damaged or no {suffix[1:].upper()} file.") from None
    if len(triangles) == 0:
        raise MeshError("the file has no faces. Choose a mesh with a surface.")
    return vertices, triangles


def _read_by_trimesh(content: bytes, suffix: str) -> tuple[NDArray, NDArray]:
    import trimesh

    # What is wrong with numbers that are not finite, the gate tells.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        loaded = trimesh.load_mesh(
            io.BytesIO(content),
            file_type=suffix[1:],
            process=False,
            maintain_order=True,
            skip_materials=True,
        )
    vertices, triangles = np.asarray(loaded.vertices), np.asarray(getattr(loaded, "faces", ()))
    if suffix == ".stl" and len(triangles):
        # Its triangles name their corners one by one: the same place is the same vertex.
        first, kind = distinct_rows(vertices)
        return vertices[first], kind[triangles]
    return vertices, triangles
