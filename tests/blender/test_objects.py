"""Several objects, shared meshes, modifiers and modes."""

from __future__ import annotations

import bpy
import installed
import numpy as np
import pytest
from scenes import delete_a_face, positions, select


def _smooth_and_wait_in_edit_mode(job):
    """Click Smooth and go into Edit Mode, where the result waits."""
    job.start("SMOOTH")
    job.started()
    bpy.ops.object.mode_set(mode="EDIT")
    job.until(lambda: job.session.waiting)


def test_every_selected_mesh_is_smoothed(sphere, read):
    small, large = sphere(radius=1.0), sphere(radius=1.5)
    light = bpy.data.objects.new("Light", bpy.data.lights.new("Light", "POINT"))
    bpy.context.collection.objects.link(light)
    select(small, light, large)
    bpy.ops.fairfield.smooth()
    assert np.median(read(small, "mean_curvature")) == pytest.approx(1.0, rel=0.05)
    assert np.median(read(large, "mean_curvature")) == pytest.approx(1 / 1.5, rel=0.05)


def test_a_shared_mesh_is_fitted_once(sphere, job):
    one = sphere()
    other = one.copy()
    bpy.context.collection.objects.link(other)
    other.location = (3.0, 0.0, 0.0)
    select(one, other)
    job.start("FIT")
    assert len(job.session.click.work) == 1
    job.finish()
    assert set(job.session.reports) == {one.session_uid, other.session_uid}


def test_a_shared_mesh_cannot_hold_two_sets_of_world_values(scene, sphere):
    one = sphere()
    other = one.copy()
    bpy.context.collection.objects.link(other)
    other.scale = (2.0, 2.0, 2.0)
    select(one, other)
    bpy.context.view_layer.update()
    scene.fairfield.units = "world"
    session = installed.module("session").current()
    assert bpy.ops.fairfield.smooth() == {"FINISHED"}
    assert any("Make Single User" in message for message in session.messages)


def test_modifiers_are_fitted_and_attributes_go_to_the_base_mesh(sphere, read, job):
    ball = sphere()
    bpy.ops.object.modifier_add(type="CAST")
    ball.modifiers[0].factor, ball.modifiers[0].radius, ball.modifiers[0].size = 1.0, 0.0, 2.0
    ball.modifiers[0].use_radius_as_size = False
    displace = ball.modifiers.new("Grow", "DISPLACE")
    displace.strength, displace.mid_level = 0.02, 0.0
    assert installed.module("sources").changes_geometry(ball)
    bpy.ops.fairfield.smooth()
    assert len(read(ball, "mean_curvature")) == len(ball.data.vertices)
    assert any("modifiers or shape keys" in message for message in job.session.messages)
    assert bpy.ops.fairfield.copy_with_modifiers() == {"FINISHED"}
    copy = bpy.context.active_object
    assert copy is not ball
    assert not copy.modifiers
    assert np.linalg.norm(positions(copy), axis=1).mean() > 1.01


def test_smooth_in_edit_mode_waits_for_object_mode(new_sphere, job):
    ball = new_sphere
    _smooth_and_wait_in_edit_mode(job)
    job.tick()
    assert "mean_curvature" not in ball.data.attributes
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    assert "mean_curvature" in ball.data.attributes


def test_a_script_in_edit_mode_is_told_so(sphere):
    sphere()
    bpy.ops.object.mode_set(mode="EDIT")
    for operator in ("smooth", "extract", "overlay", "apply_normals"):
        with pytest.raises(RuntimeError, match="Edit Mode"):
            getattr(bpy.ops.fairfield, operator)()
    for operator in ("export", "copy_with_modifiers"):
        with pytest.raises(RuntimeError, match="Object Mode"):
            options = {"filepath": "unused.ply"} if operator == "export" else {}
            getattr(bpy.ops.fairfield, operator)(**options)


def test_a_click_in_edit_mode_reads_the_edited_mesh(sphere, job, read, scene):
    scene.fairfield.scale = 0.2
    ball = sphere()
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.resize(value=(2, 2, 2))
    job.start("SMOOTH")
    job.until(lambda: job.session.waiting)
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    assert np.median(read(ball, "mean_curvature")) == pytest.approx(0.5, rel=0.05)


def test_extract_waits_while_another_object_is_edited(new_sphere, mesh_object, job, scene):
    scene.fairfield.resolution = 32
    job.start("EXTRACT")
    job.started()
    edited = mesh_object([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(0, 1, 2)])
    bpy.ops.object.mode_set(mode="EDIT")
    job.until(lambda: job.session.waiting)
    job.tick()
    assert "Sphere Fairfield" not in bpy.data.objects
    assert bpy.context.active_object is edited
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    assert bpy.context.active_object.name == "Sphere Fairfield"


def test_a_result_that_waits_outlives_other_clicks(new_sphere, job, scene):
    scene.fairfield.resolution = 32
    ball = new_sphere
    _smooth_and_wait_in_edit_mode(job)
    job.start("EXTRACT")
    job.finish()
    job.start("FIT")
    bpy.ops.fairfield.cancel()
    job.finish()
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    assert "mean_curvature" in ball.data.attributes
    assert "Sphere Fairfield" in bpy.data.objects
    assert job.session.messages == ["Cancelled."]


def test_a_result_that_waits_outlives_a_click_of_a_script(new_sphere, job):
    _smooth_and_wait_in_edit_mode(job)
    assert bpy.ops.fairfield.fit() == {"FINISHED"}
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    assert "mean_curvature" in new_sphere.data.attributes


def test_of_two_smooths_that_wait_the_later_is_written(new_sphere, job, read):
    ball = new_sphere
    _smooth_and_wait_in_edit_mode(job)
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.resize(value=(2, 2, 2))
    job.start("SMOOTH")
    job.finish()
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    radius = np.linalg.norm(positions(ball), axis=1).mean()
    assert radius > 2
    assert np.median(read(ball, "mean_curvature")) == pytest.approx(1 / radius, rel=0.05)
    assert not job.session.messages


def test_a_result_that_waits_can_be_dropped(new_sphere, job):
    _smooth_and_wait_in_edit_mode(job)
    bpy.ops.fairfield.drop_results()
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    assert "mean_curvature" not in new_sphere.data.attributes


def test_a_second_click_on_cancel_does_not_drop_a_result_that_waits(new_sphere, job):
    _smooth_and_wait_in_edit_mode(job)
    job.start("FIT")
    bpy.ops.fairfield.cancel()
    job.finish()
    bpy.ops.fairfield.cancel()
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    assert "mean_curvature" in new_sphere.data.attributes


def test_smooth_and_extract_that_wait_have_an_undo_step_each(new_sphere, job, scene):
    scene.fairfield.resolution = 32
    _smooth_and_wait_in_edit_mode(job)
    job.start("EXTRACT")
    job.finish()
    name = new_sphere.name
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.ed.undo_push(message="Left Edit Mode")  # as a window does
    job.until(lambda: job.session.idle)
    assert f"{name} Fairfield" in bpy.data.objects
    if not bpy.ops.ed.undo.poll():
        pytest.skip("this Blender has no undo without a window")
    bpy.ops.ed.undo()
    assert f"{name} Fairfield" not in bpy.data.objects
    assert "mean_curvature" in bpy.data.objects[name].data.attributes
    bpy.ops.ed.undo()
    assert "mean_curvature" not in bpy.data.objects[name].data.attributes


def test_a_result_is_not_written_on_faces_that_it_is_not_of(new_sphere, job):
    job.start("SMOOTH")
    job.started()
    delete_a_face(new_sphere.data)
    job.finish()
    job.until(lambda: job.session.idle)
    assert "mean_curvature" not in new_sphere.data.attributes
    assert "changed meanwhile" in job.session.messages[0]


def test_undo_takes_the_result_back(sphere):
    ball = sphere()
    name = ball.name
    bpy.ops.ed.undo_push(message="Before")
    bpy.ops.fairfield.smooth("EXEC_DEFAULT", True)
    assert "mean_curvature" in bpy.data.objects[name].data.attributes
    bpy.ops.ed.undo_push(message="After")
    if not bpy.ops.ed.undo.poll():
        pytest.skip("this Blender has no undo without a window")
    bpy.ops.ed.undo()
    assert "mean_curvature" not in bpy.data.objects[name].data.attributes
