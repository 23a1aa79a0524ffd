"""Mesh files: PLY (see `ply`), OBJ (read by `obj`), STL and GLB, written by trimesh, and `.npz`.

Vertices are neither merged nor reordered, and unused ones are kept, so that results match the file
row by row. Polygons are triangulated: see `polygons`.
"""

from __future__ import annotations

import io
import math
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
from .ply import ply_content, read_ply
from .whole_files import write_whole

SUFFIXES = (".ply", ".obj", ".stl", ".glb", ".npz")
UNNOTICED, TOO_FAR = 1e-6, 1e-3
"""How far float32 may move vertices, in shares of the mesh's size: up to here it is used wherever a
format has it, and from there on a file would be damaged. A scan in geographic coordinates is."""


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

    Coordinates are float32 in PLY, GLB and STL. Where that would move vertices, as far from the
    origin, PLY has doubles, and GLB places what is near the origin by its node.

    Raises
    ------
    MeshError
        If the suffix is unknown, or the format's coordinates are too coarse for the mesh.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    suffix = check_suffix(path)
    attributes = attributes or {}
    if suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, vertices=mesh.vertices, faces=mesh.triangles, **attributes)  # type: ignore[arg-type]
        content = buffer.getvalue()
    elif suffix == ".ply":
        content = _ply(mesh, normals, attributes)
    else:
        content = _by_trimesh(path, mesh, normals, attributes)
    write_whole(path, content)


def _ply(
    mesh: TriangleMesh,
    normals: NDArray[np.floating] | None,
    attributes: Mapping[str, NDArray[np.floating]],
) -> bytes:
    is_fine = _moved_by_float32(mesh.vertices) <= UNNOTICED * _size(mesh.vertices)
    vertices = mesh.vertices.astype(np.float32) if is_fine else mesh.vertices
    columns = dict(zip("xyz", vertices.T, strict=True))
    if normals is not None:
        columns |= zip(("nx", "ny", "nz"), normals.T.astype(np.float32), strict=True)
    return ply_content(columns | _columns(attributes), mesh.triangles)


def _by_trimesh(
    path: Path,
    mesh: TriangleMesh,
    normals: NDArray[np.floating] | None,
    attributes: Mapping[str, NDArray[np.floating]],
) -> bytes:
    import trimesh

    suffix, vertices, size = path.suffix.lower(), mesh.vertices, _size(mesh.vertices)
    middle = np.zeros(3)
    if suffix == ".glb" and _moved_by_float32(vertices) > UNNOTICED * size:
        middle = vertices.min(axis=0) / 2 + vertices.max(axis=0) / 2
        vertices = vertices - middle
    if suffix != ".obj":
        _refuse_few_digits(path, vertices)
    exported = trimesh.Trimesh(
        vertices,
        mesh.triangles,
        vertex_normals=normals,
        process=False,
        validate=False,
    )
    content: Any
    if suffix == ".glb":
        for name, column in _columns(attributes).items():
            exported.vertex_attributes[f"_{name.upper()}"] = column
        scene = trimesh.Scene()
        scene.add_geometry(exported, transform=trimesh.transformations.translation_matrix(middle))
        content = scene.export(file_type="glb")
    elif suffix == ".obj":
        # Decimal places, at least trimesh's own 8, so that small meshes have 7 digits too.
        digits = max(8, 7 - math.floor(math.log10(size)))
        content = exported.export(file_type="obj", digits=digits)
    else:
        content = exported.export(file_type="stl")
    return content.encode() if isinstance(content, str) else content


def _refuse_few_digits(path: Path, vertices: NDArray[np.float64]) -> None:
    moved, size = _moved_by_float32(vertices), _size(vertices)
    if moved > TOO_FAR * size:
        raise MeshError(
            f"{path}: {path.suffix} files have coordinates of 7 digits, which would move vertices "
            f"by up to {moved:.2g} in a mesh {size:.2g} long. Write .ply or .obj, or bring the "
            "mesh to the origin and to a usual size."
        )


def _columns(
    attributes: Mapping[str, NDArray[np.floating]],
) -> dict[str, NDArray[np.floating]]:
    """Attributes (V,) or (V, 3) as columns (V,) by name."""
    columns: dict[str, NDArray[np.floating]] = {}
    for name, numbers in attributes.items():
        if numbers.ndim == 2:
            columns |= {f"{name}_{axis}": numbers[:, i] for i, axis in enumerate("xyz")}
        else:
            columns[name] = numbers
    return columns


def _size(vertices: NDArray[np.float64]) -> float:
    """The largest side of their box; 1 where all are at one point."""
    return float(np.ptp(vertices, axis=0).max()) or 1.0


def _moved_by_float32(vertices: NDArray[np.float64]) -> float:
    """How far a coordinate is from its float32 at most; infinite where there is none."""
    with np.errstate(over="ignore"):
        return float(np.abs(vertices.astype(np.float32) - vertices).max())


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
