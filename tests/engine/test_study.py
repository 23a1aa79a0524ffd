"""The evaluation: its measures against known errors, and that it comes out the same again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fairfield
import numpy as np
import pytest
from fairfield.errors import FairfieldError
from fairfield.jets import Jets
from fairfield.operators import OPERATORS
from fairfield.sampling import surface_samples
from fairfield.study import report, run, spectrum, units
from fairfield.study.accuracy import Accuracy, accuracy_of
from fairfield.study.circle import circle_experiment
from fairfield.study.shapes import KnownShape
from fairfield.study.spectrum import SPHERE_RADIUS, error_spectrum
from fairfield.study.tables import STATES, sections, table
from fairfield.study.units import Unit
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

    found: Any = error_spectrum(plane)  # type: ignore[arg-type]
    # Along a great circle a plane is one wave, as long as the circle.
    assert found.power[0] / sum(found.power) == pytest.approx(1)
    assert found.wavelength[0] == pytest.approx(2 * np.pi * SPHERE_RADIUS / 2**0.25)
    assert found.value_share == pytest.approx([1, 0, 0, 0])
    # Its slope is the wave by the radius.
    assert found.slope_rms == pytest.approx(found.value_rms / SPHERE_RADIUS)


def test_the_circle_of_the_paper() -> None:
    found = circle_experiment(True, lambda progress: None)
    best = min(accuracy.normal_mean for name, accuracy in found.items() if "polynomial" in name)
    assert best < found["autodiff"].normal_mean / 4
    assert asdict(found["polynomial 0.03"])["curvature_median"] < 0.1


def test_tables_are_aligned() -> None:
    text = table(["name", "x"], [["a", 1.0], ["long", 12345.6]])
    assert text.split("\n") == [
        "| name |       x |",
        "| ---- | ------: |",
        "| a    |       1 |",
        "| long | 1.2e+04 |",
    ]


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


def test_running_twice_gives_the_same_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "SWEPT_QUERIES", 100)
    monkeypatch.setattr(spectrum, "OPERATOR_CIRCLES", 1)
    texts: list[list[str]] = [[], []]
    results = []
    for shown in texts:
        whole = run(
            folder,
            folder,
            quick=True,
            parts=["scales", "spectrum"],
            kinds=["hash-grid"],
            draw=False,
            show=shown.append,
        )
        results.append(whole["results"])
        saved = json.loads((folder / "evaluation.json").read_text())
        assert saved["results"] == whole["results"]
    assert results[0] == results[1]
    assert texts[0] == texts[1]
    sphere = results[0]["hash-grid sphere_clean"]
    swept = {operator: np.array(rows) for operator, rows in sphere["scales"]["fixed"].items()}
    best = swept["polynomial"][:, 1].min()
    assert best < 0.1
    automatic = next(normal for factor, normal, _ in sphere["scales"]["factors"] if factor == 1)
    assert automatic < 3 * best
    # What the operator is for: the short waves, not the long ones.
    left = sphere["spectrum"]["fitted"]["slope_left"]
    assert max(left[1:]) < 0.1


def test_a_run_that_was_cut_short_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sphere = folder / "sphere_clean.npz"
    (folder / "other_clean.npz").write_bytes(sphere.read_bytes())
    measured: list[str] = []

    def measure(unit: Unit, preset: str, progress: object) -> tuple[dict, dict]:
        if len(measured) == 1:
            measured.append("stopped")
            raise KeyboardInterrupt
        measured.append(unit.shape.name)
        return {"near_surface_error": 1e-4}, {}

    monkeypatch.setattr(report, "measure_unit", measure)

    def again(**settings: Any) -> dict[str, Any]:
        return run(folder, folder, parts=["scales"], draw=False, show=lambda text: None, **settings)

    with pytest.raises(KeyboardInterrupt):
        again()
    whole = again()
    assert measured == ["other_clean", "stopped", "sphere_clean"]
    assert list(whole["results"]) == ["hash-grid other_clean", "hash-grid sphere_clean"]
    # One that had reached its end begins anew, and so does one with other settings.
    again(quick=True)
    again(quick=True)
    assert measured[3:] == ["other_clean", "sphere_clean"] * 2


def test_figures_without_matplotlib_are_refused_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FairfieldError, match=r"matplotlib.*pip install.*--no-figures"):
        run(folder, folder)
    assert not (folder / "evaluation.json").exists()


def test_what_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(FairfieldError, match="no part 'colour'"):
        run(folder, folder, parts=["colour"], draw=False)
    with pytest.raises(FairfieldError, match=r"no shape torus_\*"):
        run(folder, folder, pattern="torus_*", draw=False)


def test_the_exact_surface_has_its_distance_from_the_facets() -> None:
    directions, triangles = icosphere(subdivisions=4)
    vertices = 3 * directions
    mesh = fairfield.TriangleMesh(vertices, triangles)
    shape = KnownShape("sphere_clean", mesh, vertices, directions, np.full(len(vertices), 1 / 3))
    points, _ = surface_samples(mesh, 100_000, np.random.default_rng(0))
    height = 3 - np.linalg.norm(points, axis=1)
    at_best_radius = np.abs(height - np.median(height)).mean() / 3
    assert 0.9 * at_best_radius < shape.facet_distance < at_best_radius


def test_the_tables_say_what_fine_tuning_gained() -> None:
    def accuracy(normal: float) -> dict[str, float]:
        return asdict(Accuracy(0.1, normal, normal, 0.5, 0.6, 2 * normal, normal / 2, 0, 61))

    def unit(teacher: float, before: float, after: float, distance: float) -> dict[str, Any]:
        states = {"fitted": before, "fine-tuned": after}
        return {
            "operators": {
                state: {
                    name: accuracy(teacher if name == "polynomial" else own) for name in OPERATORS
                }
                for state, own in states.items()
            },
            "finetuning": {"before": {"distance_mean": 1.0}, "after": {"distance_mean": distance}},
            "exact_distance": 2 * distance,
        }

    results = {
        "hash-grid torus_clean": unit(0.1, 0.4, 0.2, 1.04),
        "hash-grid sphere_clean": unit(0.3, 0.8, 0.4, 0.96),
        "hash-grid torus_noise0p3": unit(5.0, 50.0, 40.0, 1.0),
    }
    seconds = {
        name: {"fit": 4.0, "finetune": 1.0}
        | {f"{state} {operator}": 1e-5 for state in STATES for operator in OPERATORS}
        for name in results
    }
    found = {name: text for name, _, text in sections({"results": results, "seconds": seconds})}
    assert set(found) == {
        "summary",
        "finetuning",
        "operators-hash-grid-clean",
        "operators-hash-grid-noise0p3",
    }
    row = [cell.strip() for cell in found["finetuning"].splitlines()[-1].split("|")]
    assert row[2:5] == ["0.2 / 10 %", "0.6 / 30 %", "0.3 / 15 %"]
    assert row[5:8] == ["1.5", "2", "1.000, at most 1.040"]
    assert row[8:10] == ["2.000, at most 2.080", "0.25"]
    autodiff = next(line for line in found["summary"].splitlines() if "autodiff" in line)
    assert "0.6 / 1.2" in autodiff
    assert "50 / 100" in autodiff
