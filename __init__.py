"""Fairfield as a Blender extension: Blender imports this module and calls the two functions.

Blender's modules load inside them, so that tools which import this folder outside Blender can.
"""

from __future__ import annotations


def register() -> None:
    """Add Fairfield's panel, operators and settings to Blender."""
    from . import blender_addon

    blender_addon.register()


def unregister() -> None:
    """Take everything back that `register` added."""
    from . import blender_addon

    blender_addon.unregister()
