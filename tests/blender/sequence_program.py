"""Runs the scene machine in a Blender of its own: `sequence_program.py STEPS SEED`.

Prints how often what happened, as a line of JSON. The process ends without Blender's own cleaning
up, in which bpy 4.5 waits for ever after some sequences of undo and loading.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import traceback

# Before bpy loads: the artist's own preferences and extensions are none of the program's business.
_resources = tempfile.TemporaryDirectory(prefix="fairfield-blender-")
os.environ["BLENDER_USER_RESOURCES"] = _resources.name

import bpy  # noqa: E402
import installed  # noqa: E402
from hypothesis import HealthCheck, Phase, seed, settings  # noqa: E402
from hypothesis.stateful import run_state_machine_as_test  # noqa: E402

STEPS_PER_RUN = 50


def main(steps: int, number: int) -> None:
    """Run at least so many steps.

    Raises
    ------
    Exception
        Whatever the machine noticed.
    """
    installed.install(installed.built_zip())
    from scene_machine import SceneMachine

    counted = SceneMachine.counted
    generator = random.Random(number)
    while counted["steps"] < steps:
        missing = steps - counted["steps"]
        machine = seed(generator.randrange(2**32))(SceneMachine)
        run_state_machine_as_test(
            machine,
            settings=settings(
                # The first of a run are short, and about half of the steps do not apply.
                max_examples=20 + missing // STEPS_PER_RUN,
                stateful_step_count=STEPS_PER_RUN,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    installed.disable()
    print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    code = 1
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
        code = 0
    except BaseException:
        traceback.print_exc()
        bpy.ops.preferences.addon_disable(module=installed.EXTENSION)
    _resources.cleanup()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
