"""Every broken mesh that Blender can hold, through Smooth: one sentence, or attributes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy
import installed
import numpy as np
import pytest
from scenes import fingerprint

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from broken_meshes import OUTCOMES, broken_meshes

SHARED = Path(os.environ.get("FAIRFIELD_SHARED") or installed.ROOT.parent / "shared") / "data"
IN_BLENDER = {name: expected for name, expected in OUTCOMES.items() if expected.in_blender}

pytestmark = [
    installed.in_one_blender,
    pytest.mark.skipif(
        not SHARED.is_dir() and not os.environ.get("CI"),
        reason=f"no test meshes at {SHARED}: set FAIRFIELD_SHARED",
    ),
]


@pytest.mark.parametrize("name", IN_BLENDER)
def test_a_broken_mesh(name, mesh_object, read, job):
    expected = IN_BLENDER[name]
    vertices, triangles = next(mesh for found, *mesh in broken_meshes(SHARED) if found == name)
    made = mesh_object(vertices.tolist(), triangles.tolist(), name)
    bpy.context.scene.fairfield.scale_is_auto = True
    before = fingerprint()
    if expected.refused:
        with pytest.raises(RuntimeError, match=expected.refused) as caught:
            bpy.ops.fairfield.smooth()
        assert str(caught.value).strip().count("\n") == 0
        assert fingerprint() == before
        return
    assert bpy.ops.fairfield.smooth() == {"FINISHED"}
    values = read(made, "mean_curvature")
    missing = bool(np.isnan(values).any())
    assert expected.unanswered or not missing
    said = " ".join(job.session.messages + job.session.reports[made.session_uid].warnings)
    assert expected.warned in said
    assert ("no answer at" in said) == missing
