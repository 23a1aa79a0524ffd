"""Importing the add-on's client needs neither Blender nor torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    "fairfield_extension", {root!r} + "/__init__.py", submodule_search_locations=[{root!r}])
module = importlib.util.module_from_spec(spec)
sys.modules["fairfield_extension"] = module
spec.loader.exec_module(module)
import fairfield_extension.blender_addon.client.jobs
print(sorted({{"torch", "bpy"}} & set(sys.modules)))
"""


def test_client_loads_without_blender_and_torch():
    program = PROGRAM.format(root=str(ROOT))
    printed = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"
