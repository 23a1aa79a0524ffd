"""Fairfield inside Blender. What knows Blender is in this package; `client` knows the backend.

Blender's modules are imported inside `register`, so that `client` loads without them.
"""

from __future__ import annotations


def register() -> None:
    """Add the classes, settings and handlers to Blender."""
    from . import registration

    registration.register()


def unregister() -> None:
    """End what is under way and take everything back that `register` added."""
    from . import registration

    registration.unregister()
