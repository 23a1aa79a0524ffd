"""The manual scale: what it starts from, and what it becomes in other units."""

from __future__ import annotations

import bpy
import numpy as np

from . import mesh_changes, session
from .reports import FitReport

SHARE = 0.05
"""Of the half-extent of a mesh that was not smoothed yet. The automatic rule's medians are 0.02
for the Stanford bunny and 0.12 for 0.3 % of noise."""
DIGITS = 3


def propose(settings: bpy.types.PropertyGroup, blender_object: bpy.types.Object | None) -> None:
    """Set the scale to what suits an object, unless somebody else has set it."""
    if settings.is_property_set("scale") and settings.scale != settings.proposed_scale:
        return
    if blender_object is None or blender_object.type != "MESH":
        return
    report = session.current().reports.get(blender_object.session_uid)
    scale = None
    if (
        isinstance(report, FitReport)
        and report.placement.units == settings.units
        and mesh_changes.is_unchanged(blender_object, report)
    ):
        scale = report.scale
    if scale is None:
        scale = SHARE * _half_extent(blender_object, settings.units)
    if scale > 0:
        settings.scale = float(f"{scale:.{DIGITS}g}")
        settings.proposed_scale = settings.scale


def convert(settings: bpy.types.PropertyGroup, blender_object: bpy.types.Object | None) -> None:
    """Keep the scale as large as it is on an object when other units were chosen.

    Under uneven scale, as large in relation to the object's size. Without a mesh the number stays,
    and so do its units, so that it is the same again when they are chosen back.
    """
    # Where none are stored it was set in those that were chosen until now.
    before = settings.scale_units or {"local": "world", "world": "local"}[settings.units]
    if before == settings.units or not settings.is_property_set("scale"):
        return
    if blender_object is None or blender_object.type != "MESH":
        return
    sizes = {units: _half_extent(blender_object, units) for units in (before, settings.units)}
    if not all(size > 0 for size in sizes.values()):
        return
    was_proposed = settings.scale == settings.proposed_scale
    settings.scale *= sizes[settings.units] / sizes[before]
    if was_proposed:
        settings.proposed_scale = settings.scale


def _half_extent(blender_object: bpy.types.Object, units: str) -> float:
    """Half the longest side of an object's box, in local or world units."""
    sides = np.ptp(np.array(blender_object.bound_box), axis=0)
    if units == "world":
        sides *= np.linalg.norm(np.array(blender_object.matrix_world)[:3, :3], axis=0)
    return float(sides.max()) / 2
