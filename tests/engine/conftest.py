"""Fixtures of the engine's tests: the shared data, and fields that several tests look at."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

# The tests' own modules (shapes, ...) are imported by name.
sys.path.insert(0, str(Path(__file__).parent))

import fairfield
from fairfield.devices import available_devices
from shapes import icosphere

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public test meshes."""
    data = Path(os.environ.get("FAIRFIELD_SHARED") or ROOT.parent / "shared") / "data"
    if not data.is_dir():
        reason = f"no test meshes at {data}: set FAIRFIELD_SHARED"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return data


@pytest.fixture(params=["cpu", "cuda", "mps"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device that this machine has."""
    if request.param not in available_devices():
        pytest.skip(f"this machine has no {request.param} device")
    return request.param


@pytest.fixture(scope="session")
def sphere_field() -> fairfield.Field:
    """A draft of a sphere of radius 3 around (10, -20, 30), in those units."""
    vertices, triangles = icosphere(radius=3.0, subdivisions=4)
    return fairfield.fit(
        fairfield.TriangleMesh(vertices + SPHERE_CENTER, triangles), preset="draft", seed=1
    )


SPHERE_CENTER = np.array([10.0, -20.0, 30.0])
