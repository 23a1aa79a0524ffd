"""Arrays to and from the attributes of a mesh, one row per vertex."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import bpy
import numpy as np

from .quantities import COLOR, DIRECTIONS, QUANTITIES, SMOOTH_NORMAL
from .units import Placement

# Written beside the attributes, so that a legend can name the unit in later sessions too.
UNITS_KEY = "fairfield_units"
# Likewise half the largest side in these units, which tells a flat from a bend.
HALF_SIZE_KEY = "fairfield_half_size"


@dataclass(frozen=True)
class _Kind:
    """How an attribute type lies in memory."""

    field: str
    width: int
    dtype: type


_KINDS = {
    "FLOAT": _Kind("value", 1, np.float32),
    "FLOAT_VECTOR": _Kind("vector", 3, np.float32),
    "BYTE_COLOR": _Kind("color_srgb", 4, np.float32),
}


def write_quantities(
    mesh: bpy.types.Mesh, arrays: Mapping[str, np.ndarray], placement: Placement
) -> None:
    """Write what the backend sent for each vertex.

    Scalars are brought to the placement's units, and directions to the object's local axes.

    Parameters
    ----------
    arrays
        By attribute name, each with one row per vertex; names that are missing are left out.
    """
    for name, quantity in QUANTITIES.items():
        if name in arrays:
            write(mesh, name, "FLOAT", arrays[name] * placement.unit**quantity.length_power)
    if SMOOTH_NORMAL in arrays:
        write(mesh, SMOOTH_NORMAL, "FLOAT_VECTOR", placement.normals_back(arrays[SMOOTH_NORMAL]))
    tangent = DIRECTIONS[1]
    if tangent in arrays:
        write(mesh, tangent, "FLOAT_VECTOR", placement.tangents_back(arrays[tangent]))
    mesh[UNITS_KEY] = placement.units
    mesh[HALF_SIZE_KEY] = _half_size(placement.place(vertices_of(mesh))) * placement.unit


def vertices_of(mesh: bpy.types.Mesh) -> np.ndarray:
    """Return the (V, 3) float32 local coordinates of a mesh."""
    vertices = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", vertices.reshape(-1))
    return vertices


def write_colors(mesh: bpy.types.Mesh, colors: np.ndarray) -> None:
    """Write (V, 4) sRGB colours and make them the ones that viewport and render show."""
    write(mesh, COLOR, "BYTE_COLOR", colors)
    index = mesh.color_attributes.find(COLOR)
    mesh.color_attributes.active_color_index = index
    mesh.color_attributes.render_color_index = index


def write(mesh: bpy.types.Mesh, name: str, kind: str, values: np.ndarray) -> None:
    """Write a POINT attribute, replacing one of the same name and another type.

    Raises
    ------
    ValueError
        If there is not one row per vertex.
    """
    if len(values) != len(mesh.vertices):
        raise ValueError(
            f"attribute {name!r} has {len(values)} rows for {len(mesh.vertices)} vertices"
        )
    attribute = mesh.attributes.get(name)
    if attribute is not None and (attribute.data_type, attribute.domain) != (kind, "POINT"):
        mesh.attributes.remove(attribute)
        attribute = None
    if attribute is None:
        attribute = mesh.attributes.new(name, kind, "POINT")
    layout = _KINDS[kind]
    flat: np.ndarray = np.ascontiguousarray(values, layout.dtype).reshape(-1)
    attribute.data.foreach_set(layout.field, flat)
    mesh.update_tag()


def read(mesh: bpy.types.Mesh, name: str) -> np.ndarray | None:
    """Return a POINT attribute as (V,) or (V, width) float32; None if the mesh has no such one."""
    attribute = mesh.attributes.get(name)
    if attribute is None or attribute.domain != "POINT" or attribute.data_type not in _KINDS:
        return None
    layout = _KINDS[attribute.data_type]
    flat: np.ndarray = np.empty(len(attribute.data) * layout.width, layout.dtype)
    attribute.data.foreach_get(layout.field, flat)
    return flat if layout.width == 1 else flat.reshape(-1, layout.width)


def _half_size(vertices: np.ndarray) -> float:
    """Return half the largest side of the box around (V, 3) vertices."""
    return float(np.ptp(vertices, axis=0).max()) / 2 if len(vertices) else 0.0
