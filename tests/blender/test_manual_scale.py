"""What the manual scale starts from when the automatic one is turned off."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from scenes import positions, select


@pytest.fixture
def rough_sphere(sphere):
    """A function that adds a sphere with noise, which the mesh itself cannot answer for."""

    def add(radius: float, **options: object) -> bpy.types.Object:
        ball = sphere(radius=radius, **options)
        noise = np.random.default_rng(3).normal(0, 0.01 * radius, (len(ball.data.vertices), 3))
        ball.data.vertices.foreach_set("co", (positions(ball) + noise).astype("f").reshape(-1))
        ball.data.update()
        return ball

    return add


@pytest.mark.parametrize("radius", [0.004, 700.0])
def test_it_grows_with_the_object(sphere, scene, radius):
    sphere(radius=radius)
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == pytest.approx(0.05 * radius, rel=0.01)


def test_world_units_count_the_scale_and_not_the_rotation(sphere, scene):
    ball = sphere()
    ball.scale, ball.rotation_euler = (3.0, 1.0, 1.0), (0.3, 0.4, 0.5)
    bpy.context.view_layer.update()
    scene.fairfield.units = "world"
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == pytest.approx(0.15, rel=0.01)
    scene.fairfield.scale_is_auto = True
    scene.fairfield.units = "local"
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == pytest.approx(0.05, rel=0.01)


def test_after_smooth_it_is_the_automatic_one(rough_sphere, scene, read):
    """So turning automatic off, and Smooth again, gives about the same curvature."""
    ball = rough_sphere(50.0, segments=96, ring_count=48)
    bpy.ops.fairfield.smooth()
    automatic = read(ball, "mean_curvature")
    scene.fairfield.scale_is_auto = False
    assert 3.0 < scene.fairfield.scale < 50.0  # more than the share of the size
    bpy.ops.fairfield.smooth()
    assert np.median(read(ball, "mean_curvature")) == pytest.approx(np.median(automatic), rel=0.1)
    # Nor does a manual Smooth, Extract or another object in between change what automatic was.
    found = scene.fairfield.scale
    scene.fairfield.resolution = 16
    bpy.ops.fairfield.extract()
    rough_sphere(1.0)
    scene.fairfield.scale_is_auto = True
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == pytest.approx(0.05, rel=0.1)
    ball.hide_set(False)
    select(ball)
    scene.fairfield.scale_is_auto = True
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == found


def test_what_was_set_by_hand_stays(sphere, scene):
    """In whichever order a script sets things, and whatever it selects."""
    sphere()
    scene.fairfield.scale = 0.3
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == pytest.approx(0.3)
    sphere(radius=10.0)
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == pytest.approx(0.3)
    scene.fairfield.property_unset("scale")
    scene.fairfield.scale_is_auto = True
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == pytest.approx(0.5)


@pytest.mark.parametrize("by_hand", [False, True])
def test_it_stays_as_large_in_other_units(rough_sphere, scene, read, by_hand):
    """So Smooth finds the same, but for the units."""
    ball = rough_sphere(1.0)
    ball.scale, ball.rotation_euler = (2.0, 2.0, 2.0), (0.3, 0.4, 0.5)
    bpy.context.view_layer.update()
    if by_hand:
        scene.fairfield.scale = 0.065
    scene.fairfield.scale_is_auto = False
    local = scene.fairfield.scale
    bpy.ops.fairfield.smooth()
    found = read(ball, "mean_curvature")
    scene.fairfield.units = "world"
    scene.fairfield.units = "world"
    assert scene.fairfield.scale == pytest.approx(2 * local)
    bpy.ops.fairfield.smooth()
    np.testing.assert_allclose(read(ball, "mean_curvature"), found / 2, rtol=1e-3, atol=1e-5)
    scene.fairfield.units = "local"
    assert scene.fairfield.scale == pytest.approx(local)
    # Whether somebody chose it is as true as before.
    rough_sphere(10.0)
    scene.fairfield.scale_is_auto = True
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == pytest.approx(local if by_hand else 0.5)


def test_other_units_without_an_object_leave_it_as_it_was(sphere, scene):
    ball = sphere()
    ball.scale = (2.0, 2.0, 2.0)
    bpy.context.view_layer.update()
    scene.fairfield.scale = 0.3
    select()
    scene.fairfield.units = "world"
    assert scene.fairfield.scale == pytest.approx(0.3)
    select(ball)
    scene.fairfield.units = "local"
    assert scene.fairfield.scale == pytest.approx(0.3)
    scene.fairfield.units = "world"
    assert scene.fairfield.scale == pytest.approx(0.6)
    # What is set by hand meanwhile is in the units that are shown.
    select()
    scene.fairfield.units = "local"
    scene.fairfield.scale = 0.4
    select(ball)
    scene.fairfield.units = "world"
    assert scene.fairfield.scale == pytest.approx(0.8)


def test_a_file_that_does_not_say_the_units_of_its_scale(sphere, scene):
    ball = sphere()
    ball.scale = (2.0, 2.0, 2.0)
    bpy.context.view_layer.update()
    scene.fairfield.units = "world"
    scene.fairfield.scale = 0.3
    scene.fairfield.property_unset("scale_units")
    scene.fairfield.units = "local"
    assert scene.fairfield.scale == pytest.approx(0.15)


def test_another_scene_takes_nothing_from_the_active_object(sphere):
    sphere()
    other = bpy.data.scenes.new("Other")
    before = other.fairfield.scale
    other.fairfield.scale_is_auto = False
    assert other.fairfield.scale == before


def test_a_mesh_that_answers_itself_tells_no_scale(sphere, scene):
    """Its own neighbourhoods are of the size of its faces."""
    sphere(segments=96, ring_count=48)
    bpy.ops.fairfield.smooth()
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == pytest.approx(0.05, rel=0.01)


def test_without_an_object_it_stays(scene):
    before = scene.fairfield.scale
    scene.fairfield.scale_is_auto = False
    assert scene.fairfield.scale == before
