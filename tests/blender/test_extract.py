"""Extract: a new object that stands where the source stands, with attributes of its own."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from scenes import positions
from test_smooth import KINDS


def stands_like(one: bpy.types.Object, other: bpy.types.Object) -> bool:
    return np.allclose(one.matrix_world, other.matrix_world, atol=1e-5)


@pytest.mark.parametrize("units", ["local", "world"])
@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (-2.0, 1.0, 1.5)])
def test_the_corrected_mesh_stands_beside_its_source(scene, sphere, read, units, scale):
    ball = sphere(radius=3.0)
    ball.scale, ball.rotation_euler, ball.location = scale, (0.2, 0.5, 0.1), (1.0, 2.0, 3.0)
    ball.data.materials.append(bpy.data.materials.new("Skin"))
    folder = bpy.data.collections.new("Folder")
    scene.collection.children.link(folder)
    folder.objects.link(ball)
    bpy.context.view_layer.update()
    scene.fairfield.units, scene.fairfield.resolution = units, 48
    assert bpy.ops.fairfield.extract() == {"FINISHED"}
    made = bpy.data.objects["Sphere Fairfield"]
    assert bpy.context.active_object is made
    assert bpy.context.selected_objects == [made]
    assert stands_like(made, ball)
    assert set(made.users_collection) == set(ball.users_collection)
    assert list(made.data.materials) == list(ball.data.materials)
    radius = np.linalg.norm(positions(made), axis=1)
    assert radius.mean() == pytest.approx(3.0, rel=0.02)
    # Faces look outwards in the object's own axes, and shading is smooth.
    centers = np.array([face.center for face in made.data.polygons])
    normals = np.array([face.normal for face in made.data.polygons])
    assert ((centers * normals).sum(axis=1) > 0).mean() > 0.99
    assert "sharp_face" not in made.data.attributes
    assert set(KINDS) - {"deviation"} <= set(made.data.attributes.keys())
    assert (read(made, "smooth_normal") * positions(made)).sum(axis=1).min() > 0
    assert not made.data.validate()
    assert "smooth_normal" not in ball.data.attributes
    assert ball.hide_get()
    assert not made.hide_get()


def test_a_parented_and_constrained_source(scene, sphere):
    parent = bpy.data.objects.new("Parent", None)
    scene.collection.objects.link(parent)
    parent.location, parent.rotation_euler = (0.0, 0.0, 5.0), (0.3, 0.0, 0.0)
    ball = sphere()
    ball.parent = parent
    constraint = ball.constraints.new("COPY_LOCATION")
    constraint.target = parent
    constraint.use_offset = True
    ball.location = (1.0, 0.0, 0.0)
    bpy.context.view_layer.update()
    scene.fairfield.resolution = 32
    bpy.ops.fairfield.extract()
    made = bpy.context.active_object
    assert made.parent is parent
    assert stands_like(made, ball)


def test_an_extracted_mesh_is_colored_once_a_quantity_is_chosen_that_it_has(scene, sphere):
    sphere()
    scene.fairfield.quantity, scene.fairfield.resolution = "deviation", 32
    bpy.ops.fairfield.extract()
    mesh = bpy.data.objects["Sphere Fairfield"].data
    assert "curvature_color" not in mesh.attributes
    scene.fairfield.quantity = "mean_curvature"
    assert mesh["fairfield_shown"]["quantity"] == "mean_curvature"
    assert "curvature_color" in mesh.attributes


def test_the_raw_surface_can_be_extracted(scene, sphere):
    sphere()
    scene.fairfield.smooth_surface, scene.fairfield.resolution = False, 32
    scene.fairfield.hide_source = False
    bpy.ops.fairfield.extract()
    assert not bpy.data.objects["Sphere"].hide_get()
    assert len(bpy.context.active_object.data.polygons) > 100
