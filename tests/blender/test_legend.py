"""The legend of the overlay, and the range that it is about."""

from __future__ import annotations

from types import SimpleNamespace

import bpy
import installed
import pytest
from scenes import select


@pytest.fixture
def legend(monkeypatch):
    """A function that returns the lines of text that the legend draws, without drawing them."""
    module = installed.module("legend")
    lines: list[str] = []
    monkeypatch.setattr(module, "_corner", lambda _context, _scale: (0, 0))
    monkeypatch.setattr(module, "_draw_bar", lambda *_: None)
    monkeypatch.setattr(module, "_draw_text", lambda text, *_: lines.append(text))

    def draw() -> list[str]:
        lines.clear()
        context = SimpleNamespace(
            active_object=bpy.context.active_object,
            screen=None,
            scene=bpy.context.scene,
            preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1.0)),
        )
        # Only here: Smooth has to know whether the overlay is on.
        with monkeypatch.context() as patch:
            patch.setattr(module.overlay, "is_on", lambda _screen: True)
            patch.setattr(module, "bpy", SimpleNamespace(context=context))
            module._draw()
        return lines

    return draw


def test_it_names_the_object_that_its_range_is_of(sphere, legend):
    small, large = sphere(radius=0.8), sphere(radius=1.4)
    select(small, large)
    bpy.ops.fairfield.smooth()
    of_large = list(legend())
    assert large.name in of_large
    assert "Mean Curvature (1/unit)" in of_large
    bpy.context.view_layer.objects.active = small
    of_small = list(legend())
    assert small.name in of_small
    assert of_small[:3] != of_large[:3]  # the numbers


def test_a_manual_range_starts_from_the_one_that_is_shown(sphere, scene):
    small, large = sphere(radius=0.8), sphere(radius=1.4)
    select(small, large)
    bpy.ops.fairfield.smooth()

    def turn_automatic_off() -> tuple[float, float]:
        scene.fairfield.range_is_auto = True
        scene.fairfield.range_is_auto = False
        return scene.fairfield.range_low, scene.fairfield.range_high

    for each in (small, large):
        bpy.context.view_layer.objects.active = each
        scene.fairfield.range_is_auto = True
        shown = each.data["fairfield_shown"]
        shown = shown["low"], shown["high"]
        assert turn_automatic_off() == pytest.approx(shown)
        assert each.data["fairfield_shown"]["high"] == pytest.approx(shown[1])
    # What the artist sets goes with the next turn, and what a script sets before it counts.
    scene.fairfield.range_high = 99.0
    assert turn_automatic_off() == pytest.approx(shown)
    scene.fairfield.range_is_auto = True
    scene.fairfield.range_low, scene.fairfield.range_high = -5.0, 5.0
    scene.fairfield.range_is_auto = False
    assert (scene.fairfield.range_low, scene.fairfield.range_high) == (-5, 5)
    # Without colours there is nothing to start from.
    for each in (small, large):
        bpy.data.objects.remove(each)
    assert turn_automatic_off() == (-1, 1)
