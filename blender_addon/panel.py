"""The sidebar tab: the state of the backend, settings and buttons, then what there is to tell.

All that grows and shrinks comes last, so that no button moves under the pointer or out of sight.
"""

from __future__ import annotations

from typing import NamedTuple

import bpy

from . import launch, legend, mesh_changes, overlay, preferences, session, sources
from .client.backend import BackendState
from .client.environment import BackendKind, BackendUnavailable, EnvironmentState
from .client.installation import InstallationState
from .reports import FitReport
from .sentences import draw_sentence
from .session import Session
from .units import Placement


class _SidebarPanel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Fairfield"


class MainPanel(_SidebarPanel, bpy.types.Panel):
    """Fit, Refine, Smooth and Extract."""

    bl_idname = "FAIRFIELD_PT_main"
    bl_label = "Fairfield"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the state of the backend in one row, then settings and buttons."""
        layout = self.layout
        active = session.current()
        settings = context.scene.fairfield
        _draw_status(layout, active)

        # Not greyed while a job runs: Blender keeps a button that lies under the pointer grey until
        # the pointer leaves it, and a click meanwhile is answered with a sentence.
        column = layout.column()
        _setting(column, settings, "preset")
        _setting(column, settings, "units")
        column.operator("fairfield.fit", icon="MESH_ICOSPHERE")
        column.operator("fairfield.refine", icon="BRUSH_DATA")
        _setting(column, settings, "scale_is_auto")
        if settings.scale_is_auto:
            _setting(column, settings, "smoothness")
        else:
            unit = legend.length_unit(context.scene, settings.units)
            _setting(column, settings, "scale", f"Scale ({unit})")
        column.operator("fairfield.smooth", icon="MOD_SMOOTH")
        _setting(column, settings, "resolution")
        _setting(column, settings, "smooth_surface")
        _setting(column, settings, "hide_source")
        column.operator("fairfield.extract", icon="MOD_REMESH")


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


class ReportPanel(_SidebarPanel, bpy.types.Panel):
    """What is under way, what went wrong, and what is known of the active object."""

    bl_idname = "FAIRFIELD_PT_report"
    bl_label = "Report"
    bl_parent_id = "FAIRFIELD_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the news, the report of the active object, and results that wait."""
        layout = self.layout
        active = session.current()
        news = _news(active, _environment(active))
        blender_object = context.active_object
        if blender_object is not None and blender_object.type != "MESH":
            blender_object = None
        changed = blender_object is not None and sources.changes_geometry(blender_object)
        told_below = sources.modifiers_sentence(blender_object.name) if changed else None
        for text, icon in news:
            if text != told_below:
                draw_sentence(layout, context, text, icon)
        if told_below is not None:
            box = layout.box()
            draw_sentence(box, context, told_below, "INFO")
            box.operator("fairfield.copy_with_modifiers", icon="DUPLICATE")
        if blender_object is not None and blender_object.session_uid in active.reports:
            _draw_report(layout, context, active, blender_object)
        elif not (news or changed):
            layout.label(text="Select a mesh; click Fit, Smooth or Extract")
        if active.waiting:
            # Last, so that a second click on it meets nothing.
            text = "Drop the Result" if len(active.waiting) == 1 else "Drop the Results"
            layout.operator("fairfield.drop_results", text=text, icon="X")


CLASSES = (MainPanel, OverlayPanel, ExportPanel, ReportPanel)


def _setting(
    layout: bpy.types.UILayout,
    settings: bpy.types.PropertyGroup,
    name: str,
    label: str | None = None,
) -> None:
    row = layout.row()
    row.use_property_split = True
    row.use_property_decorate = False
    row.prop(settings, name, text=label)


def _draw_status(layout: bpy.types.UILayout, active: Session) -> None:
    """Draw one row, whatever the state. Where Cancel was there is never another button."""
    progress = active.queue.progress
    environment = _environment(active)
    if active.installing:
        preferences.draw_installation_progress(layout, active)
    elif active.queue.busy:
        left = progress.seconds_left
        text = f"{progress.fraction:.0%}" + ("" if left is None else f", {left:.0f} s left")
        row = layout.split(factor=0.65)
        row.progress(factor=progress.fraction, text=text)
        row.operator("fairfield.cancel", text="Cancel", icon="X")
    elif environment.is_missing:
        row = layout.split(factor=0.55)
        row.operator("fairfield.install_backend", icon="IMPORT")
        text = "See Report" if _news(active, environment) else "Not installed"
        row.label(text=text, icon="ERROR")
    else:
        text, icon = _status(active, environment)
        layout.label(text=text, icon=icon)


def _status(active: Session, environment: _Environment) -> tuple[str, str]:
    """A few words, which say where there is more to read, and an icon."""
    backend = active.queue.backend
    if active.queue.problem or environment.problem:
        return "Backend: failed, see Report", "ERROR"
    if environment.installation_error or active.brief:
        return active.brief or "See Report", "INFO"
    if active.waiting:
        return "Waiting for Object Mode", "INFO"
    if backend is None or backend.state is BackendState.ENDED:
        return "Backend: starts with the first click", "RADIOBUT_OFF"
    if backend.state is BackendState.STARTING:
        return "Backend: starting", "SORTTIME"
    device = next(iter(backend.greeting.get("devices", [])), "cpu")
    return f"Backend: ready ({device})", "CHECKMARK"


class _Environment(NamedTuple):
    """What is wrong with the managed environment, as long as the next click needs it.

    Whether it is missing, why it cannot be looked at, and why the last installation failed. It is
    looked at once for each panel: that takes the disk.
    """

    is_missing: bool = False
    problem: str = ""
    installation_error: str = ""


def _environment(active: Session) -> _Environment:
    backend = active.queue.backend
    is_alive = backend is not None and backend.state is not BackendState.ENDED
    if is_alive or launch.choice().kind is not BackendKind.MANAGED:
        return _Environment()
    installation = active.installation
    error = ""
    if installation is not None and installation.state is InstallationState.FAILED:
        error = installation.error
    try:
        state = launch.managed_environment().state
    except BackendUnavailable as problem:
        return _Environment(problem=str(problem), installation_error=error)
    return _Environment(state is not EnvironmentState.READY, installation_error=error)


def _news(active: Session, environment: _Environment) -> list[tuple[str, str]]:
    """Sentences on what is under way and what went wrong, each once, and an icon for each."""
    installation = active.installation
    news = []
    if installation is not None and active.installing:
        news.append((installation.message, "NONE"))
    news += [
        (environment.installation_error, "ERROR"),
        (active.queue.problem, "ERROR"),
        (environment.problem, "ERROR"),
    ]
    if active.queue.busy:
        news.append((active.queue.progress.text, "NONE"))
    if active.waiting:
        count = len(active.waiting)
        what = "The result is" if count == 1 else f"{count} results are"
        news.append((f"{what} written when you return to Object Mode.", "INFO"))
    news += [(message, "INFO") for message in active.messages if message != active.queue.problem]
    return [(text, icon) for text, icon in news if text]


def _draw_report(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    active: Session,
    blender_object: bpy.types.Object,
) -> None:
    """Draw what is known of an object, or that it is another one by now."""
    name = blender_object.name
    report = active.reports[blender_object.session_uid]
    box = layout.box().column()
    box.scale_y = 0.8
    if not mesh_changes.is_unchanged(blender_object, report):
        text = (
            f"{name} was changed since it was {report.done}; click Fit or Smooth to measure it as "
            "it is."
        )
        draw_sentence(box, context, text, "INFO")
        return
    for line in report.lines(name, legend.length_unit(context.scene, report.placement.units)):
        box.label(text=line)
    for warning in report.warnings:
        draw_sentence(box, context, warning, "ERROR")
    if isinstance(report, FitReport) and report.refined:
        settings = context.scene.fairfield
        placement = Placement.in_units(settings.units, blender_object.matrix_world)
        was_set = (report.preset, report.placement.units)
        if settings.preset != report.preset or not placement.fits_like(report.placement):
            reason = (
                f"In the present Quality and Units {name}"
                if (settings.preset, settings.units) != was_set
                # Under uneven scale the mesh is fitted as it stands in the scene.
                else f"{name} was turned and is scaled unevenly, so it"
            )
            text = (
                f"{reason} will be fitted anew, without Refine; click Refine to have it there too."
            )
            draw_sentence(box, context, text, "INFO")
    if blender_object.mode == "EDIT":
        text = f"What was edited since it was {report.done} counts when you leave Edit Mode."
        draw_sentence(box, context, text, "INFO")
