"""What the panel tells: what is true now, and once."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace

import bpy
import installed
import pytest
from scenes import delete_a_face, select


class Page:
    """Takes the place of a panel's layout, and keeps what is written on it."""

    def __init__(self, lines: list[list[str]] | None = None, in_a_row: bool = False) -> None:
        self.lines = [] if lines is None else lines
        self.in_a_row = in_a_row
        self.scale_y = 1.0

    def box(self) -> Page:
        return Page(self.lines)

    def column(self) -> Page:
        return self if self.in_a_row else Page(self.lines)

    def row(self) -> Page:
        self.lines.append([])
        return Page(self.lines, in_a_row=True)

    def split(self, factor: float) -> Page:
        return self.row()

    def _add(self, text: str) -> None:
        if self.in_a_row:
            self.lines[-1].append(text)
        else:
            self.lines.append([text])

    def label(self, text: str, icon: str = "NONE") -> None:
        self._add(text)

    def progress(self, factor: float, text: str) -> None:
        self._add(text)

    def prop(self, owner: object, name: str, text: str | None = None) -> None:
        self._add(text or name)

    def operator(self, name: str, text: str = "", icon: str = "NONE") -> None:
        self._add(text or name)


@pytest.fixture
def drawn() -> Callable[[str], list[list[str]]]:
    """A function that returns the lines of a panel, such as "ReportPanel", as it is now."""
    panel = installed.module("panel")

    def lines(name: str) -> list[list[str]]:
        bpy.context.view_layer.update()  # as it is before every redraw
        page = Page()
        context = SimpleNamespace(
            active_object=bpy.context.active_object,
            scene=bpy.context.scene,
            preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1.0)),
            region=SimpleNamespace(width=400),
        )
        getattr(panel, name).draw(SimpleNamespace(layout=page), context)
        return page.lines

    return lines


@pytest.fixture
def told(drawn) -> Callable[[], str]:
    """A function that returns all that the report tells."""
    return lambda: " ".join(text for line in drawn("ReportPanel") for text in line)


def test_a_report_is_hidden_while_the_mesh_is_another(sphere, told):
    ball = sphere()
    bpy.ops.fairfield.fit()
    assert "Near-surface error" in told()
    before = ball.data.vertices[7].co.copy()
    ball.data.vertices[7].co = 1.1 * before
    ball.data.update()
    assert "Near-surface error" not in told()
    assert "changed since it was fitted" in told()
    ball.data.vertices[7].co = before
    ball.data.update()
    assert "Near-surface error" in told()


def test_edits_of_edit_mode_count_when_it_is_left(sphere, told):
    sphere()
    bpy.ops.fairfield.fit()
    assert "Edit Mode" not in told()
    bpy.ops.object.mode_set(mode="EDIT")
    assert "Near-surface error" in told()
    assert "What was edited since it was fitted counts when you leave Edit Mode." in told()
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.mesh.subdivide()
    bpy.ops.object.mode_set(mode="OBJECT")
    assert "changed since it was fitted" in told()


def test_faces_that_are_gone_are_noticed_though_every_vertex_is_there(sphere, told):
    ball = sphere()
    bpy.ops.fairfield.fit()
    assert "Near-surface error" in told()
    delete_a_face(ball.data)
    assert len(ball.data.vertices) == 48 * 23 + 2
    assert "changed since it was fitted" in told()


def test_modifiers_after_the_fit_make_another_surface(sphere, told):
    ball = sphere()
    bpy.ops.fairfield.fit()
    ball.modifiers.new("Even", "WEIGHTED_NORMAL")
    assert "Near-surface error" in told()
    grow = ball.modifiers.new("Grow", "DISPLACE")
    assert "changed since it was fitted" in told()
    bpy.ops.fairfield.fit()
    assert "Near-surface error" in told()
    for name, value in (("strength", 0.3), ("direction", "X"), ("show_viewport", False)):
        before = getattr(grow, name)
        setattr(grow, name, value)
        assert "changed since it was fitted" in told(), name
        setattr(grow, name, before)
        assert "Near-surface error" in told(), name
    grow.show_expanded = not grow.show_expanded  # only how the stack looks
    assert "Near-surface error" in told()
    finer = ball.modifiers.new("Finer", "SUBSURF")
    bpy.ops.fairfield.fit()
    finer.render_levels = 4
    for setting in finer.bl_rna.properties:
        if setting.identifier.startswith("open_"):  # there are none in Blender 4.2
            setattr(finer, setting.identifier, not getattr(finer, setting.identifier))
    ball.shape_key_add(name="Basis")
    ball.shape_key_add(name="Nothing yet").value = 0.0  # 1 from Blender 5 on
    assert "Near-surface error" in told()


def test_inputs_of_node_groups_and_shape_keys_count(sphere, told):
    ball = sphere()
    group = bpy.data.node_groups.new("Grow", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    amount = group.interface.new_socket("By", in_out="INPUT", socket_type="NodeSocketFloat")
    ends = [group.nodes.new(f"NodeGroup{end}") for end in ("Input", "Output")]
    group.links.new(ends[0].outputs[0], ends[1].inputs[0])
    ball.modifiers.new("Nodes", "NODES").node_group = group
    ball.shape_key_add(name="Basis")
    wide = ball.shape_key_add(name="Wide")
    bpy.ops.fairfield.fit()
    assert "Near-surface error" in told()
    ball.modifiers[0][amount.identifier] = 2.0
    assert "changed since it was fitted" in told()
    ball.modifiers[0][amount.identifier] = 0.0
    assert "Near-surface error" in told()
    wide.value = 0.5
    assert "changed since it was fitted" in told()


def test_a_fit_in_edit_mode_is_of_the_mesh_as_it_is_there(sphere, job, told):
    sphere()
    bpy.ops.fairfield.fit()
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.mesh.subdivide()
    job.start("FIT")
    job.finish()
    bpy.ops.object.mode_set(mode="OBJECT")
    assert "Near-surface error" in told()


@pytest.mark.parametrize(("units", "scaled_is_other"), [("local", False), ("world", True)])
def test_a_scaled_object_is_another_in_world_units(sphere, scene, told, units, scaled_is_other):
    scene.fairfield.units = units
    ball = sphere()
    bpy.ops.fairfield.fit()
    ball.location, ball.rotation_euler = (1, 2, 3), (1, 1, 1)
    assert "changed since it was fitted" not in told()
    ball.scale = (2, 2, 2)
    assert ("changed since it was fitted" in told()) == scaled_is_other


def test_undo_of_an_edit_makes_the_report_true_again(sphere, told):
    name = sphere().name
    bpy.ops.fairfield.fit()
    bpy.ops.ed.undo_push(message="Before")
    bpy.data.objects[name].data.vertices[7].co = (2, 0, 0)
    bpy.data.objects[name].data.update()
    bpy.ops.ed.undo_push(message="Moved")
    assert "changed since it was fitted" in told()
    if not bpy.ops.ed.undo.poll():
        pytest.skip("this Blender has no undo without a window")
    bpy.ops.ed.undo()
    assert "Near-surface error" in told()


def test_another_mesh_is_not_told_of(sphere, told):
    ball, other = sphere(), sphere(radius=1.3)
    select(ball)
    bpy.ops.fairfield.fit()
    assert "Near-surface error" in told()
    ball.data = other.data
    assert "changed since it was fitted" in told()


def test_results_that_wait_are_told_of_whatever_else_goes_on(new_sphere, job, scene, drawn, told):
    scene.fairfield.resolution = 32
    job.start("SMOOTH")
    job.started()
    bpy.ops.object.mode_set(mode="EDIT")
    job.until(lambda: job.session.waiting)
    assert "The result is written when you return to Object Mode." in told()
    assert told().endswith("Drop the Result")
    assert drawn("MainPanel")[0] == ["Waiting for Object Mode"]
    job.start("EXTRACT")
    assert "The result is written when you return to Object Mode." in told()
    job.finish()
    assert "2 results are written when you return to Object Mode." in told()
    assert told().endswith("Drop the Results")
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    assert "Object Mode" not in told()


def test_refine_says_that_nothing_was_gained(sphere, told, monkeypatch):
    answers = installed.module("client.answers")
    as_sent = answers.fit_report

    def kept_as_it_was(result):
        report = as_sent(result)
        if report["finetuning"] is not None:
            report["finetuning"]["unchanged"] = True
        return report

    sphere()
    bpy.ops.fairfield.refine()
    assert "nothing gained" not in told()
    assert "noise of normals" in told()
    # Which meshes that is so with depends on every detail of a fit.
    monkeypatch.setattr(answers, "fit_report", kept_as_it_was)
    sphere(radius=1.1)
    bpy.ops.fairfield.refine()
    assert "nothing gained" in told()
    assert "noise of normals" not in told()


def test_the_report_says_where_refine_is_not_kept(sphere, scene, told):
    """Before it happens; see `test_other_units_keep_the_field_and_its_refinement`."""
    said = "fitted anew, without Refine"
    ball = sphere()
    ball.scale = (2, 2, 2)
    bpy.context.view_layer.update()
    bpy.ops.fairfield.fit()
    scene.fairfield.preset = "standard"
    assert said not in told()  # nothing is lost
    scene.fairfield.preset = "draft"
    bpy.ops.fairfield.refine()
    assert said not in told()
    scene.fairfield.units = "world"
    assert said not in told()
    ball.scale = (2, 1, 1)
    assert said in told()
    scene.fairfield.units = "local"
    assert said not in told()
    scene.fairfield.preset = "standard"
    assert said in told()


def test_the_report_says_that_turning_loses_refine(sphere, scene, told):
    """Under uneven scale, where the mesh is fitted as it stands in the scene."""
    scene.fairfield.units = "world"
    ball = sphere()
    ball.scale = (2, 1, 1)
    bpy.context.view_layer.update()
    bpy.ops.fairfield.refine()
    ball.location.x = 5.0
    assert "without Refine" not in told()
    ball.rotation_euler.z = 0.5
    assert f"{ball.name} was turned and is scaled unevenly, so it will be fitted anew" in told()
    assert "present Quality" not in told()
    scene.fairfield.units = "local"
    assert f"In the present Quality and Units {ball.name} will be fitted anew" in told()


def test_a_manual_scale_names_its_unit(sphere, scene, drawn):
    sphere()
    scene.fairfield.scale_is_auto = False
    assert ["Scale (unit)"] in drawn("MainPanel")
    scene.fairfield.units = "world"
    assert ["Scale (m)"] in drawn("MainPanel")
    scene.unit_settings.system = "NONE"
    assert ["Scale (unit)"] in drawn("MainPanel")
    scene.unit_settings.system = "METRIC"


def test_modifiers_are_told_of_once(sphere, told):
    ball, other = sphere(), sphere(radius=1.2)
    for each in (ball, other):
        each.modifiers.new("Subdivision", "SUBSURF")
    assert told().count("modifiers or shape keys") == 1
    select(other, ball)
    bpy.ops.fairfield.fit()
    assert told().count("modifiers or shape keys") == 2  # one sentence for each object
    assert f"{ball.name}: modifiers" in told()
    assert f"{other.name}: modifiers" in told()


def test_what_is_told_of_an_object_goes_with_it(sphere, drawn, told):
    ball = sphere()
    ball.modifiers.new("Subdivision", "SUBSURF")
    bpy.ops.fairfield.fit()
    other = sphere(radius=1.2)
    assert f"{ball.name}: modifiers" in told()
    assert drawn("MainPanel")[0] == ["See Report"]
    bpy.data.objects.remove(ball)
    assert "modifiers" not in told()
    assert "ready" in drawn("MainPanel")[0][0]
    other.modifiers.new("Subdivision", "SUBSURF")
    bpy.ops.fairfield.fit()
    assert f"{other.name}: modifiers" in told()


def test_cancel_says_so(new_sphere, job, drawn, told):
    job.start("FIT")
    job.started()
    bpy.ops.fairfield.cancel()
    job.finish()
    assert "Cancelled." in told()
    assert drawn("MainPanel")[0] == ["Cancelled"]


def test_cancel_tells_which_of_several_objects_were_done(sphere, job, told):
    balls = [sphere(radius=radius) for radius in (0.71, 0.72, 0.73)]  # that have no field yet
    select(*balls)
    job.start("SMOOTH")
    first = job.session.click.work[0]
    job.until(lambda: first.job.ended)
    bpy.ops.fairfield.cancel()
    job.until(lambda: job.session.idle)
    measured = [each.name for each in balls if "mean_curvature" in each.data.attributes]
    assert measured == [first.source.name]
    assert f"Cancelled. Done before: {first.source.name}, 1 of 3 objects." in told()


@pytest.mark.parametrize(("units", "length"), [("local", "unit"), ("world", "m")])
def test_extract_says_what_it_made(sphere, scene, told, units, length):
    scene.fairfield.units, scene.fairfield.resolution = units, 40
    ball = sphere(radius=0.9)
    ball.scale = (2, 2, 2)
    bpy.context.view_layer.update()
    bpy.ops.fairfield.extract()
    made = bpy.context.active_object
    assert made is not ball
    report = told()
    assert re.search(r"Sphere Fairfield: extracted in \d+\.\d s", report)
    assert f"{len(made.data.polygons):,} triangles, smoothed surface" in report
    # The cube around the sphere has sides of 2 units, or 4 metres.
    cell = {"local": "0.05", "world": "0.1"}[units]
    assert f"Cells: {cell} {length} (resolution 40)" in report
    made.data.vertices[0].co.x += 1
    made.data.update()
    assert "triangles" not in told()
    assert "Sphere Fairfield was changed since it was extracted" in told()


def test_extract_does_not_take_back_what_smooth_has_told(sphere, scene, told):
    ball = sphere()
    scene.fairfield.resolution = 32
    bpy.ops.fairfield.smooth()
    assert "own vertices" in told()
    bpy.ops.fairfield.extract()
    ball.hide_set(False)
    select(ball)
    assert "own vertices" in told()


def test_no_message_moves_a_button(new_sphere, job, drawn, scene):
    def places() -> dict[str, int]:
        lines = drawn("MainPanel")
        goals = ("fit", "refine", "smooth", "extract")
        return {goal: lines.index([f"fairfield.{goal}"]) for goal in goals}

    scene.fairfield.resolution = 32
    at_first = places()
    job.start("SMOOTH")
    job.started()
    assert any("Cancel" in line for line in drawn("MainPanel"))
    assert places() == at_first
    bpy.ops.object.mode_set(mode="EDIT")
    job.until(lambda: job.session.waiting)
    assert places() == at_first
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    job.session.tell([installed.module("messages").Message("A long story. " * 20)])
    job.session.queue.problem = "Another one. " * 20
    assert places() == at_first
    assert any("see Report" in text for line in drawn("MainPanel") for text in line)
    job.session.queue.problem = ""


def test_where_cancel_was_there_is_no_other_button(new_sphere, job, drawn):
    def row_of_cancel() -> list[str]:
        return drawn("MainPanel")[0]

    job.start("SMOOTH")
    job.started()
    assert row_of_cancel()[1] == "Cancel"
    bpy.ops.object.mode_set(mode="EDIT")
    job.until(lambda: job.session.waiting)
    assert row_of_cancel() == ["Waiting for Object Mode"]
    assert drawn("ReportPanel")[-1] == ["Drop the Result"]  # nothing takes its place either
    bpy.ops.fairfield.drop_results()
    bpy.ops.object.mode_set(mode="OBJECT")


def test_a_missing_backend_can_be_installed_from_the_panel(job, drawn, sphere):
    preferences = bpy.context.preferences.addons[installed.EXTENSION].preferences
    job.session.queue.stop_backend()
    preferences.backend = "managed"
    try:
        assert drawn("MainPanel")[0] == ["fairfield.install_backend", "Not installed"]
        sphere()
        with pytest.raises(RuntimeError, match="click Install Backend in the sidebar's Fairfield"):
            bpy.ops.fairfield.fit()
    finally:
        installed.choose_backend()
