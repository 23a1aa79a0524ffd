"""Export: files read back byte for byte, without Blender's importers."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PLY_TYPES = {"float": "<f4", "uchar": "u1", "int": "<i4", "uint": "<u4", "short": "<i2"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the files that another Blender wrote: 4.2 crashes at exit after glTF."""
    folder = tmp_path_factory.mktemp("exported")
    program = Path(__file__).with_name("export_program.py")
    ran = subprocess.run(
        [sys.executable, str(program), str(folder)], capture_output=True, text=True, timeout=120
    )
    assert (folder / "finished").exists(), ran.stdout + ran.stderr
    return folder


def read_ply(path: Path) -> np.ndarray:
    """Return the vertices of a binary PLY file as a structured array."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    fields, count, inside = [], 0, False
    for line in head.decode().splitlines():
        words = line.split()
        if words[0] == "element":
            inside = words[1] == "vertex"
            count = int(words[2]) if inside else count
        elif words[0] == "property" and inside:
            fields.append((words[2], PLY_TYPES[words[1]]))
    return np.frombuffer(body, np.dtype(fields), count)


def read_glb(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the header of a GLB file, and the vertex arrays of its first mesh."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    header = json.loads(data[20 : 20 + length])
    binary = data[28 + length :]
    arrays = {}
    for name, index in header["meshes"][0]["primitives"][0]["attributes"].items():
        accessor = header["accessors"][index]
        if accessor["componentType"] != 5126:
            continue
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        view = header["bufferViews"][accessor["bufferView"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        flat = np.frombuffer(binary, "<f4", accessor["count"] * width, start)
        arrays[name] = flat.reshape(-1, width)
    return header, arrays


def columns(vertices: np.ndarray, names: str) -> np.ndarray:
    return np.stack([vertices[name] for name in names.split()], axis=1)


@pytest.mark.parametrize("name", ["turned", "mirrored"])
def test_ply_has_attributes_in_the_axes_of_the_file(exported, name):
    vertices = read_ply(exported / f"{name}.ply")
    center = np.array([1.0, 2.0, 3.0])
    outward = columns(vertices, "x y z") - center
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    smooth = columns(vertices, "smooth_normal_x smooth_normal_y smooth_normal_z")
    assert (smooth * outward).sum(axis=1).mean() > 0.99
    shading = columns(vertices, "nx ny nz")
    assert (shading * outward).sum(axis=1).mean() > 0.99
    assert np.median(vertices["mean_curvature"]) == pytest.approx(1 / 3, rel=0.05)
    assert {"red", "green", "blue"} <= set(vertices.dtype.names)


def test_glb_has_attributes_with_an_underscore_in_the_axes_of_the_file(exported):
    header, arrays = read_glb(exported / "turned.glb")
    assert [node["name"] for node in header["nodes"]] == ["Sphere"]
    assert np.median(arrays["_MEAN_CURVATURE"]) == pytest.approx(1 / 3, rel=0.05)
    outward = arrays["POSITION"] / 3
    normal, tangent = (
        np.concatenate([arrays[f"_{name}_{axis}"] for axis in "XYZ"], axis=1)
        for name in ("SMOOTH_NORMAL", "CURVATURE_MAX_DIRECTION")
    )
    assert (normal * outward).sum(axis=1).mean() > 0.99
    assert np.abs((tangent * outward).sum(axis=1)).mean() < 0.1


def test_blender_itself_imports_the_glb_with_what_was_measured(exported):
    medians = json.loads((exported / "imported").read_text())
    assert medians["_MEAN_CURVATURE"] == pytest.approx(1 / 3, rel=0.05)
    assert {"_SMOOTH_NORMAL_X", "_CURVATURE_MAX_DIRECTION_Z", "_SHAPE_INDEX"} <= set(medians)


def test_a_ply_file_has_curvature_in_its_own_units(exported):
    vertices = read_ply(exported / "enlarged.ply")
    away = np.linalg.norm(columns(vertices, "x y z") - [1.0, 2.0, 3.0], axis=1)
    assert np.median(away) == pytest.approx(30, rel=1e-3)
    assert np.median(vertices["mean_curvature"]) == pytest.approx(1 / 30, rel=0.05)
    assert np.median(vertices["gaussian_curvature"]) == pytest.approx(1 / 900, rel=0.1)
    assert np.median(vertices["shape_index"]) > 0.9


def test_the_scene_is_as_before(exported):
    before, after = json.loads((exported / "finished").read_text())
    assert before == after


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files by a system call")
def test_a_full_disk_is_told_and_keeps_the_earlier_file(exported):
    """Blender's PLY exporter itself reports success and leaves a cut file."""
    said = json.loads((exported / "refusals").read_text())
    assert len(said) == 6
    for sentence in said:
        assert "could not be written" in sentence
        assert "Traceback" not in sentence
        assert sentence.strip().count("\n") == 0
    for name in ("full.ply", "full.glb"):
        assert (exported / name).read_bytes() == b"what was there before"
    assert not list(exported.glob(".fairfield-*"))
