"""Loads the add-on's client outside Blender, and gives tests a backend that misbehaves on order."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "fairfield_extension"


def _load_extension() -> None:
    """Import the repository root as a package, the way Blender names an installed extension."""
    if PACKAGE in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        PACKAGE, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


_load_extension()


@pytest.fixture
def scripted_command() -> Callable[[str], list[str]]:
    """A function from the name of a misbehaviour to the command of a backend that shows it."""
    server = Path(__file__).with_name("scripted_server.py")

    def command(behaviour: str) -> list[str]:
        return [sys.executable, str(server), behaviour]

    return command


@pytest.fixture
def poll_until() -> Callable[..., None]:
    """A function that calls `poll` until `done` answers true, and fails after a while."""

    def wait(poll: Callable[[], object], done: Callable[[], bool], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"nothing after {seconds} s"
            poll()
            time.sleep(0.002)

    return wait
