"""Local and world units, under every kind of scale."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from scenes import positions


def world(scene: bpy.types.Scene, ball: bpy.types.Object, scale: tuple) -> None:
    scene.fairfield.units = "world"
    scene.fairfield.scale = 0.1 * max(map(abs, scale))
    ball.scale = scale
    ball.rotation_euler = (0.4, -0.3, 0.9)
    ball.location = (500.0, -20.0, 3.0)
    bpy.context.view_layer.update()


def test_local_units_ignore_the_scale(sphere, read):
    ball = sphere()
    ball.scale = (2.0, 2.0, 2.0)
    bpy.ops.fairfield.smooth()
    assert np.median(read(ball, "mean_curvature")) == pytest.approx(1.0, rel=0.05)
    assert ball.data["fairfield_units"] == "local"


@pytest.mark.parametrize("scale", [(2.0, 2.0, 2.0), (-2.0, 2.0, 2.0), (-2.0, -2.0, -2.0)])
def test_world_units_under_uniform_and_mirrored_scale(scene, sphere, read, scale):
    ball = sphere()
    world(scene, ball, scale)
    bpy.ops.fairfield.smooth()
    assert np.median(read(ball, "mean_curvature")) == pytest.approx(0.5, rel=0.05)
    assert ball.data["fairfield_units"] == "world"
    # Normals are in local axes and point outwards there, mirrored or not.
    normals = read(ball, "smooth_normal")
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-4)
    assert (normals * positions(ball)).sum(axis=1).min() > 0.9


def test_world_units_under_uneven_scale_are_those_of_the_ellipsoid(scene, sphere, read):
    ball = sphere(segments=64, ring_count=32)
    axes = np.array([1.5, 1.2, 1.0])
    world(scene, ball, tuple(axes))
    bpy.ops.fairfield.smooth()
    local = positions(ball)
    point = local * axes
    slope = ((point / axes**2) ** 2).sum(axis=1)
    squares = (axes**2).sum() - (point**2).sum(axis=1)
    truth = squares / (2 * axes.prod() ** 2 * slope**1.5)
    error = np.abs(read(ball, "mean_curvature") / truth - 1)
    assert np.median(error) < 0.1
    # A local normal of a unit sphere is its point; the gradient maps back without the scale.
    cosine = (read(ball, "smooth_normal") * local).sum(axis=1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 3


def test_moving_the_object_keeps_the_field(scene, sphere, job):
    ball = sphere()
    world(scene, ball, (2.0, 2.0, 2.0))
    bpy.ops.fairfield.fit()
    fields = set(job.session.queue._reports)
    ball.location = (0.0, 7.0, 0.0)
    bpy.context.view_layer.update()
    bpy.ops.fairfield.fit()
    assert set(job.session.queue._reports) == fields


def test_other_units_keep_the_field_and_its_refinement(scene, sphere, job, read):
    ball = sphere()
    ball.scale, ball.rotation_euler = (2.0, 2.0, 2.0), (0.4, -0.3, 0.9)
    bpy.context.view_layer.update()
    bpy.ops.fairfield.refine()
    bpy.ops.fairfield.smooth()
    fields, local = set(job.session.queue._reports), read(ball, "mean_curvature")
    error = job.session.reports[ball.session_uid].error
    half_size = ball.data["fairfield_half_size"]
    scene.fairfield.units = "world"
    bpy.ops.fairfield.smooth()
    assert set(job.session.queue._reports) == fields
    report = job.session.reports[ball.session_uid]
    assert report.noise_after is not None
    assert report.error == pytest.approx(2 * error)
    np.testing.assert_allclose(read(ball, "mean_curvature"), local / 2, rtol=1e-5)
    assert ball.data["fairfield_half_size"] == pytest.approx(2 * half_size)
    scene.fairfield.resolution = 32
    bpy.ops.fairfield.extract()
    made = bpy.context.active_object
    assert np.linalg.norm(positions(made), axis=1).mean() == pytest.approx(1.0, rel=0.02)
    assert np.median(read(made, "mean_curvature")) == pytest.approx(0.5, rel=0.05)


def test_an_object_without_thickness_is_refused_in_world_units(scene, sphere):
    ball = sphere()
    world(scene, ball, (1.0, 0.0, 1.0))
    with pytest.raises(RuntimeError, match="scale is zero along an axis"):
        bpy.ops.fairfield.smooth()
    scene.fairfield.units = "local"
    assert bpy.ops.fairfield.smooth() == {"FINISHED"}
