"""The figures, as PNG. Needs matplotlib, which nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FairfieldError
from .tables import CASES

DOTS_PER_INCH = 110
SHOWN = ("polynomial", "polynomial-random", "finite-difference", "autodiff", "mesh")
"""Operators in the figure of the noise."""


def pyplot() -> Any:
    """Return matplotlib's pyplot, drawing into files.

    Raises
    ------
    FairfieldError
        Where it is not installed.
    """
    try:
        import_module("matplotlib").use("Agg")
        return import_module("matplotlib.pyplot")
    except ImportError as problem:
        raise FairfieldError(
            f"The figures need matplotlib ({problem}). In Fairfield's folder, pip install "
            "'.[evaluate]' or make .venv/benchmarks-installed brings it; --no-figures does without."
        ) from None


def draw(plt: Any, results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what has been measured; return the files."""
    made = []

    def save(name: str, figure: Any) -> None:
        made.append(folder / name)
        figure.tight_layout()
        figure.savefig(made[-1], dpi=DOTS_PER_INCH)
        plt.close(figure)

    swept = {name.split()[1]: found for name, found in results.items() if "scales" in found}
    for case in dict.fromkeys(shape.rpartition("_")[2] for shape in swept):
        some = {shape: one for shape, one in swept.items() if shape.rpartition("_")[2] == case}
        save(f"scales-{case}.png", _scales(plt, some))
    if swept:
        save("factors.png", _factors(plt, swept))
    measured = {name: found for name, found in results.items() if "operators" in found}
    cases = [case for case in CASES if any(name.endswith(f"_{case}") for name in measured)]
    if len(cases) > 1:
        save("noise.png", _noise(plt, measured, cases))
    clean = {name: found for name, found in measured.items() if name.endswith("_clean")}
    if clean:
        save("finetuning.png", _finetuning(plt, clean))
    spectra = {name.split()[0]: found for name, found in results.items() if "spectrum" in found}
    if spectra:
        save("spectrum.png", _spectra(plt, spectra))
    if "circle" in results:
        save("circle.png", _circle(plt, results["circle"]))
    return made


def _scales(plt: Any, swept: dict[str, Any]) -> Any:
    """Normals and curvature over the scale, and where the automatic scale arrives."""
    figure, axes = plt.subplots(2, len(swept), figsize=(4.3 * len(swept), 7), squeeze=False)
    for column, (shape, found) in enumerate(swept.items()):
        for operator, rows in found["scales"]["fixed"].items():
            scales, *both = zip(*rows, strict=True)
            for axis, values in zip(axes[:, column], both, strict=True):
                axis.loglog(scales, values, marker="o", markersize=3, label=operator)
        automatic = next(row[1:] for row in found["scales"]["factors"] if row[0] == 1)
        for axis, value in zip(axes[:, column], automatic, strict=True):
            axis.axhline(value, color="C0", linestyle="--", label="polynomial, automatic scale")
            _plain_ticks(axis, scales[::3])
        axes[0, column].set_title(shape)
        axes[1, column].set_xlabel("scale / half-extent")
    axes[0, 0].legend(fontsize=8)
    axes[0, 0].set_ylabel("mean normal error, degrees")
    axes[1, 0].set_ylabel("rectified RMS of curvature")
    return figure


def _factors(plt: Any, swept: dict[str, Any]) -> Any:
    """Errors over those at the automatic scale, by multiples of it."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), sharey=True)
    for number, (shape, found) in enumerate(swept.items()):
        rows = np.array(found["scales"]["factors"])
        own = rows[np.argmin(np.abs(rows[:, 0] - 1)), 1:]
        for axis, values in zip(axes, (rows[:, 1:] / own).T, strict=True):
            style = ("-", "--", ":")[number // 10 % 3]
            axis.loglog(rows[:, 0], values, style, color=f"C{number % 10}", label=shape)
    for axis, title in zip(axes, ("normals", "curvature"), strict=True):
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set_title(title)
        axis.set_xlabel("scale / automatic scale")
        _plain_ticks(axis, rows[::2, 0])
    axes[0].set_ylabel("error / error at automatic scale")
    axes[1].legend(fontsize=7, ncols=2)
    return figure


def _noise(plt: Any, measured: dict[str, Any], cases: list[str]) -> Any:
    """Errors of the operators on the first kind of field, by case."""
    kind = next(iter(measured)).split()[0]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.8))
    for axis, key in zip(axes, ("normal_mean", "curvature_rms"), strict=True):
        for operator in SHOWN:
            means = [
                np.mean(
                    [
                        found["operators"]["fitted"][operator][key]
                        for name, found in measured.items()
                        if name.startswith(f"{kind} ") and name.endswith(f"_{case}")
                    ]
                )
                for case in cases
            ]
            axis.semilogy(range(len(cases)), means, marker="o", label=operator)
        axis.set_xticks(range(len(cases)), [CASES[case] for case in cases])
    axes[0].set_ylabel("mean normal error, degrees")
    axes[1].set_ylabel("rectified RMS of curvature")
    axes[0].legend(fontsize=8)
    figure.suptitle(f"{kind}, automatic scale, mean over the shapes")
    return figure


def _finetuning(plt: Any, clean: dict[str, Any]) -> Any:
    """Normals by autodiff before and after, and of the operator that teaches."""
    figure, axis = plt.subplots(figsize=(4 + 0.6 * len(clean), 4.8))
    lines: tuple[tuple[str, str, str, str], ...] = (
        ("fitted", "autodiff", "autodiff, fitted", "o"),
        ("fine-tuned", "autodiff", "autodiff, fine-tuned", "s"),
        ("fitted", "polynomial", "the operator, fitted", "D"),
    )
    for state, operator, label, marker in lines:
        values = [found["operators"][state][operator]["normal_mean"] for found in clean.values()]
        axis.semilogy(range(len(clean)), values, marker, label=label, markersize=8)
    axis.set_xticks(range(len(clean)), [name.replace(" ", "\n") for name in clean], fontsize=7)
    axis.tick_params(axis="x", rotation=60)
    axis.set_ylabel("mean normal error, degrees")
    axis.legend(fontsize=8)
    return figure


def _spectra(plt: Any, spectra: dict[str, Any]) -> Any:
    """Power of the error by wavelength, of the value and of the slope; dashed when fine-tuned."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 5))
    as_value: Callable[[np.ndarray], np.ndarray] = np.ones_like
    for axis, title, factor in (
        (axes[0], "value", as_value),
        (axes[1], "slope", lambda wavelength: (2 * np.pi / wavelength) ** 2),
    ):
        for number, (kind, found) in enumerate(spectra.items()):
            for state, style in (("fitted", "-"), ("fine-tuned", "--")):
                one = found["spectrum"][state]
                wavelength = np.array(one["wavelength"])
                power = np.array(one["power"]) * factor(wavelength)
                label = f"{kind}, {state}"
                axis.loglog(wavelength, power, style, color=f"C{number}", label=label)
        axis.invert_xaxis()
        axis.set_title(f"error of the {title}")
        axis.set_xlabel("wavelength, mesh units (sphere of radius 0.8)")
    axes[0].set_ylabel("power per octave")
    axes[0].legend(fontsize=8)
    return figure


def _circle(plt: Any, found: dict[str, Any]) -> Any:
    """The polynomial over the scale, between autodiff and finite differences."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.5))
    swept = {float(name.split()[1]): one for name, one in found.items() if "poly" in name}
    for axis, key, title in (
        (axes[0], "normal_mean", "mean normal error, degrees"),
        (axes[1], "curvature_median", "median rectified error of curvature"),
    ):
        axis.loglog(list(swept), [one[key] for one in swept.values()], "o-", label="polynomial")
        others = [name for name in found if "poly" not in name]
        for number, name in enumerate(others, 1):
            axis.axhline(found[name][key], color=f"C{number}", linestyle="--", label=name)
        axis.set_xlabel("scale")
        axis.set_ylabel(title)
        _plain_ticks(axis, list(swept))
    axes[0].legend(fontsize=8)
    return figure


def _plain_ticks(axis: Any, places: Any) -> None:
    axis.set_xticks(list(places), [f"{place:g}" for place in places])
    axis.minorticks_off()
