"""Random sequences of what an artist does, against a model of the scene, in real Blender.

After every step the scene must be what the model says: no object or vertex but those that the
artist or a finished Extract made, results exactly on the meshes that a finished Smooth served, and
those the same numbers as ever, whatever came in between. A job that does not deliver must say why.
"""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

import bpy
import installed
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from scenes import positions, select

FACES = [(0, 1, 2), (1, 3, 2), (3, 4, 2), (4, 0, 2), (1, 0, 5), (3, 1, 5), (4, 3, 5), (0, 4, 5)]
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])
SHAPES = [OCTAHEDRON * size for size in ((1, 1, 1), (1, 1, 2), (2, 1, 1), (1, 2, 1))]
"""Few, so that the backend still has most fields."""
MAX_OBJECTS = 4
WHICH = st.integers(0, 2**MAX_OBJECTS - 1)
"""Chooses among what there is. How long a job takes is no business of hypothesis's: no rule and no
choice may depend on it, so those that do not apply do nothing and do not count as steps."""
UNDO_STEPS = 12
"""Blender keeps more; the file's beginning is never undone."""

session = installed.module("session")
timer = installed.module("timer")
attributes = installed.module("attributes")
SceneError = installed.module("sources").SceneError
JobState = installed.module("client.jobs").JobState

# The numbers of the first time, by shape: every later answer must be the same.
measured: dict[int, np.ndarray] = {}
extracted: dict[int, int] = {}


@dataclass
class Mesh:
    """A mesh of the scene: its shape, and the shape that it was measured in, if it was."""

    shape: int
    measured: int | None = None


@dataclass
class Model:
    """What must be in the scene: base objects by name, and the extracted ones' vertex counts."""

    objects: dict[str, int] = field(default_factory=dict)
    meshes: dict[int, Mesh] = field(default_factory=dict)
    surfaces: dict[str, int] = field(default_factory=dict)


@dataclass
class Asked:
    """A click, under way or with results that wait: each job's mesh and its shape at the click."""

    click: object
    targets: list[tuple[int, int]]


class SceneMachine(RuleBasedStateMachine):
    """The rules are the artist's; `counted` says over all runs how often what has happened."""

    counted: ClassVar[Counter[str]] = Counter()

    @initialize()
    def empty_file(self) -> None:
        """Begin with an empty file, and with whatever backend there is."""
        if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        self.session = session.current()
        self.session.forget_scene()
        bpy.ops.wm.read_homefile(use_empty=True)
        self._configure()
        self.model = Model()
        self.editing: str | None = None
        self.asked: list[Asked] = []
        self.counter = 0
        self.history: list[Model] = []
        self._push("Start")

    def _configure(self) -> None:
        settings = bpy.context.scene.fairfield
        settings.preset, settings.resolution, settings.hide_source = "draft", 16, False
        settings.scale_is_auto = True

    def _push(self, name: str) -> None:
        bpy.ops.ed.undo_push(message=name)
        self._remember()

    def _remember(self) -> None:
        """Keep the model beside the undo step that Blender has just made."""
        self.history = [*self.history, copy.deepcopy(self.model)][-UNDO_STEPS:]

    def _object(self, which: int) -> str:
        names = sorted(self.model.objects)
        return names[which % len(names)]

    def _objects(self, which: int) -> list[str]:
        """Some of the objects, at least one: `which` has a bit for each."""
        names = sorted(self.model.objects)
        chosen = [name for bit, name in enumerate(names) if which >> bit & 1]
        return chosen or names[:1]

    # What the artist does to the scene.

    @rule(shape=st.integers(0, len(SHAPES) - 1))
    def add(self, shape: int) -> None:
        """Add an object."""
        if not (self.editing is None and len(self.model.objects) < MAX_OBJECTS):
            return
        self.counted["steps"] += 1
        self.counter += 1
        mesh = bpy.data.meshes.new(f"Mesh{self.counter}")
        mesh.from_pydata(SHAPES[shape].tolist(), [], FACES)
        made = bpy.data.objects.new(f"Object{self.counter}", mesh)
        bpy.context.scene.collection.objects.link(made)
        select(made)
        self.model.objects[made.name] = self.counter
        self.model.meshes[self.counter] = Mesh(shape)
        self._push("Add")

    @rule(which=WHICH)
    def duplicate(self, which: int) -> None:
        """Add an object that shares its mesh with another one."""
        if not (self.editing is None and 0 < len(self.model.objects) < MAX_OBJECTS):
            return
        self.counted["steps"] += 1
        name = self._object(which)
        self.counter += 1
        twin = bpy.data.objects[name].copy()
        twin.name = f"Object{self.counter}"
        bpy.context.scene.collection.objects.link(twin)
        self.model.objects[twin.name] = self.model.objects[name]
        self._push("Duplicate")

    @rule(which=WHICH)
    def delete(self, which: int) -> None:
        """Delete an object; its mesh stays as an orphan."""
        if not (self.editing is None and self.model.objects):
            return
        self.counted["steps"] += 1
        name = self._object(which)
        bpy.data.objects.remove(bpy.data.objects[name])
        del self.model.objects[name]
        self._push("Delete")

    @rule(which=WHICH)
    def rename(self, which: int) -> None:
        """Rename an object."""
        if not (self.model.objects):
            return
        self.counted["steps"] += 1
        name = self._object(which)
        self.counter += 1
        new = f"Renamed{self.counter}"
        bpy.data.objects[name].name = new
        self.model.objects[new] = self.model.objects.pop(name)
        if self.editing == name:
            self.editing = new
        if self.editing is None:
            self._push("Rename")

    @rule(which=WHICH, shape=st.integers(0, len(SHAPES) - 1))
    def reshape(self, which: int, shape: int) -> None:
        """Move the vertices of a mesh."""
        if not (self.editing is None and self.model.objects):
            return
        self.counted["steps"] += 1
        name = self._object(which)
        mesh = bpy.data.objects[name].data
        mesh.vertices.foreach_set("co", SHAPES[shape].astype(np.float32).reshape(-1))
        mesh.update()
        self.model.meshes[self.model.objects[name]].shape = shape
        self._push("Reshape")

    @rule()
    def delete_surfaces(self) -> None:
        """Delete what was extracted."""
        if not (self.editing is None and self.model.surfaces):
            return
        self.counted["steps"] += 1
        for name in self.model.surfaces:
            bpy.data.objects.remove(bpy.data.objects[name])
        self.model.surfaces.clear()
        self._push("Delete surfaces")

    @rule(which=WHICH)
    def toggle_edit_mode(self, which: int) -> None:
        """Enter Edit Mode with an object, or leave it."""
        if not (self.model.objects):
            return
        self.counted["steps"] += 1
        if self.editing is None:
            name = self._object(which)
            select(bpy.data.objects[name])
            bpy.ops.object.mode_set(mode="EDIT")
            self.editing = name
        else:
            bpy.ops.object.mode_set(mode="OBJECT")
            self.editing = None
            # Blender's own undo steps of Edit Mode lie before this one: nothing goes back there.
            self.history = []
            self._push("Leave Edit Mode")

    @rule()
    def undo(self) -> None:
        """Take the last step back."""
        if not (self.editing is None and len(self.history) > 1):
            return
        self.counted["steps"] += 1
        self.counted["undone"] += 1
        bpy.ops.ed.undo()
        self.history.pop()
        self.model = copy.deepcopy(self.history[-1])

    # What the artist does with Fairfield.

    @rule(patient=st.booleans(), which=WHICH)
    def fit(self, patient: bool, which: int) -> None:
        """Click Fit."""
        if not (self.model.objects and self.session.click is None):
            return
        self.counted["steps"] += 1
        self._click("FIT", patient, which)

    @rule(patient=st.booleans(), which=WHICH)
    def smooth(self, patient: bool, which: int) -> None:
        """Click Smooth."""
        if not (self.model.objects and self.session.click is None):
            return
        self.counted["steps"] += 1
        self._click("SMOOTH", patient, which)

    @rule(patient=st.booleans(), which=WHICH)
    def extract(self, patient: bool, which: int) -> None:
        """Click Extract."""
        if not (self.model.objects and self.session.click is None):
            return
        self.counted["steps"] += 1
        self._click("EXTRACT", patient, which)

    def _click(self, goal: str, patient: bool, which: int) -> None:
        """Start a job on some objects, and wait for its end or go on with something else."""
        chosen = [self.editing] if self.editing is not None else self._objects(which)
        if self.editing is None:
            select(*(bpy.data.objects[name] for name in chosen))
        click = self.session.start(session.Goal[goal], bpy.context)
        by_uid = {bpy.data.objects[name].session_uid: name for name in self.model.objects}
        targets = []
        for work in click.work:
            mesh = self.model.objects[by_uid[work.source.objects[0]]]
            targets.append((mesh, self.model.meshes[mesh].shape))
        assert {mesh for mesh, _ in targets} == {self.model.objects[name] for name in chosen}
        self.asked.append(Asked(click, targets))
        self.counted[f"{goal} clicked"] += 1
        if patient and self.editing is None:
            self.wait_for_the_end()

    @rule()
    def click_again(self) -> None:
        """Click while a job is under way: refused."""
        if not (self._working):
            return
        self.counted["steps"] += 1
        if self.session.click is None:
            return
        with pytest.raises(SceneError, match="still working"):
            self.session.start(session.Goal.FIT, bpy.context)

    @rule(count=st.integers(1, 40))
    def wait(self, count: int) -> None:
        """Let Blender's clock tick."""
        self.counted["steps"] += 1
        for _ in range(count):
            self._tick()

    @rule()
    def wait_for_the_end(self) -> None:
        """Wait until everything is done."""
        if not (self._working and self.editing is None):
            return
        self.counted["steps"] += 1
        deadline = time.monotonic() + 120
        while not self.session.idle:
            assert time.monotonic() < deadline, self.session.queue.progress.text
            self._tick()

    @rule(wanted=st.integers(0, 2))
    def cancel(self, wanted: int) -> None:
        """Click Cancel, now and then."""
        if not (self._working):
            return
        self.counted["steps"] += 1
        if wanted:
            return
        self.counted["cancelled"] += 1
        if self.session.click is not None:
            bpy.ops.fairfield.cancel()
        else:
            bpy.ops.fairfield.drop_results()
            self.asked.clear()

    @rule(what=st.integers(0, 29))
    def accident(self, what: int) -> None:
        """Once in a while the system kills the backend, or the artist opens another file."""
        backend = self.session.queue.backend
        if what == 0 and backend is not None:
            self.counted["backend killed"] += 1
            os.kill(backend.pid, signal.SIGKILL)
        elif what == 1 and self.editing is None:
            self.counted["file loaded"] += 1
            bpy.ops.wm.read_homefile(use_empty=True)
            self._configure()
            self.model, self.asked, self.history = Model(), [], []
            assert self.session.click is None
            assert not self.session.queue.busy
            self._push("Load")

    @rule()
    def toggle_overlay(self) -> None:
        """Click Overlay."""
        self.counted["steps"] += 1
        with contextlib.suppress(RuntimeError):  # nothing is selected, or nothing is measured
            bpy.ops.fairfield.overlay()

    # What must hold.

    @property
    def _working(self) -> bool:
        return self.session.click is not None or bool(self.session.waiting)

    def _tick(self) -> None:
        before = {each.name for each in bpy.context.scene.objects}
        click, candidates = self.session.click, list(self.session.waiting)
        timer._tick()
        time.sleep(0.001)
        if click is not None and self.session.click is None:
            self._check_words(click)
            candidates = self._with_results(click, candidates)
        left = [work for _, work in self.session.waiting]
        written = [work for _, work in candidates if all(work is not each for each in left)]
        if written:
            self._take_over(written, before)
        self.asked = [
            each
            for each in self.asked
            if each.click is self.session.click
            or any(work is other for work in each.click.work for other in left)
        ]

    def _with_results(self, click: session.Click, waiting: list) -> list:
        """What may be written after a click has ended: a later Smooth takes an earlier's place."""
        if not click.goal.writes:
            return waiting
        done = [(click.goal, work) for work in click.work if work.job.state is JobState.DONE]
        again = {(goal, work.source.mesh) for goal, work in done if goal is session.Goal.SMOOTH}
        return [each for each in waiting if (each[0], each[1].source.mesh) not in again] + done

    def _take_over(self, written: list, before: set[str]) -> None:
        """Bring the model to what these results must have made of the scene."""
        changed = False
        new = {each.name for each in bpy.context.scene.objects} - before
        for work in written:
            click, mesh, shape = self._asked_for(work)
            users = [uid for uid in work.source.objects if self._name_of(uid) is not None]
            if not users:
                self.counted["deleted meanwhile"] += 1
                self._expect_words("was deleted meanwhile")
            elif click.goal is session.Goal.EXTRACT:
                changed = True
                self.counted["extracted"] += 1
                for uid in users:
                    # Of several that have waited, the first has the first name.
                    mine = min(n for n in new if n.startswith(f"{self._name_of(uid)} Fairfield"))
                    new.remove(mine)
                    count = len(bpy.data.objects[mine].data.vertices)
                    assert count == extracted.setdefault(shape, count)
                    self.model.surfaces[mine] = count
            elif self.model.meshes[mesh].shape != shape:
                self.counted["changed meanwhile"] += 1
                self._expect_words("was changed meanwhile")
            else:
                changed = True
                self.counted["measured"] += 1
                self.model.meshes[mesh].measured = shape
        if changed:
            self._remember()

    def _asked_for(self, work: object) -> tuple[session.Click, int, int]:
        """The click that a result is of, and its mesh and shape then."""
        for each in self.asked:
            for mine, (mesh, shape) in zip(each.click.work, each.targets, strict=True):
                if mine is work:
                    return each.click, mesh, shape
        raise AssertionError("a result of no click")

    def _name_of(self, uid: int) -> str | None:
        return next((o.name for o in bpy.context.scene.objects if o.session_uid == uid), None)

    def _expect_words(self, words: str) -> None:
        assert any(words in message for message in self.session.messages), self.session.messages

    def _check_words(self, click: session.Click) -> None:
        """A job that failed says why."""
        for work in click.work:
            assert work.job.ended
            if work.job.state is JobState.FAILED:
                assert "killed (signal 9)" in work.job.message
                assert work.job.message in self.session.messages

    @invariant()
    def the_scene_is_what_the_model_says(self) -> None:
        """Compare names, shapes, results and words."""
        assert {each.name for each in bpy.context.scene.objects} == (
            self.model.objects.keys() | self.model.surfaces.keys()
        )
        for name, count in self.model.surfaces.items():
            assert len(bpy.data.objects[name].data.vertices) == count
        for name, number in self.model.objects.items():
            if self.editing is not None and self.model.objects[self.editing] == number:
                continue  # the mesh belongs to the editor now
            mesh = self.model.meshes[number]
            owner = bpy.data.objects[name]
            np.testing.assert_array_equal(positions(owner), SHAPES[mesh.shape].astype(np.float32))
            values = attributes.read(owner.data, "mean_curvature")
            assert (values is None) == (mesh.measured is None), (name, mesh)
            if values is not None:
                first = measured.setdefault(mesh.measured, values)
                np.testing.assert_array_equal(values, first)
        for message in self.session.messages:
            assert "\n" not in message
            assert "error of its own" not in message

    def teardown(self) -> None:
        """Leave nothing under way to the next run."""
        if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        session.current().forget_scene()
