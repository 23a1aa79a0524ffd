"""A field comes back from its file exactly, in another process too; nothing else is loaded."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import fairfield
import numpy as np
import pytest
import torch
from conftest import SPHERE_CENTER
from fairfield import field as module
from fairfield.errors import FieldFileError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

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


def _rewrite(
    path: Path,
    *,
    drop_tensor: str | None = None,
    tensors: dict[str, torch.Tensor] | None = None,
    **changes: str | None,
) -> None:
    """Change a file the way an attacker would, who computes the checksum too."""
    metadata = _metadata(path) | changes
    weights = load_file(path) | (tensors or {})
    if drop_tensor:
        del weights[drop_tensor]
    kept = {name: value for name, value in metadata.items() if value is not None}
    kept.pop("checksum")
    save_file(weights, path, kept | {"checksum": module.checksum(kept, weights)})


def _changed_json(path: Path, part: str, *where: str, value: object) -> str:
    whole = json.loads(_metadata(path)[part])
    inner = whole
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    return json.dumps(whole)


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
        ({"config": "[" * 100_000}, "not a complete field"),
        ({"drop_tensor": "encoding.table"}, "'encoding.table' differs"),
        ({"drop_tensor": "scale_map.noise"}, "scale map is not complete"),
        ({"tensors": {"scale_map.points": torch.zeros(5, 3)}}, "scale map is not complete"),
        ({"tensors": {"scale_map.spacing": torch.full((1,), 1e-6)}}, "'spacing' that no fit"),
        (
            {"tensors": {"scale_map.noise": torch.full((1,), torch.nan)}},
            "'noise' that no fit",
        ),
        ({"tensors": {"other": torch.zeros(1)}}, "'other' differs"),
        ({"tensors": {"decoder.layers.2.bias": torch.zeros(2)}}, "bias' differs"),
        ({"tensors": {"decoder.layers.2.bias": torch.zeros(1).double()}}, "bias' differs"),
        ({"tensors": {"decoder.layers.2.bias": torch.full((1,), torch.nan)}}, "not finite"),
    ],
)
def test_foreign_or_changed_files_are_refused(saved: Path, change: dict, says: str) -> None:
    _rewrite(saved, **change)
    with pytest.raises(FieldFileError, match=says) as refusal:
        fairfield.load(saved)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("part", "where", "value", "says"),
    [
        ("config", ["encoding", "levels"], True, "levels is True; expected int"),
        ("config", ["encoding", "levels"], "8", "levels is '8'; expected int"),
        ("config", ["encoding", "levels"], 8.0, "levels is 8.0; expected int"),
        ("config", ["encoding", "levels"], 10**9, "levels is 1000000000"),
        ("config", ["encoding", "levels"], 10**4000, "expected int"),
        ("config", ["encoding", "surprise"], 1, "no 'surprise'"),
        ("config", ["encoding"], None, "not an object"),
        ("config", ["encoding", "dimension"], 2, "maps 2 coordinates"),
        ("config", ["decoder", "channels"], 2, "to 2 values"),
        ("config", ["base_resolution"], 513, "base resolution is 513"),
        ("config", ["kind"], ["hash-grid"], "no field"),
        ("normalization", ["half_extent"], 0.0, "half-extent is 0"),
        ("normalization", ["half_extent"], float("nan"), "half-extent is nan"),
        ("normalization", ["half_extent"], float("inf"), "expected float"),
        ("normalization", ["center"], [0.0, float("nan"), 0.0], "half-extent"),
        ("report", ["seconds"], {"fit": "long"}, "expected float"),
        ("report", ["warnings"], ["x" * 10**6], "expected str"),
        ("report", ["warnings"], [""] * 10**5, "expected list"),
        ("report", ["vertices"], -(2**70), "expected int"),
    ],
)
def test_metadata_of_the_wrong_kind_is_refused(saved: Path, part, where, value, says) -> None:
    _rewrite(saved, **{part: _changed_json(saved, part, *where, value=value)})
    with pytest.raises(FieldFileError, match=says):
        fairfield.load(saved)


def test_a_description_of_gigabytes_takes_no_memory(saved: Path) -> None:
    """The largest network that the limits allow has 17 GB of weights; the file has none."""
    encoding = {
        "dimension": 3,
        "levels": 32,
        "features": 8,
        "log2_table_size": 24,
        "base_resolution": 4096,
        "per_level_scale": 1.0,
    }
    text = _changed_json(saved, "config", "encoding", value=encoding)
    _rewrite(saved, config=text)
    before = _peak_kilobytes()
    with pytest.raises(FieldFileError, match="does not hold the weights"):
        fairfield.load(saved)
    assert _peak_kilobytes() - before < 50_000


def _peak_kilobytes() -> int:
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.fixture(scope="module")
def content(sphere_field: fairfield.Field, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("field") / "sphere.safetensors"
    sphere_field.save(path)
    return path.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_changed_byte_is_noticed(sphere_field, content: bytes, tmp_path: Path, data) -> None:
    """Half of the changes are in the header, which is a small part of the file."""
    header = int.from_bytes(content[:8], "little") + 8
    place = data.draw(st.integers(0, header - 1) | st.integers(header, len(content) - 1))
    bits = data.draw(st.integers(1, 255))
    changed = bytearray(content)
    changed[place] ^= bits
    path = tmp_path / "changed.safetensors"
    path.write_bytes(changed)
    with contextlib.suppress(FieldFileError):
        loaded = fairfield.load(path)
        # The change was in the white space of the header.
        np.testing.assert_array_equal(loaded(POINTS), sphere_field(POINTS))
        assert loaded.report == sphere_field.report


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_file_cut_anywhere_is_refused(content: bytes, tmp_path: Path, data) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, 4000) | st.integers(0, len(content) - 1))])
    with pytest.raises(FieldFileError, match="not a field, or is damaged"):
        fairfield.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FieldFileError, match="No such file"):
        fairfield.load(tmp_path / "missing.safetensors")
    with pytest.raises(FieldFileError, match="null"):
        fairfield.load("a\0b.safetensors")
    with pytest.raises(FieldFileError, match="is not a file"):
        fairfield.load(tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device without end")
def test_a_device_is_not_read() -> None:
    with pytest.raises(FieldFileError, match="is not a file"):
        fairfield.load("/dev/zero")


def test_a_file_larger_than_any_field_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.truncate(module.MAX_FILE_BYTES + 1)  # takes no space on the disk
    tracemalloc.start()
    with pytest.raises(FieldFileError, match=r"has 4\.3 GB"):
        fairfield.load(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files by a system call")
def test_a_full_disk_keeps_the_earlier_file(content: bytes, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write that goes over it fails."""
    path, source = tmp_path / "field.safetensors", tmp_path / "source.safetensors"
    path.write_bytes(b"what was there before")
    source.write_bytes(content)
    program = """\
import resource, sys, fairfield
field = fairfield.load(sys.argv[1])
for room in (0, 1, 4096, 200_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        field.save(sys.argv[2])
    except OSError as problem:
        print(problem.strerror)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, source, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["File too large"] * 4 + [""]
    assert path.read_bytes() == b"what was there before"
    assert sorted(tmp_path.iterdir()) == [path, source]


def test_a_failed_save_leaves_nothing_behind(sphere_field: fairfield.Field, tmp_path: Path) -> None:
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(OSError):
        sphere_field.save(tmp_path / "taken.safetensors")
    with pytest.raises(FieldFileError, match=r"must be a \.safetensors file"):
        sphere_field.save(tmp_path / "field.ply")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken.safetensors"]
