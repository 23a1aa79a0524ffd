"""The legend of the overlay: a bar of colours with numbers, drawn over the 3D viewport."""

from __future__ import annotations

import blf
import bpy
import gpu
import numpy as np

from . import attributes, colormap, overlay
from .quantities import COLOR, QUANTITIES, Quantity, unit_text

# In pixels at an interface scale of 1.
BAR_WIDTH, BAR_HEIGHT, MARGIN, FONT_SIZE = 14, 180, 20, 12
STEPS = 48
FONT = 0
TEXT_COLOR = (0.92, 0.92, 0.92, 1.0)
SHADOW_COLOR = (0.0, 0.0, 0.0, 0.8)

_handler: object | None = None


def register() -> None:
    """Draw the legend in every 3D viewport from now on; without a window there is none."""
    global _handler
    if not bpy.app.background:
        _handler = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    """Draw the legend no more."""
    global _handler
    if _handler is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handler, "WINDOW")
        _handler = None


def length_unit(scene: bpy.types.Scene, units: str) -> str:
    """Return the name of the unit of length that values in these units have."""
    system = scene.unit_settings
    if units == "world" and system.system == "METRIC" and system.scale_length == 1.0:
        return "m"
    return "unit"


def number_text(value: float) -> str:
    """Return a number as the legend writes it: three digits, with a true minus sign."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _draw() -> None:
    context = bpy.context
    blender_object = context.active_object
    if not overlay.is_on(context.screen) or blender_object is None:
        return
    if blender_object.type != "MESH" or COLOR not in blender_object.data.attributes:
        return
    mesh = blender_object.data
    shown = mesh.get(overlay.SHOWN_KEY)
    if shown is None or shown["quantity"] not in QUANTITIES:
        return
    quantity = QUANTITIES[shown["quantity"]]
    unit = length_unit(context.scene, mesh.get(attributes.UNITS_KEY, "local"))
    text = unit_text(quantity, unit)
    # The name, since each object has a range of its own.
    title = [f"{quantity.label} ({text})" if text else quantity.label, blender_object.name]
    _draw_legend(context, quantity, shown["low"], shown["high"], title)


def _draw_legend(
    context: bpy.types.Context, quantity: Quantity, low: float, high: float, title: list[str]
) -> None:
    """Draw the bar, and above it the lines of the title from below upwards."""
    scale = context.preferences.system.ui_scale
    left, bottom = _corner(context, scale)
    width, height = BAR_WIDTH * scale, BAR_HEIGHT * scale
    _draw_bar(
        left,
        bottom,
        width,
        height,
        colormap.colors(np.linspace(low, high, STEPS), low, high, signed=quantity.signed),
    )
    middle = (low + high) / 2
    for part, value in ((0.0, low), (0.5, middle), (1.0, high)):
        _draw_text(
            number_text(value),
            left + width + 6 * scale,
            bottom + part * height - 0.35 * FONT_SIZE * scale,
            scale,
        )
    for number, line in enumerate(title):
        _draw_text(line, left, bottom + height + (0.9 + 1.4 * number) * FONT_SIZE * scale, scale)


def _corner(context: bpy.types.Context, scale: float) -> tuple[float, float]:
    """Return the lower left corner of the bar, clear of what else lies over the viewport."""
    left, bottom = MARGIN * scale, 2 * MARGIN * scale
    if context.preferences.system.use_region_overlap:
        for region in context.area.regions:  # those that are hidden are 1 wide and high
            if region.type == "TOOLS" and region.width > 1:
                left += region.width
            elif region.type in {"ASSET_SHELF", "ASSET_SHELF_HEADER"} and region.height > 1:
                bottom += region.height
    return left, bottom


def _draw_bar(left: float, bottom: float, width: float, height: float, colors: np.ndarray) -> None:
    steps = np.linspace(bottom, bottom + height, len(colors))
    positions = [(x, float(y)) for y in steps for x in (left, left + width)]
    vertex_colors = [tuple(map(float, color)) for color in colors for _ in range(2)]
    shape = gpu.types.GPUVertFormat()
    shape.attr_add(id="pos", comp_type="F32", len=2, fetch_mode="FLOAT")
    shape.attr_add(id="color", comp_type="F32", len=4, fetch_mode="FLOAT")
    buffer = gpu.types.GPUVertBuf(format=shape, len=len(positions))
    buffer.attr_fill(id="pos", data=positions)
    buffer.attr_fill(id="color", data=vertex_colors)
    shader = gpu.shader.from_builtin("SMOOTH_COLOR")
    gpu.types.GPUBatch(type="TRI_STRIP", buf=buffer).draw(shader)


def _draw_text(text: str, x: float, y: float, scale: float) -> None:
    blf.size(FONT, FONT_SIZE * scale)
    blf.color(FONT, *TEXT_COLOR)
    blf.enable(FONT, blf.SHADOW)
    blf.shadow(FONT, 3, *SHADOW_COLOR)
    blf.position(FONT, x, y, 0)
    blf.draw(FONT, text)
    blf.disable(FONT, blf.SHADOW)
