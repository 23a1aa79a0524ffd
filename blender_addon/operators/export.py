"""Exports the selected meshes with what was measured on them."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import exporting, sources
from ..sources import SceneError


class ExportOperator(bpy.types.Operator):
    """Write the selected meshes with their normals, curvature and colours to a file"""

    bl_idname = "fairfield.export"
    bl_label = "Export"

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    # Blender keeps these from one export to the next.
    last_folder: bpy.props.StringProperty(options={"HIDDEN"})
    last_blend: bpy.props.StringProperty(options={"HIDDEN"})
    check_existing: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    filter_glob: bpy.props.StringProperty(default="*.ply;*.glb", options={"HIDDEN"})
    file_format: bpy.props.EnumProperty(
        name="Format",
        items=(
            (exporting.PLY, "PLY", "One mesh with attributes, in world coordinates"),
            (exporting.GLB, "glTF Binary", "Objects with materials; attributes with an underscore"),
        ),
        default=exporting.PLY,
    )
    # What the dialog showed at the last check: either may have been changed since, and leads.
    shown_format: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the file."""
        try:
            name = sources.selected_meshes(context)[0].name
        except SceneError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        if not self.filepath:
            folder = Path(bpy.data.filepath).parent if bpy.data.filepath else Path.home()
            last = self.last_folder if self.last_blend == bpy.data.filepath else ""
            if last and Path(last).is_dir():
                folder = Path(last)
            self.filepath = str(folder / bpy.path.clean_name(name))
        self.check(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def check(self, _context: bpy.types.Context) -> bool:
        """Keep the file's suffix and the format in step; return whether one was changed."""
        before = self.filepath, self.file_format
        if self.shown_format == self.file_format:
            self.file_format = _format_of(self.filepath) or self.file_format
        self.filepath = _with_suffix(self.filepath, self.file_format)
        self.shown_format = self.file_format
        return before != (self.filepath, self.file_format)

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the options of the file dialog."""
        self.layout.prop(self, "file_format", expand=True)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the file."""
        try:
            if not self.filepath:
                raise SceneError("No file is given; set 'filepath' to the file to write.")
            if not self.properties.is_property_set("file_format"):
                self.file_format = _format_of(self.filepath) or self.file_format
            if context.mode != "OBJECT":
                raise SceneError("Meshes are exported in Object Mode; switch to it first.")
            objects = sources.selected_meshes(context)
            path = Path(bpy.path.abspath(_with_suffix(self.filepath, self.file_format)))
            exporting.export(context, objects, path, self.file_format)
            self.last_folder, self.last_blend = str(path.parent), bpy.data.filepath
        except SceneError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        kept = [each.name for each in objects if exporting.keeps_local_units(each)]
        if self.file_format == exporting.PLY and kept:
            self.report(
                {"WARNING"},
                f"{', '.join(kept)}: the scale is uneven, so curvature and deviation in the file "
                "are in the object's own units; choose Units: World and click Smooth again to have "
                "them in the file's.",
            )
        self.report({"INFO"}, f"Wrote '{path}'.")
        return {"FINISHED"}


def _format_of(path: str) -> str | None:
    """The format that a path's suffix tells, if any."""
    return next(
        (name for name, suffix in exporting.SUFFIXES.items() if path.lower().endswith(suffix)), None
    )


def _with_suffix(path: str, file_format: str) -> str:
    """Return the path with the format's suffix, in place of the other format's."""
    suffix = exporting.SUFFIXES[file_format]
    if not path or path.lower().endswith(suffix):
        return path
    stem, dot, ending = path.rpartition(".")
    if dot and "." + ending.lower() in exporting.SUFFIXES.values():
        return stem + suffix
    return path + suffix
