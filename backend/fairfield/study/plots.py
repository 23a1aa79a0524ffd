"""The figures, as PNG. Needs matplotlib, which nothing else does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .spectrum import Spectrum


def pyplot() -> Any | None:
    """Return matplotlib's pyplot, drawing into files, or None where it is not installed."""
    try:
        import_module("matplotlib").use("Agg")
        return import_module("matplotlib.pyplot")
    except ImportError:
        return None


def draw_scales(
    plt: Any, sweep: dict[str, dict[str, list[tuple[float, float, float]]]], path: Path
) -> None:
    """Normals and curvature over the scale: by shape, by operator, (scale, normal, curvature)."""
    figure, axes = plt.subplots(2, len(sweep), figsize=(4 * len(sweep), 7), squeeze=False)
    for column, (shape, operators) in enumerate(sweep.items()):
        for operator, points in operators.items():
            scales, normals, curvatures = zip(*points, strict=True)
            for row, values in enumerate((normals, curvatures)):
                axes[row, column].loglog(scales, values, marker="o", markersize=3, label=operator)
        axes[0, column].set_title(shape)
        for axis in axes[:, column]:
            axis.set_xticks(scales[::2], [f"{scale:g}" for scale in scales[::2]])
            axis.minorticks_off()
        axes[1, column].set_xlabel("scale / half-extent")
        axes[0, column].legend(fontsize=8)
    axes[0, 0].set_ylabel("mean normal error, degrees")
    axes[1, 0].set_ylabel("rectified RMS of curvature")
    _save(plt, figure, path)


def draw_spectra(plt: Any, spectra: dict[str, Spectrum], path: Path) -> None:
    """Power of the error by wavelength; by name of the field, dashed for those fine-tuned."""
    figure, axis = plt.subplots(figsize=(8, 5.5))
    colors: dict[str, str] = {}
    for name, spectrum in spectra.items():
        kind, _, state = name.partition(" ")
        color = colors.setdefault(kind, f"C{len(colors)}")
        wavelength, power = _binned(spectrum)
        style = "--" if state else "-"
        axis.loglog(wavelength, power, style, color=color, label=name)
    axis.invert_xaxis()
    axis.set_xlabel("wavelength, mesh units (sphere of radius 0.8)")
    axis.set_ylabel("power of the error per octave")
    axis.legend(fontsize=8)
    _save(plt, figure, path)


def _binned(spectrum: Spectrum) -> tuple[list[float], list[float]]:
    """Sums over half octaves."""
    wavelengths, powers = [], []
    edge = float(spectrum.wavelength[0])
    while edge > spectrum.wavelength[-1]:
        inside = (spectrum.wavelength <= edge) & (spectrum.wavelength > edge / 2**0.5)
        if inside.any():
            wavelengths.append(edge / 2**0.25)
            powers.append(2 * float(spectrum.power[inside].sum()))
        edge /= 2**0.5
    return wavelengths, powers


def _save(plt: Any, figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
