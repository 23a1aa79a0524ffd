"""Smooth: attributes of the right name, type, order, value and unit on the artist's mesh."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from scenes import positions, select

KINDS = {
    "smooth_normal": "FLOAT_VECTOR",
    "mean_curvature": "FLOAT",
    "gaussian_curvature": "FLOAT",
    "curvature_max": "FLOAT",
    "curvature_min": "FLOAT",
    "curvedness": "FLOAT",
    "shape_index": "FLOAT",
    "deviation": "FLOAT",
    "curvature_max_direction": "FLOAT_VECTOR",
    "curvature_color": "BYTE_COLOR",
}


def test_a_sphere_of_radius_3_has_mean_curvature_one_third(sphere, read, scene):
    scene.fairfield.scale = 0.4
    ball = sphere(radius=3.0)
    ball.data.vertices.add(1)
    ball.data.vertices[-1].co = (0.0, 0.0, 3.0)  # in no face
    assert bpy.ops.fairfield.smooth() == {"FINISHED"}
    found = {name: ball.data.attributes[name] for name in KINDS}
    assert {name: each.data_type for name, each in found.items()} == KINDS
    assert {each.domain for each in found.values()} == {"POINT"}
    assert {len(each.data) for each in found.values()} == {len(ball.data.vertices)}
    mean = read(ball, "mean_curvature")
    assert np.median(mean) == pytest.approx(1 / 3, rel=0.05)
    assert np.median(read(ball, "gaussian_curvature")) == pytest.approx(1 / 9, rel=0.1)
    used = slice(None, -1)
    outward = positions(ball)[used] / 3
    cosine = (read(ball, "smooth_normal")[used] * outward).sum(axis=1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 3
    assert mean[-1] == pytest.approx(1 / 3, rel=0.3)
    across = (read(ball, "curvature_max_direction")[used] * outward).sum(axis=1)
    assert np.abs(across).mean() < 0.1


def test_rows_follow_the_vertices(sphere, read):
    ball = sphere()
    order = np.random.default_rng(1).permutation(len(ball.data.vertices))
    vertices = positions(ball)[order]
    place = np.argsort(order)
    faces = [[int(place[v]) for v in face.vertices] for face in ball.data.polygons]
    ball.data.clear_geometry()
    ball.data.from_pydata(vertices.tolist(), [], faces)
    bpy.ops.fairfield.smooth()
    assert ((read(ball, "smooth_normal") * vertices).sum(axis=1) > 0.9).mean() > 0.99


def test_the_overlay_is_on_and_colored(sphere, read):
    ball = sphere()
    bpy.ops.fairfield.smooth()
    assert ball.data.color_attributes.active_color.name == "curvature_color"
    assert ball.data.attributes.default_color_name == "curvature_color"
    shown = ball.data["fairfield_shown"]
    assert shown["quantity"] == "mean_curvature"
    assert shown["low"] == -shown["high"]
    red, _, blue, alpha = read(ball, "curvature_color").mean(axis=0)
    assert red > blue
    assert alpha == 1
    viewports = [
        area.spaces.active
        for area in bpy.context.window_manager.windows[0].screen.areas
        if area.type == "VIEW_3D"
    ]
    assert viewports
    assert {each.shading.color_type for each in viewports} == {"VERTEX"}
    bpy.ops.fairfield.overlay()
    assert {each.shading.color_type for each in viewports} == {"MATERIAL"}
    bpy.ops.fairfield.overlay()
    assert {each.shading.color_type for each in viewports} == {"VERTEX"}


def test_a_change_of_quantity_or_range_recolors_at_once(sphere, read, scene):
    ball = sphere()
    bpy.ops.fairfield.smooth()
    before = read(ball, "curvature_color")
    scene.fairfield.range_is_auto = False
    scene.fairfield.range_low, scene.fairfield.range_high = -5.0, 5.0
    wide = read(ball, "curvature_color")
    assert np.abs(before - wide).mean() > 0.05
    scene.fairfield.quantity = "curvedness"
    assert ball.data["fairfield_shown"]["quantity"] == "curvedness"
    assert np.abs(read(ball, "curvature_color") - wide).mean() > 0.05


def test_smooth_normals_become_shading_normals_on_request(sphere, read):
    ball = sphere()
    bpy.ops.fairfield.smooth()
    assert not ball.data.has_custom_normals
    assert bpy.ops.fairfield.apply_normals() == {"FINISHED"}
    assert ball.data.has_custom_normals
    flat = np.empty(len(ball.data.loops) * 3, np.float32)
    ball.data.corner_normals.foreach_get("vector", flat)
    corner = np.empty(len(ball.data.loops), np.int32)
    ball.data.loops.foreach_get("vertex_index", corner)
    wanted = read(ball, "smooth_normal")[corner]
    assert (flat.reshape(-1, 3) * wanted).sum(axis=1).min() > 0.999


def test_a_second_click_uses_the_live_field(sphere, job):
    sphere()
    bpy.ops.fairfield.fit()
    backend = job.session.queue.backend
    job.start("SMOOTH")
    steps = set()
    job.until(lambda: steps.add(job.session.queue.progress.text[:7]) or job.session.click is None)
    assert "Fitting" not in steps
    assert job.session.queue.backend is backend


def test_smooth_after_refine_uses_the_refined_field_and_fit_goes_back(sphere, job, read):
    ball = sphere()
    bpy.ops.fairfield.smooth()
    plain = read(ball, "smooth_normal")
    assert bpy.ops.fairfield.refine() == {"FINISHED"}
    report = job.session.reports[ball.session_uid]
    assert report.noise_after < report.noise_before
    np.testing.assert_array_equal(read(ball, "smooth_normal"), plain)  # nothing is written yet
    bpy.ops.fairfield.smooth()
    refined = read(ball, "smooth_normal")
    assert 0 < np.abs(refined - plain).max() < 0.1
    bpy.ops.fairfield.fit()
    bpy.ops.fairfield.smooth()
    np.testing.assert_array_equal(read(ball, "smooth_normal"), plain)


def test_a_changed_mesh_is_not_taken_for_the_refined_one(sphere, job):
    ball = sphere()
    bpy.ops.fairfield.refine()
    ball.data.vertices[0].co.z += 0.01
    ball.data.update()
    bpy.ops.fairfield.smooth()
    assert job.session.reports[ball.session_uid].noise_after is None
    ball.data.vertices[0].co.z -= 0.01


def test_an_equal_mesh_of_another_object_is_not_the_refined_one(sphere, job):
    gone = sphere()
    ball = gone.copy()
    ball.data = gone.data.copy()
    bpy.context.collection.objects.link(ball)
    select(gone)
    bpy.ops.fairfield.refine()
    bpy.data.objects.remove(gone)
    select(ball)
    bpy.ops.fairfield.smooth()
    assert job.session.reports[ball.session_uid].noise_after is None
    twin = ball.copy()  # with the same mesh
    bpy.context.collection.objects.link(twin)
    bpy.ops.fairfield.refine()
    select(twin)
    bpy.ops.fairfield.smooth()
    assert job.session.reports[twin.session_uid].noise_after is not None


def test_a_report_is_kept_for_the_panel(sphere, job):
    ball = sphere()
    bpy.ops.fairfield.fit()
    report = job.session.reports[ball.session_uid]
    assert 0 < report.relative_error < 0.1
    assert report.seconds > 0


def test_the_panel_says_where_the_mesh_itself_was_better(sphere, job, scene):
    ball = sphere()
    bpy.ops.fairfield.smooth()
    assert job.session.reports[ball.session_uid].from_mesh > 0.8
    scene.fairfield.smoothness = 1.5
    bpy.ops.fairfield.smooth()
    assert job.session.reports[ball.session_uid].from_mesh == 0


def test_the_panel_says_that_only_edges_have_vertices(job, sphere):
    def told(blender_object):
        select(blender_object)
        bpy.ops.fairfield.smooth()
        report = job.session.reports[blender_object.session_uid]
        return " ".join(report.lines(blender_object.name, "m"))

    assert "edges" not in told(sphere())
    bpy.ops.mesh.primitive_cube_add()
    assert "On sharp edges: 100% of the vertices" in told(bpy.context.object)


def test_a_flat_mesh_is_not_colored_by_what_rounding_leaves(mesh_object, read):
    for side in (0.02, 200.0):
        quad = mesh_object([(0, 0, 0), (side, 0, 0), (side, side, 0), (0, side, 0)], [(0, 1, 2, 3)])
        bpy.ops.fairfield.smooth()
        assert np.abs(read(quad, "mean_curvature")).max() > 0
        assert np.ptp(read(quad, "curvature_color"), axis=0).max() < 0.25
