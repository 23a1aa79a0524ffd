"""The evaluation: its measures against known errors, and that it comes out the same again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairfield.errors import FairfieldError
from fairfield.jets import Jets
from fairfield.study import run
from fairfield.study.accuracy import accuracy_of
from fairfield.study.circle import circle_experiment
from fairfield.study.spectrum import SPHERE_RADIUS, error_spectrum
from fairfield.study.tables import table
from shapes import icosphere


def _sphere_jets(count: int, turned: float, radius: float) -> tuple[Jets, np.ndarray]:
    """Jets of a sphere, with normals turned by some degrees, and the exact normals."""
    normals = np.random.default_rng(0).normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    across = np.cross(normals, [0.3, 0.5, -0.8])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    angle = np.radians(turned)
    gradient = np.cos(angle) * normals + np.sin(angle) * across
    hessian = (np.eye(3) - gradient[:, :, None] * gradient[:, None, :]) / radius
    return Jets(np.zeros(count), gradient, hessian, np.ones(count)), normals


def test_accuracy_of_known_errors() -> None:
    jets, normals = _sphere_jets(100, turned=1.5, radius=1.0)
    jets.hessian[0] = np.nan
    accuracy = accuracy_of(jets, normals, np.full(100, 1.25), half_extent=2.0, evaluations=6400)
    assert accuracy.normal_mean == pytest.approx(1.5)
    assert accuracy.normal_median == pytest.approx(1.5)
    assert accuracy.normal_l2 == pytest.approx(2 * np.sin(np.radians(0.75)))
    assert (accuracy.within_1, accuracy.within_2) == (0, 1)
    # 2.0 instead of 2.5, in units of 1 / half-extent.
    assert accuracy.curvature_rms == pytest.approx(0.2)
    assert accuracy.curvature_median == pytest.approx(0.2)
    assert accuracy.unanswered == pytest.approx(0.01)
    assert accuracy.evaluations == 64


def test_a_wave_is_found_where_it_is() -> None:
    random = np.random.default_rng(0)
    direction = random.normal(size=3) * 1e-3

    def plane(points: np.ndarray) -> np.ndarray:
        return points @ direction

    spectrum: Any = error_spectrum(plane)  # type: ignore[arg-type]
    # Along a great circle a plane is one wave, as long as the circle.
    assert spectrum.power[0] / spectrum.power.sum() == pytest.approx(1)
    assert spectrum.wavelength[0] == pytest.approx(2 * np.pi * SPHERE_RADIUS)
    assert spectrum.value_share == pytest.approx([1, 0, 0, 0])
    # Its slope is the wave by the radius.
    assert spectrum.slope_rms == pytest.approx(spectrum.value_rms / SPHERE_RADIUS)


def test_the_circle_of_the_paper() -> None:
    found = circle_experiment(True, lambda progress: None)
    best = min(accuracy.normal_mean for name, accuracy in found.items() if "polynomial" in name)
    assert best < found["autodiff"].normal_mean / 4
    assert asdict(found["polynomial 0.03"])["curvature_median"] < 0.1


def test_tables_are_aligned() -> None:
    text = table(["name", "x"], [["a", 1.0], ["long", 12345.6]])
    assert text.split("\n") == ["name      x", "----  -----", "a         1", "long  12346"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vertices, triangles = icosphere(radius=0.8, subdivisions=4)
    np.savez(
        tmp_path / "sphere_clean.npz",
        vertices=vertices,
        faces=triangles,
        normals=vertices / 0.8,
        mean_curvature=np.full(len(vertices), 1.25),
    )
    return tmp_path


def test_running_twice_gives_the_same_numbers(folder: Path) -> None:
    texts: list[list[str]] = [[], []]
    results = []
    for shown in texts:
        whole = run(
            folder,
            folder,
            quick=True,
            parts=["scales", "spectrum"],
            kinds=["hash-grid"],
            show=shown.append,
        )
        results.append(whole["results"])
        saved = json.loads((folder / "evaluation.json").read_text())
        assert saved["results"]["spectrum"] == whole["results"]["spectrum"]
    assert results[0] == results[1]
    assert texts[0] == texts[1]
    polynomial = results[0]["scales"]["sphere_clean"]["polynomial"]
    assert min(normal for _, normal, _ in polynomial) < 0.5


def test_what_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(FairfieldError, match="no part 'colour'"):
        run(folder, folder, parts=["colour"])
    with pytest.raises(FairfieldError, match=r"no shape torus_\*"):
        run(folder, folder, pattern="torus_*")
