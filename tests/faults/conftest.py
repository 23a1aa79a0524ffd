"""Lets the tests here import the sweep and the extension by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
sys.path += [str(FOLDER.parent), str(FOLDER)]

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # the faults are made with Linux's own means


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the limits shorter for a test."""
    import sweep

    for (module, name), seconds in sweep.LIMITS.items():
        monkeypatch.setattr(sweep.MODULES[module], name, seconds)
