"""The pieces of the evaluation: one kind of field on one shape, measured in every wanted way.

A piece is fitted, measured and forgotten, so the memory is that of two fields; what was found is
plain JSON, so a run that was cut short goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..field import Field
from ..finetuning import finetune
from ..fitting import fit
from ..operators import OPERATORS
from ..progress import ProgressCallback, part
from .accuracy import Accuracy, measure
from .shapes import KnownShape
from .spectrum import error_spectrum, slopes_left

SWEPT_KIND = "hash-grid"
"""The kind of field that scales and weights are tried on."""
SWEPT_OPERATORS = ("polynomial", "polynomial-volume", "polynomial-random")
SWEPT_QUERIES = 1000
SCALES = tuple(float(f"{0.004 * 2 ** (i / 2):.3g}") for i in range(12))
"""Of the sweep, in half-extents."""
FACTORS = tuple(float(f"{2 ** (i / 2):.3g}") for i in range(-4, 5))
"""Of the automatic scale."""
SPECTRUM_SHAPE = "sphere_clean"
WEIGHTS: dict[str, dict[str, Any]] = {
    "by default": {},
    "trained, not handed over": {"hand_over": False},
    "trained, weight of normals 0": {"hand_over": False, "normal_weight": 0.0},
    "trained, weight of normals 0.1": {"hand_over": False, "normal_weight": 0.1},
    "trained, weight of normals 10": {"hand_over": False, "normal_weight": 10.0},
    "trained, length of the value 1/4": {"hand_over": False, "value_length": 0.001},
    "trained, length of the value x 4": {"hand_over": False, "value_length": 0.016},
}
"""Settings of fine-tuning."""
COSTS = {"hash-grid": 2.0, "dense-grid": 1.5, "tri-plane": 4.0, "siren": 6.0}
"""Roughly, for the progress."""

Results = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """A kind of field on a shape, and the parts of the evaluation that want it."""

    kind: str
    shape: KnownShape
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the unit in the results."""
        return f"{self.kind} {self.shape.name}"

    @property
    def cost(self) -> float:
        """In no unit."""
        return COSTS.get(self.kind, 2.0) * (2 if "weights" in self.parts else 1)


def plan(
    shapes: Sequence[KnownShape], kinds: Sequence[str], parts: Sequence[str], quick: bool
) -> list[Unit]:
    """Return the units that some parts need, kind after kind; where quick, weights on one shape."""
    clean = [shape.name for shape in shapes if shape.case == "clean"]
    weighed = clean[:1] if quick else clean
    units = []
    for kind in kinds:
        for shape in shapes:
            wanted = tuple(name for name in parts if _wants(name, kind, shape.name, weighed))
            if wanted:
                units.append(Unit(kind, shape, wanted))
    return units


def _wants(name: str, kind: str, shape: str, weighed: Sequence[str]) -> bool:
    if name == "operators":
        return True
    if name == "scales":
        return kind == SWEPT_KIND
    if name == "weights":
        return kind == SWEPT_KIND and shape in weighed
    return name == "spectrum" and shape == SPECTRUM_SHAPE


def measure_unit(
    unit: Unit, preset: str, progress: ProgressCallback
) -> tuple[Results, dict[str, float]]:
    """Return what was found, and the seconds apart from it, since they never come out the same."""
    fitted = fit(unit.shape.mesh, preset, kind=unit.kind, progress=part(progress, 0, 0.3))
    found: Results = {
        "steps": fitted.report.steps,
        "near_surface_error": fitted.report.near_surface_error,
        "noise": fitted.report.noise,
    }
    seconds = {"fit": sum(fitted.report.seconds.values())}
    if set(unit.parts) != {"scales"}:
        tuned = finetune(fitted, unit.shape.mesh, progress=part(progress, 0.3, 0.6))
        tuning = tuned.report.finetuning
        assert tuning is not None
        seconds["finetune"] = sum(tuning["seconds"].values())
        found["finetuning"] = {name: tuning[name] for name in tuning if name != "seconds"}
        if unit.shape.case == "clean":
            found["exact_distance"] = unit.shape.facet_distance
    if "operators" in unit.parts:
        found["operators"] = {
            state: dict(_operators(field, unit.shape, state, seconds))
            for state, field in (("fitted", fitted), ("fine-tuned", tuned))
        }
    if "scales" in unit.parts:
        found["scales"] = _scales(fitted, unit.shape)
    if "weights" in unit.parts:
        found["weights"] = _weights(fitted, tuned, unit.shape, part(progress, 0.7, 1))
    if "spectrum" in unit.parts:
        found["spectrum"] = {
            state: _spectrum(field) for state, field in (("fitted", fitted), ("fine-tuned", tuned))
        }
    return found, seconds


def _operators(
    field: Field, shape: KnownShape, state: str, seconds: dict[str, float]
) -> Iterator[tuple[str, Results]]:
    for operator in OPERATORS:
        accuracy, per_query = measure(field, shape, operator)
        seconds[f"{state} {operator}"] = per_query
        yield operator, asdict(accuracy)


def _scales(field: Field, shape: KnownShape) -> Results:
    """Errors of normals and curvature at fixed scales, and at multiples of the automatic scale."""
    half_extent = field.normalization.half_extent
    fixed = {
        operator: [
            [scale, *_pair(measure(field, shape, operator, scale * half_extent, 1, SWEPT_QUERIES))]
            for scale in SCALES
        ]
        for operator in SWEPT_OPERATORS
    }
    factors = [
        [factor, *_pair(measure(field, shape, "polynomial", "auto", factor, SWEPT_QUERIES))]
        for factor in FACTORS
    ]
    return {"fixed": fixed, "factors": factors}


def _pair(measured: tuple[Accuracy, float]) -> tuple[float, float]:
    accuracy, _ = measured
    return accuracy.normal_mean, accuracy.curvature_rms


def _weights(
    fitted: Field, tuned: Field, shape: KnownShape, progress: ProgressCallback
) -> list[list[object]]:
    """Rows: what was done, normals, curvature, distance to the mesh over that before."""
    rows: list[list[object]] = []
    for name, operator in (
        ("fitted, by autodiff", "autodiff"),
        ("fitted, by the operator that teaches", "polynomial"),
    ):
        accuracy, _ = measure(fitted, shape, operator)
        rows.append([name, accuracy.normal_mean, accuracy.curvature_median, 1.0])
    for index, (name, settings) in enumerate(WEIGHTS.items()):
        share = part(progress, index / len(WEIGHTS), (index + 1) / len(WEIGHTS))
        other = finetune(fitted, shape.mesh, progress=share, **settings) if settings else tuned
        accuracy, _ = measure(other, shape, "autodiff")
        rows.append(
            [name, accuracy.normal_mean, accuracy.curvature_median, kept(other.report.finetuning)]
        )
    return rows


def kept(tuning: dict[str, Any] | None) -> float:
    """Mean distance to the mesh after fine-tuning over that before."""
    assert tuning is not None
    return float(np.divide(tuning["after"]["distance_mean"], tuning["before"]["distance_mean"]))


def _spectrum(field: Field) -> Results:
    spectrum = error_spectrum(field)
    return {**asdict(spectrum), "slope_left": slopes_left(field, spectrum)}
