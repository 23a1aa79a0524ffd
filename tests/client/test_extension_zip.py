"""The built zip holds what it should and nothing else."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_zip_holds_the_listed_files_and_is_small() -> None:
    path = Path(os.environ.get("FAIRFIELD_ZIP", ROOT / "dist" / "fairfield.zip"))
    if not path.is_file():
        pytest.skip(f"no zip at {path}: `make extension` builds it")
    expected = {"__init__.py", "blender_manifest.toml", "LICENSE"}
    expected |= {"constraints.txt", "constraints-hashed.txt"}
    for package in ("blender_addon", "backend/fairfield"):
        expected |= {
            source.relative_to(ROOT).as_posix() for source in (ROOT / package).rglob("*.py")
        }
    with zipfile.ZipFile(path) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    # Blender puts everything below a folder of the extension's name, or at the top.
    assert {name.removeprefix("fairfield/") for name in files} == expected
    assert path.stat().st_size < 2_000_000
