"""Where in the spectrum a field's error sits: its power by wavelength, along circles.

Differentiation multiplies a wave of length w by 2 pi / w. So an error that is small but short
spoils the gradient, and an operator that averages over a scale can take out only what is shorter.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..field import Field
from ..operators import differentiate

Array = NDArray[np.float64]

CIRCLES = 24
SAMPLES = 1 << 13
SPHERE_RADIUS = 0.8
"""Of the public sphere, whose field's values on the sphere are its error."""
BANDS = (np.inf, 0.2, 0.05, 0.0125, 0.0)
"""Limits of the bands of wavelengths, in units of the sphere's mesh."""
OPERATOR_CIRCLES = 3
OPERATOR_SAMPLES = 1 << 12
"""For what the operator leaves, which costs many evaluations a sample."""


@dataclass(frozen=True)
class Spectrum:
    """Mean over great circles of the sphere.

    Attributes
    ----------
    wavelength, power
        Middle of each half octave, in the mesh's units, and the mean square of the error in it, per
        octave.
    value_share, slope_share
        Share of each band of `BANDS` in the power of the error, and in that of its derivative.
    value_rms, slope_rms
        Root of the mean square of the error (mesh units) and of its derivative along the circle.
    """

    wavelength: list[float]
    power: list[float]
    value_share: list[float]
    slope_share: list[float]
    value_rms: float
    slope_rms: float


def error_spectrum(field: Field) -> Spectrum:
    """Of a field that was fitted to the public sphere."""
    random = np.random.default_rng(0)
    angle = np.arange(SAMPLES) * (2 * np.pi / SAMPLES)
    power = np.zeros(SAMPLES // 2)
    for _ in range(CIRCLES):
        frame, _ = np.linalg.qr(random.normal(size=(3, 3)))
        circle = np.cos(angle)[:, None] * frame[0] + np.sin(angle)[:, None] * frame[1]
        waves = np.fft.rfft(field(SPHERE_RADIUS * circle)) / SAMPLES
        # Twice: the negative frequencies. The mean is no wave.
        power += 2 * np.abs(waves[1 : SAMPLES // 2 + 1]) ** 2 / CIRCLES
    number = np.arange(1, SAMPLES // 2 + 1)
    wavelength = 2 * np.pi * SPHERE_RADIUS / number
    slope = power * (2 * np.pi / wavelength) ** 2
    inside = [(wavelength <= high) & (wavelength > low) for high, low in pairwise(BANDS)]
    return Spectrum(
        *_half_octaves(wavelength, power),
        [float(power[band].sum() / power.sum()) for band in inside],
        [float(slope[band].sum() / slope.sum()) for band in inside],
        float(np.sqrt(power.sum())),
        float(np.sqrt(slope.sum())),
    )


def slopes_left(field: Field, own: Spectrum) -> list[float]:
    """What the operator at automatic scale leaves of each band's slope: its RMS over the field's.

    On the sphere the slope along a great circle should be zero, so all of it is error.
    """
    random = np.random.default_rng(0)
    angle = np.arange(OPERATOR_SAMPLES) * (2 * np.pi / OPERATOR_SAMPLES)
    power = np.zeros(OPERATOR_SAMPLES // 2)
    for _ in range(OPERATOR_CIRCLES):
        frame, _ = np.linalg.qr(random.normal(size=(3, 3)))
        outward = np.cos(angle)[:, None] * frame[0] + np.sin(angle)[:, None] * frame[1]
        along = np.cos(angle)[:, None] * frame[1] - np.sin(angle)[:, None] * frame[0]
        jets = differentiate(field, SPHERE_RADIUS * outward)
        slope = np.nan_to_num((jets.normals * along).sum(axis=1))
        waves = np.fft.rfft(slope) / OPERATOR_SAMPLES
        power += 2 * np.abs(waves[1 : OPERATOR_SAMPLES // 2 + 1]) ** 2 / OPERATOR_CIRCLES
    wavelength = 2 * np.pi * SPHERE_RADIUS / np.arange(1, OPERATOR_SAMPLES // 2 + 1)
    left = []
    for (high, low), share in zip(pairwise(BANDS), own.slope_share, strict=True):
        inside = (wavelength <= high) & (wavelength > low)
        left.append(float(np.sqrt(power[inside].sum() / share) / own.slope_rms))
    return left


def _half_octaves(wavelength: Array, power: Array) -> tuple[list[float], list[float]]:
    middles, sums = [], []
    edge = float(wavelength[0])
    while edge > wavelength[-1]:
        inside = (wavelength <= edge) & (wavelength > edge / 2**0.5)
        if inside.any():
            middles.append(edge / 2**0.25)
            sums.append(2 * float(power[inside].sum()))
        edge /= 2**0.5
    return middles, sums
