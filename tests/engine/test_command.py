"""The command from end to end, and its refusals: one line, the right exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fairfield
import numpy as np
import pytest
from conftest import ROOT, SPHERE_CENTER
from fairfield.command import QUANTITIES
from shapes import angles_in_degrees, icosphere

FAIRFIELD = [sys.executable, "-I", str(ROOT / "backend" / "fairfield" / "__main__.py")]


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FAIRFIELD, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sphere_field: fairfield.Field) -> Path:
    """A mesh with an unused vertex, and the field of the same sphere."""
    path = tmp_path_factory.mktemp("files")
    vertices, triangles = icosphere(radius=3.0, subdivisions=2)
    vertices = np.insert(vertices + SPHERE_CENTER, 4, SPHERE_CENTER + np.array([0, 0, 3.0]), axis=0)
    fairfield.TriangleMesh(vertices, triangles + (triangles >= 4)).save(path / "sphere.ply")
    sphere_field.save(path / "sphere.safetensors")
    return path


def test_fit_reports_and_saves(folder: Path) -> None:
    result = _run(
        "fit",
        folder / "sphere.ply",
        "-o",
        folder / "new.safetensors",
        "--preset",
        "draft",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["near_surface_error"] < 5e-3
    assert report["repairs"] == {"unused vertices": 1}
    distances = fairfield.load(folder / "new.safetensors")([SPHERE_CENTER])
    assert distances[0] == pytest.approx(-3, abs=0.2)


def test_fit_takes_the_kind_of_field(folder: Path) -> None:
    output = folder / "planes.safetensors"
    options = ("--field", "tri-plane", "--preset", "draft")
    result = _run("fit", folder / "sphere.ply", "-o", output, *options)
    assert result.returncode == 0, result.stderr
    assert fairfield.load(output).module.config.kind == "tri-plane"


def test_finetune_reports_and_saves(folder: Path) -> None:
    output = folder / "tuned.safetensors"
    options = ("--mesh", folder / "sphere.ply", "--json")
    result = _run("finetune", folder / "sphere.safetensors", "-o", output, *options)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["normal_error_after"] < report["normal_error_before"]
    assert report["reference"] == "mesh"
    saved = fairfield.load(output).report.finetuning
    assert saved is not None
    assert saved["normal_error_after"] == report["normal_error_after"]


def test_smooth_does_not_write_over_the_mesh(folder: Path) -> None:
    mesh = folder / "sphere.ply"
    before = mesh.read_bytes()
    result = _run("smooth", folder / "sphere.safetensors", mesh, "-o", mesh)
    assert result.returncode == 2
    assert "choose another name" in result.stderr
    assert mesh.read_bytes() == before


def test_smooth_answers_for_every_vertex_in_order(folder: Path) -> None:
    result = _run(
        "smooth",
        folder / "sphere.safetensors",
        folder / "sphere.ply",
        "-o",
        folder / "smooth.npz",
        "--scale",
        "0.3",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["unanswered"] == 0
    answer = np.load(folder / "smooth.npz")
    mesh = fairfield.TriangleMesh.load(folder / "sphere.ply")
    np.testing.assert_array_equal(answer["vertices"], mesh.vertices)
    outward = (mesh.vertices - SPHERE_CENTER) / 3
    assert angles_in_degrees(answer["normals"], outward).mean() < 1.5
    assert {*QUANTITIES, "deviation", "foot_points", "faces"} <= set(answer.files)


def test_smooth_writes_the_attributes_to_ply(folder: Path) -> None:
    result = _run(
        "smooth", folder / "sphere.safetensors", folder / "sphere.ply", "-o", folder / "out.ply"
    )
    assert result.returncode == 0, result.stderr
    header = (folder / "out.ply").read_bytes().split(b"end_header")[0].decode()
    for name in ("nx", "mean_curvature", "gaussian_curvature", "curvature_max_direction_z"):
        assert f"property float {name}\n" in header


def test_query_answers_what_was_asked(folder: Path) -> None:
    points = np.array([SPHERE_CENTER, SPHERE_CENTER + np.array([3.5, 0, 0]), [np.nan] * 3])
    np.save(folder / "points.npy", points)
    result = _run(
        "query",
        folder / "sphere.safetensors",
        folder / "points.npy",
        "-o",
        folder / "query.npz",
        "--only",
        "value,normals",
    )
    assert result.returncode == 0, result.stderr
    answer = np.load(folder / "query.npz")
    assert answer.files == ["value", "normals"]
    assert answer["value"][1] == pytest.approx(0.5, abs=0.05)
    assert np.isnan(answer["value"][2])
    assert "1 without an answer" in result.stderr


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl", "glb", "npz"])
def test_extract_writes_every_format(folder: Path, suffix: str) -> None:
    output = folder / f"extracted.{suffix}"
    result = _run(
        "extract",
        folder / "sphere.safetensors",
        "-o",
        output,
        "--resolution",
        24,
        "--scale",
        "auto",
    )
    assert result.returncode == 0, result.stderr
    mesh = fairfield.TriangleMesh.load(output)
    assert np.abs(np.linalg.norm(mesh.vertices - SPHERE_CENTER, axis=1) - 3).mean() < 0.02


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fit", "missing.ply", "-o", "x.safetensors"], "missing.ply"),
        (["fit", "sphere.ply", "-o", "x.ply"], ".safetensors"),
        (["fit", "sphere.ply", "-o", "no/such/folder/x.safetensors"], "no/such/folder"),
        (["fit", "sphere.ply", "-o", "x.safetensors", "--preset", "huge"], "huge"),
        (["fit", "sphere.ply", "-o", "x.safetensors", "--field", "cube"], "cube"),
        (["fit", "sphere.ply", "-o", "x.safetensors", "--device", "abacus"], "abacus"),
        (["fit", "sphere.ply", "-o", "x.safetensors", "--seed", "-1"], "-1"),
        (["fit", "sphere.ply"], "required"),
        (["smooth", "sphere.ply", "sphere.ply", "-o", "x.ply"], "not a field"),
        (["smooth", "sphere.safetensors", "sphere.ply", "-o", "x.obj"], ".ply or .npz"),
        (["smooth", "sphere.safetensors", "sphere.ply", "-o", "x.ply", "--scale", "-2"], "-2"),
        (["query", "sphere.safetensors", "sphere.ply", "-o", "x.npz"], "sphere.ply"),
        (["query", "sphere.safetensors", "p.npy", "-o", "x.npz", "--only", "mass"], "mass"),
        (["query", "sphere.safetensors", "p.npy", "-o", "x.npz", "--only", ""], "quantity ''"),
        (
            ["smooth", "sphere.safetensors", "sphere.ply", "-o", "x.ply", "--operator", "autodiff"]
            + ["--scale-factor", "2"],
            "no scale",
        ),
        (["extract", "sphere.safetensors", "-o", "x.ply", "--resolution", "3"], "3"),
        (["dance"], "dance"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder: Path, arguments, says: str) -> None:
    result = subprocess.run(
        [*FAIRFIELD, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert says in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["empty", "nan_vertex"])
def test_broken_meshes_are_refused_in_one_line(folder: Path, shared_data: Path, name: str) -> None:
    result = _run("fit", shared_data / "broken" / f"{name}.npz", "-o", folder / "x.safetensors")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("points.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n"),
        (
            "points.ply",
            "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
            "property float z\nend_header\n0 0 0\n",
        ),
    ],
)
def test_files_without_faces_are_refused_in_one_line(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    result = _run("fit", folder / name, "-o", folder / "x.safetensors")
    assert result.returncode == 2
    assert "no faces" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_an_interrupt_ends_with_130_and_no_file(folder: Path) -> None:
    output = folder / "interrupted.safetensors"
    with subprocess.Popen(
        # A hash grid's fit would be over about when the first line comes.
        [*FAIRFIELD, "fit", folder / "sphere.ply", "-o", output, "--field", "siren"],
        stderr=subprocess.PIPE,
        text=True,
        # A shell may have started the tests in the background, with interrupts ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first progress line
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert process.wait(timeout=30) == 130
        assert time.monotonic() - start < 5
    assert not output.exists()
