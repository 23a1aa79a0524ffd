"""Loads the add-on's client outside Blender, and gives tests a backend that misbehaves on order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import extension_package

extension_package.load()


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
