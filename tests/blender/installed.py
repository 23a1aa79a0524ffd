"""The installed extension: built as a zip, installed into Blender, enabled, and taken hold of.

Used by the tests and by the programs that they run in a process of their own.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import bpy
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = "bl_ext.user_default.fairfield"

# What does not depend on the version runs in one of them, so that all of them stay affordable.
in_one_blender = pytest.mark.skipif(
    bpy.app.version[:2] != (4, 5), reason="the same in every version: runs in Blender 4.5 only"
)


def backend_python() -> str:
    """Return the Python that has the backend's packages."""
    return os.environ.get("FAIRFIELD_BACKEND_PYTHON", str(ROOT / ".venv" / "bin" / "python"))


def built_zip() -> Path:
    """Return the zip to test: the one that FAIRFIELD_ZIP names, or one that is built now."""
    named = os.environ.get("FAIRFIELD_ZIP")
    if named:
        return Path(named)
    subprocess.run([sys.executable, str(ROOT / "scripts" / "build_extension.py")], check=True)
    return ROOT / "dist" / "fairfield.zip"


def install(zip_path: Path) -> None:
    """Install and enable the extension in this Blender."""
    bpy.ops.extensions.package_install_files(
        filepath=str(zip_path), repo="user_default", enable_on_install=False
    )
    # Python may have listed the folder in the same instant in which the files came into it.
    importlib.invalidate_caches()
    enable()


def enable() -> None:
    """Enable the extension that another process installed for the same user."""
    bpy.ops.preferences.addon_enable(module=EXTENSION)
    choose_backend()


def disable() -> None:
    """Disable the extension, which ends its backend."""
    bpy.ops.preferences.addon_disable(module=EXTENSION)


def choose_backend() -> None:
    """Set the preferences to the Python that the tests are given."""
    preferences = bpy.context.preferences.addons[EXTENSION].preferences
    preferences.backend = "python"
    preferences.python = backend_python()


def module(name: str) -> ModuleType:
    """Return a module of the installed add-on, such as "session"."""
    return importlib.import_module(f"{EXTENSION}.blender_addon.{name}")
