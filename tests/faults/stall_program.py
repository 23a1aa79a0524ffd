"""Prints how long one tick of Blender's clock took at most, by what was going on, as JSON.

The ticks are those of the extension's timer, in real Blender without a window: bytes in and out,
results written to the mesh, and the ends of backends that died, hang or are cancelled.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Before bpy loads: the artist's own preferences and extensions are none of the program's business.
_resources = tempfile.TemporaryDirectory(prefix="fairfield-blender-")
os.environ["BLENDER_USER_RESOURCES"] = _resources.name
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "blender"))

import bpy  # noqa: E402
import installed  # noqa: E402

found: dict[str, float] = {}


def main() -> None:
    """Go through what can hold the main loop up."""
    installed.install(installed.built_zip())
    session, timer = installed.module("session"), installed.module("timer")
    backend_module = installed.module("client.backend")
    active = session.current()
    settings = bpy.context.scene.fairfield
    settings.preset, settings.resolution = "draft", 128
    for each in list(bpy.data.objects):
        bpy.data.objects.remove(each)

    def follow(what: str, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 240
        while not until():
            assert time.monotonic() < deadline, what
            begin = time.perf_counter()
            timer._tick()
            found[what] = max(found.get(what, 0.0), time.perf_counter() - begin)
            time.sleep(0.002)

    def start(goal: str) -> None:
        begin = time.perf_counter()
        active.start(session.Goal[goal], bpy.context)
        found["reading the mesh at a click"] = max(
            found.get("reading the mesh at a click", 0.0), time.perf_counter() - begin
        )

    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=7)
    start("SMOOTH")
    follow("Smooth with 82,000 triangles, to the written values", lambda: active.idle)
    start("EXTRACT")
    follow("Extract at 128, to the new object", lambda: active.idle)
    bpy.ops.object.select_all(action="DESELECT")
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=5, radius=1.5)
    start("FIT")
    follow("fitting", lambda: active.queue.progress.fraction > 0)
    os.kill(active.queue.backend.pid, signal.SIGKILL)
    follow("a killed backend", lambda: active.idle)
    start("FIT")
    follow("fitting", lambda: active.queue.progress.fraction > 0)
    bpy.ops.fairfield.cancel()
    follow("a cancelled fit", lambda: active.idle)
    backend_module.PING_SECONDS, backend_module.HUNG_SECONDS = 0.2, 1.0
    start("FIT")
    follow("fitting", lambda: active.queue.progress.fraction > 0)
    os.kill(active.queue.backend.pid, signal.SIGSTOP)
    follow("a backend that hangs", lambda: active.idle)
    installed.disable()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
    _resources.cleanup()
    os._exit(0)
