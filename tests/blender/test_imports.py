"""The add-on imports nothing heavy, and runs in a Python that has nothing heavy."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import installed

ADDON = Path(installed.ROOT) / "blender_addon"
ALLOWED = {"bpy", "mathutils", "gpu", "blf", "numpy"}
WIRE = {"wire"}


def imported(path: Path) -> list[tuple[str, list[str]]]:
    """Return what a module imports: (dotted name, names taken from it); relative ones with dots."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(each.name, []) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [each.name for each in node.names]
            found.append(("." * node.level + (node.module or ""), names))
    return found


def test_only_blender_numpy_the_standard_library_and_the_frames():
    for path in ADDON.rglob("*.py"):
        depth = len(path.relative_to(ADDON).parts)
        for name, names in imported(path):
            dots = len(name) - len(name.lstrip("."))
            if dots > depth:
                # One step above the add-on is the extension, of which only the frames are free.
                assert name.lstrip(".") == "backend.fairfield", (path, name)
                assert set(names) <= WIRE, (path, names)
            elif dots == 0:
                top = name.partition(".")[0]
                assert top in ALLOWED or top in sys.stdlib_module_names, (path, name)


def test_the_client_knows_no_blender():
    for path in (ADDON / "client").rglob("*.py"):
        for name, _ in imported(path):
            assert name.partition(".")[0] not in {"bpy", "mathutils", "gpu", "blf"}, (path, name)


def test_this_blender_has_no_torch():
    assert importlib.util.find_spec("torch") is None
    assert "torch" not in sys.modules


def test_nothing_but_the_frames_is_loaded_of_the_engine():
    engine = f"{installed.EXTENSION}.backend.fairfield"
    loaded = {name for name in sys.modules if name.startswith(engine)}
    assert loaded == {engine, f"{engine}.wire"}
