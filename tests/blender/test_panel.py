"""What the panel tells: what is true now, and once."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import bpy
import installed
import pytest
from scenes import select

TETRAHEDRON = (
    [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)],
    [
        (0, 1, 2),
        (0, 2, 3),
        (0, 3, 1),
        (1, 3, 2),
    ],
)


class Page:
    """Takes the place of a panel's layout, and keeps what is written on it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.scale_y = 1.0

    def box(self) -> Page:
        return self

    def column(self) -> Page:
        return self

    def split(self, factor: float) -> Page:
        return self

    def progress(self, factor: float, text: str) -> None:
        pass

    def label(self, text: str, icon: str = "NONE") -> None:
        self.texts.append(text)

    def operator(self, name: str, text: str = "", icon: str = "NONE") -> None:
        self.texts.append(text)


@pytest.fixture
def told(job) -> Callable[[], str]:
    """A function that returns what the panel tells of the jobs and of the active object."""
    panel = installed.module("panel")

    def text() -> str:
        bpy.context.view_layer.update()  # as it is before every redraw
        page = Page()
        context = SimpleNamespace(
            active_object=bpy.context.active_object,
            preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1.0)),
            region=SimpleNamespace(width=400),
        )
        panel._draw_progress(page, context, job.session)
        panel._draw_report(page, context, job.session)
        return " ".join(page.texts)

    return text


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
    bpy.ops.object.mode_set(mode="EDIT")
    assert "Near-surface error" in told()
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.mesh.subdivide()
    bpy.ops.object.mode_set(mode="OBJECT")
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


def test_results_that_wait_are_told_of_whatever_else_goes_on(new_sphere, job, scene, told):
    scene.fairfield.resolution = 32
    job.start("SMOOTH")
    job.started()
    bpy.ops.object.mode_set(mode="EDIT")
    job.until(lambda: job.session.waiting)
    assert "The result is written when you return to Object Mode. Drop the Result" in told()
    job.start("EXTRACT")
    assert "The result is written when you return to Object Mode." in told()
    assert "Drop" not in told()
    job.finish()
    assert "2 results are written when you return to Object Mode. Drop the Results" in told()
    bpy.ops.object.mode_set(mode="OBJECT")
    job.until(lambda: job.session.idle)
    assert "Object Mode" not in told()


def test_refine_says_that_nothing_was_gained(scene, mesh_object, sphere, told):
    scene.fairfield.preset = "standard"
    mesh_object(*TETRAHEDRON)
    bpy.ops.fairfield.refine()
    assert "nothing gained" in told()
    assert "noise of normals" not in told()
    scene.fairfield.preset = "draft"
    sphere()
    bpy.ops.fairfield.refine()
    assert "nothing gained" not in told()
    assert "noise of normals" in told()


def test_modifiers_are_told_of_once(sphere, told):
    ball, other = sphere(), sphere(radius=1.2)
    for each in (ball, other):
        each.modifiers.new("Subdivision", "SUBSURF")
    assert told().count("odifiers") == 1
    select(other, ball)
    bpy.ops.fairfield.fit()
    assert told().count("odifiers") == 2  # one sentence for each object
    assert f"{ball.name}: modifiers" in told()
    assert f"{other.name}: modifiers" in told()
