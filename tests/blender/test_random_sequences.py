"""Random sequences of what an artist does, against a model of the scene; see `scene_machine`.

`benchmarks/reliability.py` runs many more steps than these.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import installed
import pytest

STEPS = 500
SEED = 1


@installed.in_one_blender
@pytest.mark.slow
def test_random_sequences():
    program = Path(__file__).with_name("sequence_program.py")
    ran = subprocess.run(
        [sys.executable, str(program), str(STEPS), str(SEED)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-5000:]
    counted = json.loads(ran.stdout.splitlines()[-1])
    assert counted["steps"] >= STEPS
    # It was not all refusals.
    assert min(counted.get(what, 0) for what in ("measured", "extracted", "undone")) > 0
