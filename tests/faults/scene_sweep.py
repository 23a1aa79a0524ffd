"""The fault sweep in real Blender: `scene_sweep.py CASES`, with cases as JSON [fault, job, stage].

Prints a line of JSON for each: what was not as it must be, empty if the operator gave one sentence,
the scene was byte for byte what it had been, and the next click worked.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

# Before bpy loads: the artist's own preferences and extensions are none of the program's business.
_resources = tempfile.TemporaryDirectory(prefix="fairfield-blender-")
os.environ["BLENDER_USER_RESOURCES"] = _resources.name
FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent / "blender"), str(FOLDER)]

import bpy  # noqa: E402
import installed  # noqa: E402
from expected import LIMITS, expected_words  # noqa: E402
from scenes import fingerprint, select  # noqa: E402

SERVER = FOLDER / "faulty_server.py"


def main(cases: list[list[str]]) -> None:
    """Run the cases."""
    installed.install(installed.built_zip())
    for (module, name), seconds in LIMITS.items():
        setattr(installed.module(f"client.{module}"), name, seconds)
    settings = bpy.context.scene.fairfield
    settings.preset, settings.resolution = "draft", 32
    for case in cases:
        print(json.dumps([*case, run_case(*case)]), flush=True)
    installed.disable()


def run_case(fault: str, job: str, stage: str) -> str:
    """Return what was not as it must be."""
    for each in list(bpy.data.objects):
        bpy.data.objects.remove(each)
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=2)
    ball = bpy.context.object
    queue = installed.module("session").current().queue
    queue.stop_backend()
    operator = getattr(bpy.ops.fairfield, job)
    before = fingerprint()
    command = [installed.backend_python(), str(SERVER), fault, job, stage]
    os.environ["FAIRFIELD_BACKEND"] = shlex.join(command)
    words = expected_words(fault, stage)
    said = None
    try:
        operator()
    except RuntimeError as problem:
        said = str(problem).strip()
    os.environ.pop("FAIRFIELD_BACKEND")
    if words is None:
        return "" if said is None else f"refused: {said}"
    if said is None:
        return "" if fault == "little-memory" else "nothing was said"
    if not re.search(words, said) or said.count("\n"):
        return f"said: {said}"
    if fingerprint() != before:
        return "the scene has changed"
    select(ball)
    try:
        operator()
    except RuntimeError as problem:
        return f"the next click: {problem}"
    return ""


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    _resources.cleanup()
    sys.stdout.flush()
    os._exit(0)
