"""Installs the built extension into a Blender of its own, and builds scenes for it.

Blender can be loaded once a process, so all tests share one; each begins with an empty scene.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

_new_radii = itertools.count(1.01, 0.01)
# Before bpy loads: the artist's own preferences and extensions are none of the tests' business.
_resources = tempfile.TemporaryDirectory(prefix="fairfield-blender-")
os.environ["BLENDER_USER_RESOURCES"] = _resources.name
sys.path.insert(0, str(Path(__file__).parent))

import bpy  # noqa: E402
import installed  # noqa: E402
import numpy as np  # noqa: E402
from scenes import select  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _extension() -> Iterator[None]:
    installed.install(installed.built_zip())
    yield
    if installed.EXTENSION in bpy.context.preferences.addons:
        installed.disable()


@pytest.fixture(autouse=True)
def scene(_extension: None) -> bpy.types.Scene:
    """An empty scene with settings for quick fits of spheres of about radius 1."""
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    for collection in (bpy.data.objects, bpy.data.meshes, bpy.data.collections):
        for each in list(collection):
            collection.remove(each)
    settings = bpy.context.scene.fairfield
    for setting in settings.bl_rna.properties:
        settings.property_unset(setting.identifier)
    settings.preset = "draft"
    installed.module("overlay").turn_off(bpy.context.window_manager)
    active = installed.module("session").current()
    active.forget_scene()
    active.installation = None
    return bpy.context.scene


@pytest.fixture
def sphere() -> Callable[..., bpy.types.Object]:
    """A function that adds a selected sphere; keywords are the operator's."""

    def add(**options: object) -> bpy.types.Object:
        bpy.ops.mesh.primitive_uv_sphere_add(
            **{"segments": 48, "ring_count": 24, "radius": 1.0, **options}
        )
        return bpy.context.object

    return add


@pytest.fixture
def new_sphere(sphere: Callable[..., bpy.types.Object]) -> bpy.types.Object:
    """A selected sphere that the backend has no field of yet, so that a job takes a while."""
    return sphere(radius=next(_new_radii))


@pytest.fixture
def mesh_object() -> Callable[..., bpy.types.Object]:
    """A function that adds the only selected object, with the given vertices and faces."""

    def add(vertices: list, faces: list, name: str = "Made") -> bpy.types.Object:
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(vertices, [], faces)
        made = bpy.data.objects.new(name, mesh)
        bpy.context.scene.collection.objects.link(made)
        select(made)
        return made

    return add


@pytest.fixture
def job() -> SimpleNamespace:
    """Drives a job the way the timer does: `start` it, `until` something is so, `tick`."""
    session = installed.module("session")
    timer = installed.module("timer")

    def start(goal: str) -> None:
        session.current().start(session.Goal[goal], bpy.context)

    def until(done: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, session.current().queue.progress
            timer._tick()
            time.sleep(0.005)

    current = session.current()
    return SimpleNamespace(
        session=current,
        start=start,
        until=until,
        finish=lambda: until(lambda: current.click is None),
        started=lambda: until(lambda: current.queue.progress.fraction > 0),
        tick=timer._tick,
    )


@pytest.fixture
def read() -> Callable[[bpy.types.Object, str], np.ndarray]:
    """A function that returns an attribute of an object's mesh as an array."""
    attributes = installed.module("attributes")

    def values(owner: bpy.types.Object, name: str) -> np.ndarray:
        found = attributes.read(owner.data, name)
        assert found is not None, f"{owner.name} has no {name}"
        return found

    return values
