"""Sentences in panels: Blender's labels do not wrap, so these are cut into lines."""

from __future__ import annotations

import textwrap

import bpy

# Average width of a letter of the interface font, in pixels at an interface scale of 1.
LETTER_WIDTH = 6.5
# Pixels of a panel's width that text cannot use: margins, an icon, the scroll bar.
PADDING = 60


def draw_sentence(
    layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str
) -> None:
    """Draw text over as many lines as the sidebar's width needs; labels do not wrap."""
    scale = context.preferences.system.ui_scale
    letters = int((context.region.width / scale - PADDING) / LETTER_WIDTH)
    column = layout.column()
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, max(16, letters))):
        column.label(text=line, icon=icon if number == 0 else "BLANK1" if icon != "NONE" else icon)
