"""The sidebar tab: settings, buttons, the state of the backend, and what came of the last click."""

from __future__ import annotations

import bpy

from . import launch, mesh_changes, overlay, preferences, session, sources
from .client.backend import BackendState
from .client.environment import BackendKind, BackendUnavailable, EnvironmentState
from .sentences import draw_sentence
from .session import FitReport, Session

WORTH_TELLING = 0.01
"""Share of vertices that the mesh itself answers for, from which on it is told."""
CLEAN = 3e-4
"""Scatter of the vertices, as a part of the half-extent, below which a mesh counts as clean."""


class _SidebarPanel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Fairfield"


class MainPanel(_SidebarPanel, bpy.types.Panel):
    """Fit, Refine, Smooth and Extract."""

    bl_idname = "FAIRFIELD_PT_main"
    bl_label = "Fairfield"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the state of the backend, the buttons, and the report of the active object."""
        layout = self.layout
        active = session.current()
        settings = context.scene.fairfield
        _draw_backend(layout, context, active)

        # Not greyed while a job runs: Blender keeps a button that lies under the pointer grey until
        # the pointer leaves it, and a click meanwhile is answered with a sentence.
        column = layout.column()
        _setting(column, settings, "preset")
        _setting(column, settings, "units")
        column.operator("fairfield.fit", icon="MESH_ICOSPHERE")
        column.operator("fairfield.refine", icon="BRUSH_DATA")
        _setting(column, settings, "scale_is_auto")
        _setting(column, settings, "smoothness" if settings.scale_is_auto else "scale")
        column.operator("fairfield.smooth", icon="MOD_SMOOTH")
        _setting(column, settings, "resolution")
        _setting(column, settings, "smooth_surface")
        _setting(column, settings, "hide_source")
        column.operator("fairfield.extract", icon="MOD_REMESH")

        _draw_progress(layout, context, active)
        _draw_report(layout, context, active)


class OverlayPanel(_SidebarPanel, bpy.types.Panel):
    """What the overlay shows."""

    bl_idname = "FAIRFIELD_PT_overlay"
    bl_label = "Overlay"
    bl_parent_id = "FAIRFIELD_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the switch, the quantity and its range."""
        layout = self.layout
        settings = context.scene.fairfield
        layout.operator("fairfield.overlay", icon="COLOR", depress=overlay.is_on(context.screen))
        _setting(layout, settings, "quantity")
        _setting(layout, settings, "range_is_auto")
        if not settings.range_is_auto:
            _setting(layout, settings, "range_low")
            _setting(layout, settings, "range_high")
        layout.operator("fairfield.apply_normals", icon="NORMALS_VERTEX")


class ExportPanel(_SidebarPanel, bpy.types.Panel):
    """Files for other programs."""

    bl_idname = "FAIRFIELD_PT_export"
    bl_label = "Export"
    bl_parent_id = "FAIRFIELD_PT_main"

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the button."""
        self.layout.operator("fairfield.export", text="Export...", icon="EXPORT")


CLASSES = (MainPanel, OverlayPanel, ExportPanel)


def _setting(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, name: str) -> None:
    row = layout.row()
    row.use_property_split = True
    row.use_property_decorate = False
    row.prop(settings, name)


def _draw_backend(layout: bpy.types.UILayout, context: bpy.types.Context, active: Session) -> None:
    """Draw one line on the backend, and the button to install it where it is missing."""
    if active.installing:
        preferences.draw_installation(layout, context)
        return
    backend = active.queue.backend
    if active.queue.problem:
        draw_sentence(layout, context, active.queue.problem, "ERROR")
    elif backend is None or backend.state is BackendState.ENDED:
        _draw_idle_backend(layout, context)
        preferences.draw_installation(layout, context)
    elif backend.state is BackendState.STARTING:
        layout.label(text="Backend: starting", icon="SORTTIME")
    else:
        device = next(iter(backend.greeting.get("devices", [])), "cpu")
        doing = "working" if active.queue.busy else "ready"
        layout.label(text=f"Backend: {doing} ({device})", icon="CHECKMARK")


def _draw_idle_backend(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    if launch.choice().kind is not BackendKind.MANAGED:
        layout.label(text="Backend: starts with the first click", icon="RADIOBUT_OFF")
        return
    try:
        state = launch.managed_environment().state
    except BackendUnavailable as problem:
        draw_sentence(layout, context, str(problem), "ERROR")
        return
    if state is EnvironmentState.READY:
        layout.label(text="Backend: starts with the first click", icon="RADIOBUT_OFF")
    else:
        layout.label(text="Backend: not installed", icon="ERROR")
        layout.operator("fairfield.install_backend", icon="IMPORT")


def _draw_progress(layout: bpy.types.UILayout, context: bpy.types.Context, active: Session) -> None:
    if active.queue.busy:
        progress = active.queue.progress
        left = progress.seconds_left
        text = progress.text + ("" if left is None else f", {left:.0f} s left")
        row = layout.split(factor=0.65)
        if "progress" in bpy.types.UILayout.bl_rna.functions:
            row.progress(factor=progress.fraction, text=f"{progress.fraction:.0%}")
        else:
            row.label(text=f"{progress.fraction:.0%}")
        row.operator("fairfield.cancel", text="Cancel", icon="X")
        draw_sentence(layout, context, text, "NONE")
    if active.waiting:
        count = len(active.waiting)
        what = "The result is" if count == 1 else f"{count} results are"
        draw_sentence(layout, context, f"{what} written when you return to Object Mode.", "INFO")
        if active.nothing_under_way:
            text = "Drop the Result" if count == 1 else "Drop the Results"
            layout.operator("fairfield.cancel", text=text, icon="X")


def _draw_report(layout: bpy.types.UILayout, context: bpy.types.Context, active: Session) -> None:
    """Draw what went wrong with the last click, and what is known of the active object."""
    blender_object = context.active_object
    is_mesh = blender_object is not None and blender_object.type == "MESH"
    told_elsewhere = {active.queue.problem}
    if is_mesh and sources.changes_geometry(blender_object):
        sentence = sources.modifiers_sentence(blender_object.name)
        told_elsewhere.add(sentence)
        box = layout.box()
        draw_sentence(box, context, sentence, "INFO")
        box.operator("fairfield.copy_with_modifiers", icon="DUPLICATE")
    for message in active.messages:
        if message not in told_elsewhere:
            draw_sentence(layout, context, message, "INFO")
    report = active.reports.get(blender_object.session_uid) if is_mesh else None
    if report is None:
        return
    box = layout.box().column()
    if mesh_changes.is_unchanged(blender_object, report.digest, report.placement):
        for line in _report_lines(blender_object.name, report):
            box.label(text=line)
        for warning in report.warnings:
            draw_sentence(box, context, warning, "ERROR")
    else:
        draw_sentence(box, context, _changed_sentence(blender_object.name), "INFO")


def _changed_sentence(name: str) -> str:
    """What stands in place of a report on a mesh that is no longer so."""
    return f"{name} was changed since it was fitted; click Fit or Smooth to measure it as it is."


def _report_lines(name: str, report: FitReport) -> list[str]:
    """What is told of the field of an object, in short lines."""
    lines = [
        f"{name}: fitted in {report.seconds:.1f} s",
        f"Near-surface error: {report.error:.2g} ({report.relative_error:.2%})",
        "Noise or facets: none"
        if report.noise < CLEAN
        else f"Noise or facets: {report.noise:.2%} of its half size",
    ]
    if report.from_mesh is not None and report.from_mesh >= WORTH_TELLING:
        lines.append(f"From the mesh's own vertices: {report.from_mesh:.0%}")
    if report.nothing_gained:
        lines.append("Refined: nothing gained, kept as it was")
    elif report.noise_before is not None and report.noise_after is not None:
        lines.append(
            f"Refined: noise of normals {report.noise_before:.2g}° to {report.noise_after:.2g}°"
        )
    return lines
