"""Adds everything to Blender and takes it back, in one place and in a fixed order."""

from __future__ import annotations

import atexit
from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import (
    legend,
    mesh_changes,
    operators,
    overlay,
    panel,
    preferences,
    session,
    settings,
    timer,
)

CLASSES = (*settings.CLASSES, *preferences.CLASSES, *operators.CLASSES, *panel.CLASSES)


def register() -> None:
    """Register classes, settings, handlers and the session."""
    for each in CLASSES:
        bpy.utils.register_class(each)
    settings.register()
    session.open_session()
    bpy.app.handlers.load_pre.append(_before_load)
    bpy.app.handlers.undo_post.append(_after_undo)
    bpy.app.handlers.redo_post.append(_after_redo)
    mesh_changes.register()
    legend.register()
    # Blender does not disable extensions in every way of ending.
    atexit.register(_end)


def unregister() -> None:
    """Take back what `register` added, in the opposite order."""
    atexit.unregister(_end)
    _end()
    legend.unregister()
    mesh_changes.unregister()
    bpy.app.handlers.redo_post.remove(_after_redo)
    bpy.app.handlers.undo_post.remove(_after_undo)
    bpy.app.handlers.load_pre.remove(_before_load)
    settings.unregister()
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)


def _end() -> None:
    timer.stop()
    session.close_session()


@persistent
def _before_load(*_arguments: Any) -> None:
    session.current().forget_scene()


@persistent
def _after_undo(*_arguments: Any) -> None:
    overlay.turn_off_if_nothing_is_colored(bpy.context)


@persistent
def _after_redo(*_arguments: Any) -> None:
    overlay.turn_on_if_colors_came_back(bpy.context)
