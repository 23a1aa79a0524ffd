"""Runs the parts of the evaluation, prints their tables and keeps everything as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FairfieldError
from ..field import Field
from ..fields import KINDS, check_kind
from ..finetuning import finetune
from ..fitting import fit
from ..operators import OPERATORS
from ..progress import ProgressCallback, part, silent
from . import plots
from .accuracy import Accuracy, measure
from .circle import circle_experiment
from .shapes import KnownShape, load_shapes
from .spectrum import BANDS, Spectrum, error_spectrum
from .tables import table

PARTS = ("operators", "scales", "weights", "spectrum", "circle")
SCALES = tuple(float(f"{0.004 * 2 ** (i / 2):.3g}") for i in range(9))
"""Of the sweep, in half-extents."""
WITHOUT_SCALE = ("autodiff", "finite-difference", "mesh")
WEIGHTS: dict[str, dict[str, Any]] = {
    "as by default": {},
    "trained, not handed over": {"hand_over": False},
    "trained, weight of normals 0": {"hand_over": False, "normal_weight": 0.0},
    "trained, weight of normals 0.1": {"hand_over": False, "normal_weight": 0.1},
    "trained, weight of normals 10": {"hand_over": False, "normal_weight": 10.0},
    "trained, value length 1/4": {"hand_over": False, "value_length": 0.001},
    "trained, value length x 4": {"hand_over": False, "value_length": 0.016},
}

Show = Callable[[str], None]


@dataclass
class Study:
    """What the parts share: the shapes, the fields that were fitted, where things go."""

    shapes: list[KnownShape]
    kinds: Sequence[str]
    preset: str
    quick: bool
    show: Show
    progress: ProgressCallback
    results: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _fields: dict[tuple[str, str], Field] = field(default_factory=dict)
    _tuned: dict[tuple[str, str], Field] = field(default_factory=dict)

    def field(self, shape: KnownShape, kind: str) -> Field:
        """The fit of a shape; fitted once."""
        key = shape.name, kind
        if key not in self._fields:
            self._fields[key] = fit(shape.mesh, self.preset, kind=kind, progress=self.progress)
            self.seconds[f"fit {kind} {shape.name}"] = sum(
                self._fields[key].report.seconds.values()
            )
        return self._fields[key]

    def tuned(self, shape: KnownShape, kind: str) -> Field:
        """The same, fine-tuned."""
        key = shape.name, kind
        if key not in self._tuned:
            tuned = finetune(self.field(shape, kind), shape.mesh, progress=self.progress)
            self._tuned[key] = tuned
            assert tuned.report.finetuning is not None
            self.seconds[f"finetune {kind} {shape.name}"] = sum(
                tuned.report.finetuning["seconds"].values()
            )
        return self._tuned[key]

    @property
    def clean(self) -> Iterator[KnownShape]:
        """The shapes without noise, of a fine mesh."""
        return (shape for shape in self.shapes if shape.name.endswith("clean"))


def run(
    data: Path,
    output: Path,
    *,
    quick: bool = False,
    parts: Sequence[str] = PARTS,
    kinds: Sequence[str] = KINDS,
    pattern: str | None = None,
    show: Show = print,
    progress: ProgressCallback = silent,
) -> dict[str, Any]:
    """Run parts of the evaluation; write `evaluation.json` and the figures to a folder.

    Parameters
    ----------
    data, pattern
        Folder of the shapes, and which of its files: by default all, or `*_clean` where it is to
        be quick.
    quick
        Use the preset `draft`, and fit the circle for a shorter time.
    parts, kinds
        Some of `PARTS`, and some kinds of field.

    Raises
    ------
    FairfieldError
        For an unknown part, or a folder without shapes.
    """
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise FairfieldError(
            f"There is no part {unknown[0]!r} of the evaluation; choose from {', '.join(PARTS)}."
        )
    for kind in kinds:
        check_kind(kind)
    shapes = load_shapes(data, pattern or ("*_clean" if quick else "*"))
    plt = plots.pyplot()
    if plt is None:
        show("Without matplotlib there are no figures: pip install 'fairfield[evaluate]'.")
    work = {
        "operators": _operators,
        "scales": _scales,
        "weights": _weights,
        "spectrum": _spectrum,
        "circle": _circle,
    }
    results: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    chosen = [name for name in PARTS if name in parts]
    study = Study(
        shapes, kinds, "draft" if quick else "standard", quick, show, silent, results, seconds
    )
    for index, name in enumerate(chosen):
        study.progress = part(progress, index / len(chosen), (index + 1) / len(chosen))
        work[name](study, output, plt)
        whole = {"preset": study.preset, "results": results, "seconds": seconds}
        (output / "evaluation.json").write_text(json.dumps(whole, indent=1) + "\n")
    return whole


def _operators(study: Study, output: Path, plt: Any) -> None:
    """Every kind of field and operator on every shape, before and after fine-tuning."""
    found: dict[str, Any] = {}
    for kind in study.kinds:
        for shape in study.shapes:
            for state, fitted in (
                ("fitted", study.field(shape, kind)),
                ("fine-tuned", study.tuned(shape, kind)),
            ):
                for operator in OPERATORS:
                    accuracy, seconds = measure(fitted, shape, operator)
                    found.setdefault(kind, {}).setdefault(shape.name, {}).setdefault(state, {})[
                        operator
                    ] = asdict(accuracy)
                    study.seconds[f"query {kind} {shape.name} {state} {operator}"] = seconds
            tuning = study.tuned(shape, kind).report.finetuning
            assert tuning is not None
            found[kind][shape.name]["kept"] = {
                name: tuning[name]
                for name in ("handed_over", "steps", "kept_share", "before", "after")
            }
        study.show(f"\n{kind}, mean over {len(study.shapes)} shapes")
        study.show(_operator_table(study, kind, found[kind]))
    study.results["operators"] = found


def _operator_table(study: Study, kind: str, of_kind: dict[str, Any]) -> str:
    rows = []
    for state in ("fitted", "fine-tuned"):
        for operator in OPERATORS:
            each = [of_kind[shape.name][state][operator] for shape in study.shapes]
            mean = {name: float(np.nanmean([one[name] for one in each])) for name in each[0]}
            micro = np.median(
                [
                    study.seconds[f"query {kind} {shape.name} {state} {operator}"] * 1e6
                    for shape in study.shapes
                ]
            )
            rows.append([state, operator, *_accuracy_cells(mean), float(micro)])
    head = ["field", "operator", *ACCURACY_HEAD, "us / query"]
    kept = [of_kind[shape.name]["kept"] for shape in study.shapes]
    ratios = [one["after"]["distance_mean"] / one["before"]["distance_mean"] for one in kept]
    seconds = [
        sum(study.seconds[f"{what} {kind} {shape.name}"] for shape in study.shapes)
        for what in ("fit", "finetune")
    ]
    return (
        table(head, rows)
        + f"\ndistance to the mesh, fine-tuned over fitted: mean {np.mean(ratios):.3f}, at most "
        f"{max(ratios):.3f}; fine-tuning took {seconds[1] / seconds[0]:.0%} of the fits' time"
    )


ACCURACY_HEAD = [
    "L2",
    "mean deg",
    "median deg",
    "<= 1 deg",
    "<= 2 deg",
    "H RMS",
    "H median",
    "evaluations",
]


def _accuracy_cells(values: dict[str, float]) -> list[float]:
    return [
        values[name]
        for name in (
            "normal_l2",
            "normal_mean",
            "normal_median",
            "within_1",
            "within_2",
            "curvature_rms",
            "curvature_median",
            "evaluations",
        )
    ]


def _scales(study: Study, output: Path, plt: Any) -> None:
    """Every operator that has a scale, over the scale, on the hash grid."""
    operators = [name for name in OPERATORS if name not in WITHOUT_SCALE]
    sweep: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for shape in study.shapes:
        fitted = study.field(shape, "hash-grid")
        half_extent = fitted.normalization.half_extent
        of_shape = sweep[shape.name] = {}
        for operator in operators:
            measured = [
                (scale, measure(fitted, shape, operator, scale * half_extent)[0])
                for scale in SCALES
            ]
            of_shape[operator] = [
                (scale, one.normal_mean, one.curvature_rms) for scale, one in measured
            ]
        rows = [
            [scale, *(of_shape[name][index][i] for name in operators for i in (1, 2))]
            for index, scale in enumerate(SCALES)
        ]
        head = ["scale", *(f"{name} {what}" for name in operators for what in ("deg", "H RMS"))]
        study.show(f"\n{shape.name}, hash grid: error by scale (half-extents)")
        study.show(table(head, rows))
    study.results["scales"] = sweep
    if plt is not None:
        plots.draw_scales(plt, sweep, output / "scales.png")


def _weights(study: Study, output: Path, plt: Any) -> None:
    """Fine-tuning with other weights, on the hash grid."""
    found: dict[str, Any] = {}
    for shape in study.clean:
        fitted = study.field(shape, "hash-grid")
        rows: list[list[object]] = []
        before, _ = measure(fitted, shape, "autodiff")
        teacher, _ = measure(fitted, shape, "polynomial")
        rows.append(["fitted, by autodiff", before.normal_mean, before.curvature_median, 1.0])
        rows.append(["fitted, by the teacher", teacher.normal_mean, teacher.curvature_median, 1.0])
        for name, settings in WEIGHTS.items():
            tuned = finetune(fitted, shape.mesh, progress=study.progress, **settings)
            report = tuned.report.finetuning
            assert report is not None
            after, _ = measure(tuned, shape, "autodiff")
            kept = report["after"]["distance_mean"] / report["before"]["distance_mean"]
            rows.append([name, after.normal_mean, after.curvature_median, kept])
        study.show(f"\n{shape.name}, hash grid: fine-tuning with other weights")
        study.show(table(["fine-tuning", "mean deg", "H median", "distance ratio"], rows))
        found[shape.name] = {str(name): values for name, *values in rows}
    study.results["weights"] = found


def _spectrum(study: Study, output: Path, plt: Any) -> None:
    """Where the error of each kind of field sits, before and after fine-tuning."""
    sphere = next((shape for shape in study.shapes if shape.name == "sphere_clean"), None)
    if sphere is None:
        study.show("\nNo spectrum: the folder has no sphere_clean.npz.")
        return
    spectra: dict[str, Spectrum] = {}
    for kind in study.kinds:
        spectra[kind] = error_spectrum(study.field(sphere, kind))
        spectra[f"{kind} fine-tuned"] = error_spectrum(study.tuned(sphere, kind))
    bands = [
        f"{low:g}-{high:g}" if np.isfinite(high) else f"> {low:g}" for high, low in pairwise(BANDS)
    ]
    for title, rms, share in (
        ("value", "value_rms", "value_share"),
        ("slope along the surface", "slope_rms", "slope_share"),
    ):
        rows = [
            [name, getattr(spectrum, rms), *getattr(spectrum, share)]
            for name, spectrum in spectra.items()
        ]
        study.show(f"\nsphere: error of the {title}, RMS and share of its power by wavelength")
        study.show(table(["field", "RMS", *bands], rows))
    study.results["spectrum"] = {
        name: {
            key: value
            for key, value in asdict(spectrum).items()
            if key not in ("wavelength", "power")
        }
        for name, spectrum in spectra.items()
    }
    if plt is not None:
        plots.draw_spectra(plt, spectra, output / "spectrum.png")


def _circle(study: Study, output: Path, plt: Any) -> None:
    """The circle in the plane."""
    found: dict[str, Accuracy] = circle_experiment(study.quick, study.progress)
    rows = [[name, *_accuracy_cells(asdict(accuracy))] for name, accuracy in found.items()]
    study.show("\ncircle in the plane, hash grid without a base; scales in cube units")
    study.show(table(["operator", *ACCURACY_HEAD], rows))
    study.results["circle"] = {name: asdict(accuracy) for name, accuracy in found.items()}
