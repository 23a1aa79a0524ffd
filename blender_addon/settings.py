"""The artist's settings of a scene: `Scene.fairfield`."""

from __future__ import annotations

import bpy

from . import manual_scale, overlay
from .client.jobs import SCALE_AUTO, ExtractSettings, FitSettings, Scale, SmoothSettings
from .quantities import QUANTITIES


def _recolor(_settings: FairfieldSettings, context: bpy.types.Context) -> None:
    overlay.recolor_scene(context)


def _range_changed_hands(settings: FairfieldSettings, context: bpy.types.Context) -> None:
    """Start from the range that is shown, unless a script has set one meanwhile."""
    ends = ("range_low", "range_high")
    if settings.range_is_auto:
        for end in ends:
            settings.property_unset(end)
    elif settings.id_data == context.scene and not any(map(settings.is_property_set, ends)):
        shown = overlay.shown_range(context)
        if shown is not None:
            settings.range_low, settings.range_high = shown
    overlay.recolor_scene(context)


def _units_changed(settings: FairfieldSettings, context: bpy.types.Context) -> None:
    if settings.id_data == context.scene:
        manual_scale.convert(settings, context.view_layer.objects.active)


def _scale_set(settings: FairfieldSettings, _context: bpy.types.Context) -> None:
    settings.scale_units = settings.units


def _scale_changed_hands(settings: FairfieldSettings, context: bpy.types.Context) -> None:
    if not settings.scale_is_auto and settings.id_data == context.scene:
        manual_scale.propose(settings, context.view_layer.objects.active)


class FairfieldSettings(bpy.types.PropertyGroup):
    """What the next click takes into account, and what scripts set before they call operators."""

    preset: bpy.props.EnumProperty(
        name="Quality",
        description="How much time a fit takes for how small an error",
        items=(
            ("draft", "Draft", "A first look"),
            ("standard", "Standard", "For most work"),
            ("fine", "Fine", "The smallest error; takes several times as long"),
        ),
        default="standard",
    )
    units: bpy.props.EnumProperty(
        name="Units",
        description="What curvature and lengths are measured in",
        items=(
            ("local", "Local", "The object's own units, whatever its scale"),
            ("world", "World", "The scene's units, with the object's scale applied"),
        ),
        default="local",
        update=_units_changed,
    )
    scale_is_auto: bpy.props.BoolProperty(
        name="Automatic Scale",
        description="Choose from the mesh, for each point of it, how far it is smoothed over: "
        "far on flats and where there is noise, little at edges. When it is turned off, a scale "
        "that was not set by hand starts from what suits the active object",
        default=True,
        update=_scale_changed_hands,
    )
    smoothness: bpy.props.FloatProperty(
        name="Smoothness",
        description="Multiplies the automatic scale: above 1 is smoother, and a clean mesh's own "
        "vertices no longer answer; below 1 keeps more detail",
        default=1.0,
        min=0.1,
        max=10.0,
        soft_min=0.25,
        soft_max=4.0,
        step=10,
    )
    scale: bpy.props.FloatProperty(
        name="Scale",
        description="Size of the neighbourhood that is smoothed over; larger is smoother. A length "
        "in the Units chosen above: the object's own, before its scale, or the scene's",
        default=0.02,
        min=1e-6,
        soft_max=1.0,
        precision=4,
        step=0.1,
        update=_scale_set,
    )
    # What the scale was last set to for the artist; whatever else it is, somebody chose.
    proposed_scale: bpy.props.FloatProperty(options={"HIDDEN"})
    # The units that the scale was set in; empty in files that have none stored.
    scale_units: bpy.props.StringProperty(options={"HIDDEN"})
    resolution: bpy.props.IntProperty(
        name="Resolution",
        description="Cells along a side of the cube around the mesh, which is a ninth wider than "
        "the mesh's longest side",
        default=256,
        min=16,
        max=1024,
        soft_max=512,
    )
    smooth_surface: bpy.props.BoolProperty(
        name="Smoothed Surface",
        description="Extract the surface of the smoothed field instead of the raw one",
        default=True,
    )
    hide_source: bpy.props.BoolProperty(
        name="Hide Source",
        description="Hide the source in the viewport, where both surfaces would shine through",
        default=True,
    )
    quantity: bpy.props.EnumProperty(
        name="Quantity",
        description="What the overlay shows",
        items=tuple((each.name, each.label, "") for each in QUANTITIES.values()),
        default="mean_curvature",
        update=_recolor,
    )
    range_is_auto: bpy.props.BoolProperty(
        name="Automatic Range",
        description="Spread the colours over what most of the surface has. When it is turned off, "
        "the range starts from the one that the active object shows",
        default=True,
        update=_range_changed_hands,
    )
    range_low: bpy.props.FloatProperty(
        name="Low", description="Value of the first colour", default=-1.0, update=_recolor
    )
    range_high: bpy.props.FloatProperty(
        name="High", description="Value of the last colour", default=1.0, update=_recolor
    )

    def wire_scale(self, unit: float) -> Scale:
        """The scale as the backend takes it, in fitted coordinates, one of which is `unit`."""
        return SCALE_AUTO if self.scale_is_auto else self.scale / unit

    @property
    def wire_scale_factor(self) -> float:
        """What the scale is multiplied by."""
        return self.smoothness if self.scale_is_auto else 1.0

    def fit_settings(self) -> FitSettings:
        """The settings that decide a field."""
        return FitSettings(preset=self.preset)

    def smooth_settings(self, unit: float) -> SmoothSettings:
        """The settings of Smooth; see `wire_scale`."""
        return SmoothSettings(scale=self.wire_scale(unit), scale_factor=self.wire_scale_factor)

    def extract_settings(self, unit: float) -> ExtractSettings:
        """The settings of Extract; see `wire_scale`."""
        return ExtractSettings(
            resolution=self.resolution,
            scale=self.wire_scale(unit) if self.smooth_surface else None,
            scale_factor=self.wire_scale_factor,
        )


CLASSES = (FairfieldSettings,)


def register() -> None:
    """Give every scene its settings."""
    bpy.types.Scene.fairfield = bpy.props.PointerProperty(type=FairfieldSettings)


def unregister() -> None:
    """Take the settings back; values stay in the file for the next time."""
    del bpy.types.Scene.fairfield
