"""A field comes back from its file exactly, in another process too; nothing else is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fairfield
import numpy as np
import pytest
from conftest import SPHERE_CENTER
from fairfield.errors import FieldFileError
from safetensors.numpy import load_file, save_file

POINTS = np.random.default_rng(0).uniform(-4, 4, (500, 3)) + SPHERE_CENTER


@pytest.fixture
def saved(sphere_field: fairfield.Field, tmp_path: Path) -> Path:
    path = tmp_path / "sphere.safetensors"
    sphere_field.save(path)
    return path


def test_a_new_process_evaluates_the_same(sphere_field: fairfield.Field, saved: Path) -> None:
    program = (
        "import sys, numpy, fairfield; points = numpy.load(sys.argv[2]);"
        "numpy.save(sys.argv[3], fairfield.load(sys.argv[1])(points))"
    )
    points, values = saved.with_name("points.npy"), saved.with_name("values.npy")
    np.save(points, POINTS)
    subprocess.run([sys.executable, "-c", program, saved, points, values], check=True)
    np.testing.assert_array_equal(np.load(values), sphere_field(POINTS))


def test_the_report_comes_back(sphere_field: fairfield.Field, saved: Path) -> None:
    loaded = fairfield.load(saved)
    assert loaded.report == sphere_field.report
    assert loaded.normalization == sphere_field.normalization


def _metadata(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]


def _rewrite(path: Path, *, drop_tensor: str | None = None, **changes: str | None) -> None:
    metadata = _metadata(path) | changes
    tensors = load_file(path)
    if drop_tensor:
        del tensors[drop_tensor]
    save_file(tensors, path, {name: value for name, value in metadata.items() if value is not None})


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, 0.999])
def test_truncated_files_are_refused(saved: Path, keep: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(FieldFileError, match="not a field, or is damaged"):
        fairfield.load(saved)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "other"}, "not a Fairfield field"),
        ({"format": None}, "not a Fairfield field"),
        ({"version": "2"}, "version 2"),
        ({"config": "{"}, "not a complete field"),
        ({"config": None}, "not a complete field"),
        ({"config": "{}"}, "configuration"),
        ({"config": '{"kind": "cube"}'}, "configuration"),
        ({"normalization": '{"center": [0, 0], "half_extent": 1}'}, "not a complete field"),
        ({"report": "{}"}, "not a complete field"),
        ({"drop_tensor": "encoding.table"}, "not a complete field"),
    ],
)
def test_foreign_or_changed_files_are_refused(saved: Path, change: dict, says: str) -> None:
    _rewrite(saved, **change)
    with pytest.raises(FieldFileError, match=says) as refusal:
        fairfield.load(saved)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FieldFileError, match="No such file"):
        fairfield.load(tmp_path / "missing.safetensors")


def test_a_failed_save_leaves_nothing_behind(sphere_field: fairfield.Field, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        sphere_field.save(tmp_path / "taken")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]
