"""Enabling and disabling the extension leaves nothing behind."""

from __future__ import annotations

import bpy
import installed


def test_enabling_twice_and_disabling_leaves_nothing():
    for _ in range(2):
        installed.disable()
        assert not hasattr(bpy.types.Scene, "fairfield")
        assert not hasattr(bpy.types, "FAIRFIELD_PT_main")
        handlers = [*bpy.app.handlers.load_pre, *bpy.app.handlers.undo_post]
        assert not any(each.__module__.startswith(installed.EXTENSION) for each in handlers)
        installed.enable()
        assert bpy.context.scene.fairfield.units == "local"


def test_disabling_ends_the_backend(new_sphere, job):
    job.start("FIT")
    job.started()
    backend = job.session.queue.backend
    installed.disable()
    assert backend.state.value == "ended"
    installed.enable()


def test_panels_are_registered_in_the_sidebar():
    panel = bpy.types.FAIRFIELD_PT_main
    assert (panel.bl_space_type, panel.bl_region_type) == ("VIEW_3D", "UI")
    assert panel.bl_category == "Fairfield"
