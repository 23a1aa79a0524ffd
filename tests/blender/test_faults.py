"""What goes wrong is one sentence, and the scene stays as it was."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from pathlib import Path

import bpy
import installed
import pytest
from scenes import fingerprint, select

TRIANGLE = [(0, 0, 0), (1, 0, 0), (0, 1, 0)]


def attribute_names(owner: bpy.types.Object) -> set[str]:
    return set(owner.data.attributes.keys())


def test_bad_meshes_are_refused_in_one_sentence(mesh_object):
    for vertices, faces, words in (
        ([], [], "the mesh has no vertices"),
        (TRIANGLE, [], "the mesh has vertices but no faces"),
        ([(float("nan"), 0, 0), *TRIANGLE[1:]], [(0, 1, 2)], "Made"),
    ):
        made = mesh_object(vertices, faces)
        with pytest.raises(RuntimeError, match=words) as caught:
            bpy.ops.fairfield.smooth()
        said = str(caught.value).strip()
        assert "Traceback" not in said
        assert said.count("\n") == 0
        bpy.data.objects.remove(made)


def test_what_is_no_mesh_and_nothing_at_all():
    select()
    for operator in ("fit", "smooth", "extract", "overlay", "apply_normals", "export"):
        options = {"filepath": "/tmp/unused.ply"} if operator == "export" else {}
        with pytest.raises(RuntimeError, match="Nothing is selected"):
            getattr(bpy.ops.fairfield, operator)(**options)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.collection.objects.link(camera)
    select(camera)
    with pytest.raises(RuntimeError, match="'Camera' is not a mesh but of type camera"):
        bpy.ops.fairfield.fit()


def test_what_was_not_measured_cannot_be_shown_or_used(sphere):
    sphere()
    with pytest.raises(RuntimeError, match="have no mean curvature; click Smooth"):
        bpy.ops.fairfield.overlay()
    with pytest.raises(RuntimeError, match="have no smooth normals; click Smooth"):
        bpy.ops.fairfield.apply_normals()
    with pytest.raises(TypeError):
        bpy.context.scene.fairfield.quantity = "no_such_quantity"


def test_a_backend_that_is_not_installed(sphere, monkeypatch):
    monkeypatch.delenv("FAIRFIELD_BACKEND", raising=False)
    sphere()
    preferences = bpy.context.preferences.addons[installed.EXTENSION].preferences
    try:
        preferences.backend = "managed"
        with pytest.raises(RuntimeError, match="not installed; click Install Backend"):
            bpy.ops.fairfield.fit()
        preferences.backend, preferences.python = "python", "/no/such/python"
        with pytest.raises(RuntimeError, match="does not exist"):
            bpy.ops.fairfield.fit()
        preferences.backend, preferences.command = "command", "no-such-program serve"
        with pytest.raises(RuntimeError, match="not a program on this computer"):
            bpy.ops.fairfield.fit()
    finally:
        installed.choose_backend()


def test_nothing_is_downloaded_where_blender_may_not_go_online(job):
    assert not bpy.app.online_access
    with pytest.raises(RuntimeError, match="may not go online; allow it"):
        bpy.ops.fairfield.install_backend()
    assert job.session.installation is None


def test_an_installation_that_fails_is_one_sentence(tmp_path, job):
    preferences = bpy.context.preferences.addons[installed.EXTENSION].preferences
    preferences.wheelhouse = str(tmp_path)
    try:
        with pytest.raises(RuntimeError) as caught:
            bpy.ops.fairfield.install_backend()
    finally:
        preferences.wheelhouse = ""
    said = str(caught.value).strip()
    assert str(tmp_path) in said
    assert "Traceback" not in said
    assert bpy.ops.fairfield.remove_backend() == {"FINISHED"}
    assert not job.session.installing


def test_one_bad_mesh_among_good_ones(sphere, mesh_object, job):
    good = sphere()
    empty = mesh_object([], [], "Empty")
    select(good, empty)
    assert bpy.ops.fairfield.smooth() == {"FINISHED"}
    assert "mean_curvature" in good.data.attributes
    assert any(message.startswith("Empty: ") for message in job.session.messages)


def test_a_killed_backend_is_explained_and_the_next_click_works(new_sphere, job):
    ball = new_sphere
    before = attribute_names(ball)
    job.start("SMOOTH")
    job.started()
    os.kill(job.session.queue.backend.pid, signal.SIGKILL)
    job.finish()
    assert "killed (signal 9)" in job.session.messages[0]
    assert attribute_names(ball) == before
    assert bpy.ops.fairfield.smooth() == {"FINISHED"}
    assert "mean_curvature" in ball.data.attributes


FAULTS = Path(__file__).resolve().parents[1] / "faults" / "faulty_server.py"


@installed.in_one_blender
@pytest.mark.skipif(sys.platform != "linux", reason="the faults are made with Linux's own means")
@pytest.mark.parametrize(
    ("fault", "step", "stage", "words"),
    [
        ("stop", "extract", "2", "gave no sign of life"),
        ("no-memory", "extract", "1", "Not enough memory to extract this mesh"),
    ],
)
def test_a_fault_leaves_the_scene_as_it_was(
    new_sphere, job, monkeypatch, scene, fault, step, stage, words
):
    """The real backend with a fault; `tests/faults` has every stage of every job."""
    backend = installed.module("client.backend")
    monkeypatch.setattr(backend, "PING_SECONDS", 0.2)
    monkeypatch.setattr(backend, "HUNG_SECONDS", 5.0)
    scene.fairfield.resolution = 32
    before = fingerprint()
    command = [installed.backend_python(), str(FAULTS), fault, step, stage]
    monkeypatch.setenv("FAIRFIELD_BACKEND", shlex.join(command))
    with pytest.raises(RuntimeError, match=re.escape(words)) as caught:
        getattr(bpy.ops.fairfield, step)()
    assert str(caught.value).strip().count("\n") == 0
    assert fingerprint() == before
    monkeypatch.delenv("FAIRFIELD_BACKEND")
    assert getattr(bpy.ops.fairfield, step)() == {"FINISHED"}
    assert fingerprint() != before


def test_a_backend_that_dies_between_two_clicks_is_noticed(sphere, job):
    sphere()
    bpy.ops.fairfield.fit()
    pid = job.session.queue.backend.pid
    os.kill(pid, signal.SIGKILL)
    job.until(lambda: job.session.queue.backend is None)
    with pytest.raises(ChildProcessError):  # no zombie is left to wait for
        os.waitpid(pid, os.WNOHANG)
    assert not job.session.messages
    assert bpy.ops.fairfield.fit() == {"FINISHED"}


def test_the_clock_runs_on_slowly_while_a_backend_lives(sphere, job):
    timer = installed.module("timer")
    sphere()
    bpy.ops.fairfield.fit()
    assert job.tick() == timer.IDLE_SECONDS
    job.session.queue.stop_backend()
    assert job.tick() is None


def test_cancel_stops_a_fit_within_a_second_and_keeps_the_backend(new_sphere, job, scene):
    ball = new_sphere
    scene.fairfield.preset = "fine"
    before = attribute_names(ball)
    job.start("SMOOTH")
    job.started()
    pid = job.session.queue.backend.pid
    bpy.ops.fairfield.cancel()
    job.until(lambda: job.session.idle, seconds=1.0)
    assert attribute_names(ball) == before
    assert job.session.messages == ["Cancelled."]
    assert job.session.queue.backend.pid == pid


def test_a_second_click_while_working_is_refused(sphere, job):
    sphere()
    job.start("FIT")
    with pytest.raises(RuntimeError, match="still working"):
        bpy.ops.fairfield.fit()
    job.finish()


def test_the_object_is_deleted_during_a_fit(new_sphere, job):
    ball = new_sphere
    job.start("SMOOTH")
    job.started()
    bpy.data.objects.remove(ball)
    job.until(lambda: job.session.idle)
    assert job.session.messages == [
        "Sphere: the object was deleted meanwhile, so its result is dropped."
    ]


def test_the_object_is_renamed_during_a_fit(new_sphere, job):
    ball = new_sphere
    job.start("SMOOTH")
    job.started()
    ball.name = "Renamed"
    job.until(lambda: job.session.idle)
    assert "mean_curvature" in ball.data.attributes
    assert not job.session.messages


def test_the_mesh_is_changed_during_a_fit(new_sphere, job):
    ball = new_sphere
    job.start("SMOOTH")
    job.started()
    before = attribute_names(ball)
    ball.data.vertices.add(1)
    job.until(lambda: job.session.idle)
    assert attribute_names(ball) == before
    assert "was changed meanwhile" in job.session.messages[0]


@pytest.mark.parametrize("units", ["local", "world"])
def test_the_object_is_turned_and_scaled_during_a_fit(new_sphere, job, units):
    ball = new_sphere
    bpy.context.scene.fairfield.units = units
    before = attribute_names(ball)
    for change, told in (("rotation_euler", False), ("scale", units == "world")):
        job.start("SMOOTH")
        job.started()
        setattr(ball, change, (0.5, 1.0, 2.0))
        bpy.context.view_layer.update()
        job.until(lambda: job.session.idle)
        assert any("was scaled meanwhile" in each for each in job.session.messages) == told
        assert ("mean_curvature" in attribute_names(ball) - before) != told
        for name in attribute_names(ball) - before:
            ball.data.attributes.remove(ball.data.attributes[name])


def test_another_file_is_loaded_during_a_fit(new_sphere, job):
    job.start("SMOOTH")
    job.started()
    pid = job.session.queue.backend.pid
    bpy.ops.wm.read_homefile(use_empty=True)
    assert job.session.click is None
    assert not job.session.queue.busy
    job.until(lambda: job.session.idle)
    assert job.session.queue.backend.pid == pid
    bpy.context.scene.fairfield.preset = "draft"
    bpy.ops.mesh.primitive_uv_sphere_add()
    assert bpy.ops.fairfield.smooth() == {"FINISHED"}


def test_linked_meshes_are_refused(sphere, tmp_path):
    ball = sphere()
    path = tmp_path / "library.blend"
    bpy.data.libraries.write(str(path), {ball})
    bpy.data.objects.remove(ball)
    with bpy.data.libraries.load(str(path), link=True) as (_, wanted):
        wanted.objects = ["Sphere"]
    (linked,) = wanted.objects
    bpy.context.collection.objects.link(linked)
    select(linked)
    with pytest.raises(RuntimeError, match="linked from another file"):
        bpy.ops.fairfield.smooth()
