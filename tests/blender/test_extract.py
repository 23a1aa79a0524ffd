"""Extract: a new object that stands where the source stands, with attributes of its own."""

from __future__ import annotations

import bpy
import installed
import numpy as np
import pytest
from scenes import positions, select
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


def test_shading_ends_at_the_edges_of_a_box(scene):
    """They are marked as sharp, which is no work of the user's."""
    bpy.ops.mesh.primitive_cube_add(size=2.0)
    source = bpy.context.object
    source.scale = (-1.0, 1.0, 2.0)
    bpy.context.view_layer.update()
    scene.fairfield.resolution = 48
    bpy.ops.fairfield.extract()
    made = bpy.context.active_object
    sharp = [edge for edge in made.data.edges if edge.use_edge_sharp]
    ends = positions(made)[np.array([edge.vertices for edge in sharp])]
    on_edge = np.isclose(np.abs(ends), 1.0, atol=1e-4).sum(axis=2) >= 2
    assert on_edge.all()
    # As long as the twelve edges together.
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum()
    assert length == pytest.approx(24.0, rel=0.01)
    for _ in range(2):
        corners = np.array([normal.vector for normal in made.data.corner_normals])
        assert np.quantile(np.abs(corners).max(axis=1), 0.02) > 0.99
        # Smooth normals end at the edges, too.
        assert bpy.ops.fairfield.apply_normals() == {"FINISHED"}
    assert installed.module("extractions").is_untouched(made)
    made.data.edges[0].use_edge_sharp = not made.data.edges[0].use_edge_sharp
    assert not installed.module("extractions").is_untouched(made)


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


def extracted_again(**settings) -> bpy.types.Object:
    """Click Extract with what is selected, which must end as one object with a mesh."""
    for name, value in settings.items():
        setattr(bpy.context.scene.fairfield, name, value)
    assert bpy.ops.fairfield.extract() == {"FINISHED"}
    (made,) = bpy.context.selected_objects
    return made


def test_another_extract_of_a_result_is_of_its_source(sphere, job):
    ball = sphere(segments=24, ring_count=12)
    ball.modifiers.new("Rounder", "SUBSURF")  # counts though the source is hidden by then
    made = extracted_again(resolution=24)
    made.name, made.location.x = "Kept", 5.0
    skin = bpy.data.materials.new("Skin")
    made.data.materials.append(skin)
    ball.name = "Renamed"
    fields = set(job.session.queue._reports)
    coarse, names = len(made.data.vertices), {each.name for each in bpy.data.objects}
    assert extracted_again(resolution=48) is made
    assert set(job.session.queue._reports) == fields
    assert {each.name for each in bpy.data.objects} == names
    assert len(bpy.data.meshes) == 2
    assert len(made.data.vertices) > 3 * coarse
    assert made.data.name == "Sphere Fairfield"
    assert made.location.x == 5.0
    assert list(made.data.materials) == [skin]
    assert ball.hide_get()
    assert "extracted" in job.session.reports[made.session_uid].done
    # Fit and Smooth mean what is selected.
    bpy.ops.fairfield.smooth()
    assert set(job.session.queue._reports) != fields
    assert extracted_again(resolution=24) is made
    assert len(made.data.vertices) == coarse


def test_a_copy_of_a_result_knows_its_source(sphere):
    """By name, as in later sessions too."""
    sphere()
    made = extracted_again(resolution=24)
    twin = made.copy()
    twin.data = made.data.copy()
    bpy.context.collection.objects.link(twin)
    select(twin)
    assert extracted_again(resolution=32) is twin
    assert len(twin.data.vertices) > len(made.data.vertices)
    assert len(bpy.data.objects) == 3


def test_source_and_result_selected_together_give_one_mesh(sphere):
    ball = sphere()
    made = extracted_again(resolution=24, hide_source=False)
    select(ball, made)
    assert extracted_again(resolution=32) is made
    assert len(bpy.data.objects) == 2


def test_results_of_a_shared_mesh_are_exchanged_together(sphere):
    one = sphere()
    other = one.copy()
    bpy.context.collection.objects.link(other)
    other.location.x = 3.0
    select(one, other)
    bpy.context.scene.fairfield.resolution = 24
    bpy.ops.fairfield.extract()
    made = set(bpy.context.selected_objects)
    bpy.context.scene.fairfield.resolution = 32
    bpy.ops.fairfield.extract()
    assert set(bpy.context.selected_objects) == made
    assert len({each.data for each in made}) == 1
    assert len(bpy.data.objects) == 4


def test_an_edited_result_is_a_mesh_like_any_other(sphere):
    sphere()
    made = extracted_again(resolution=24)
    made.data.vertices[0].co *= 1.01
    made.data.update()
    assert extracted_again().name == "Sphere Fairfield Fairfield"
    assert made.name in bpy.data.objects


def _paint(made: bpy.types.Object) -> None:
    made.data.color_attributes.new("Painted", "BYTE_COLOR", "CORNER")


def _give_a_face_another_material(made: bpy.types.Object) -> None:
    for name in ("Skin", "Eyes"):
        made.data.materials.append(bpy.data.materials.new(name))
    made.data.polygons[3].material_index = 1


WORK = {
    "UVs": lambda made: made.data.uv_layers.new(),
    "colours": _paint,
    "weights": lambda made: made.vertex_groups.new(name="Arm").add([0, 1], 1.0, "REPLACE"),
    "shape keys": lambda made: made.shape_key_add(),
    "materials of faces": _give_a_face_another_material,
    "seams": lambda made: setattr(made.data.edges[0], "use_seam", True),
    "sharp edges": lambda made: setattr(made.data.edges[0], "use_edge_sharp", True),
    "an attribute": lambda made: made.data.attributes.new("own", "FLOAT", "POINT"),
    "sculpted details": lambda made: made.modifiers.new("Details", "MULTIRES"),
}


def test_a_result_with_work_on_it_is_an_edited_one(sphere):
    sphere()
    made = extracted_again(resolution=24)
    extractions = installed.module("extractions")
    for name, put in WORK.items():
        twin = made.copy()
        twin.data = made.data.copy()
        bpy.context.collection.objects.link(twin)
        assert extractions.is_untouched(twin), name
        put(twin)
        assert not extractions.is_untouched(twin), name
    select(made)
    made.data.uv_layers.new(name="Unwrapped")
    assert extracted_again() is not made
    assert "Unwrapped" in made.data.uv_layers


def test_what_fairfield_puts_on_a_result_is_no_work(sphere, scene):
    sphere()
    made = extracted_again(resolution=24)
    bpy.ops.fairfield.smooth()
    scene.fairfield.quantity = "curvedness"
    bpy.ops.fairfield.apply_normals()
    _give_a_face_another_material(made)
    made.data.polygons[3].material_index = 0
    materials = list(made.data.materials)
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.object.mode_set(mode="OBJECT")
    assert extracted_again() is made
    assert list(made.data.materials) == materials


def test_a_result_of_another_size_gets_no_values_of_the_first(sphere, scene, read):
    """In world units."""
    scene.fairfield.units = "world"
    sphere()
    made = extracted_again(resolution=24)
    made.scale = (3.0, 3.0, 3.0)
    other = extracted_again(resolution=32)
    assert other is not made
    assert other.scale[0] == 1.0
    assert np.median(read(other, "mean_curvature")) == pytest.approx(1.0, rel=0.05)
    select(made)
    assert extracted_again(units="local") is made  # where the size does not matter


def test_results_keep_their_own_materials(sphere):
    ball = sphere()
    made = extracted_again(resolution=24)
    twin = made.copy()
    twin.data = made.data.copy()
    bpy.context.collection.objects.link(twin)
    for each in (made, twin):
        each.data.materials.append(bpy.data.materials.new("Skin"))
    skins = [each.data.materials[0] for each in (made, twin)]
    assert skins[0] is not skins[1]
    select(ball, made, twin)
    bpy.context.scene.fairfield.resolution = 32
    bpy.ops.fairfield.extract()
    assert set(bpy.context.selected_objects) == {made, twin}
    assert [list(each.data.materials) for each in (made, twin)] == [[each] for each in skins]
    assert len(made.data.vertices) == len(twin.data.vertices)
    assert "curvature_color" in twin.data.attributes
    assert len(bpy.data.meshes) == 3


@pytest.mark.parametrize("namesake", ["the result", "another mesh", "the source"])
def test_in_later_sessions_a_name_is_not_enough(sphere, job, tmp_path, namesake):
    ball = sphere()
    made = extracted_again(resolution=24)
    if namesake != "the source":
        bpy.data.objects.remove(ball)
    if namesake == "the result":
        made.name = "Sphere"
    elif namesake == "another mesh":
        sphere(radius=2.0).name = "Sphere"
    name, other = made.name, "Sphere"
    select(made)
    path = str(tmp_path / "later.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    made = bpy.data.objects[name]
    count, others = len(made.data.vertices), len(bpy.data.objects[other].data.vertices)
    if namesake == "the source":
        assert extracted_again(resolution=32) is made
        assert not job.session.messages
        return
    assert extracted_again(resolution=32) is not made
    assert "is gone or has another mesh by now" in job.session.messages[0]
    assert len(made.data.vertices) == count
    assert len(bpy.data.objects[other].data.vertices) == others


def test_a_result_whose_source_cannot_be_read_says_so(sphere, job):
    ball = sphere()
    made = extracted_again(resolution=24)
    ball.hide_viewport = True
    with pytest.raises(RuntimeError, match="its source 'Sphere' is not shown in this view layer"):
        bpy.ops.fairfield.extract()
    bpy.data.objects.remove(ball)
    assert extracted_again() is not made
    assert job.session.messages == [
        "Sphere Fairfield: its source 'Sphere' is gone or has another mesh by now, so the "
        "extracted mesh itself was fitted."
    ]


def test_undo_brings_the_former_mesh_back(sphere):
    sphere()
    name = extracted_again(resolution=24).name
    count = len(bpy.data.objects[name].data.vertices)
    bpy.ops.ed.undo_push(message="Before")
    extracted_again(resolution=32)
    bpy.ops.ed.undo_push(message="After")
    assert len(bpy.data.objects[name].data.vertices) > count
    if not bpy.ops.ed.undo.poll():
        pytest.skip("this Blender has no undo without a window")
    bpy.ops.ed.undo()
    assert len(bpy.data.objects[name].data.vertices) == count
    select(bpy.data.objects[name])
    assert extracted_again(resolution=32).name == name
