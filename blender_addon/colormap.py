"""Curvature to colour. Only numpy, so that pictures outside Blender can use the same colours."""

from __future__ import annotations

import numpy as np

from .quantities import Quantity

# Control points in sRGB, evenly spaced over 0..1. Diverging: hollows are blue, ridges are
# red-brown, and zero is a light grey, so that shape stays readable under the viewport's light.
_DIVERGING = np.array(
    [
        (0.06, 0.17, 0.42),
        (0.13, 0.40, 0.71),
        (0.45, 0.69, 0.87),
        (0.92, 0.92, 0.90),
        (0.95, 0.67, 0.45),
        (0.82, 0.31, 0.20),
        (0.45, 0.06, 0.10),
    ]
)
# Sequential: lightness rises steadily from dark violet over teal to pale yellow.
_SEQUENTIAL = np.array(
    [
        (0.20, 0.09, 0.36),
        (0.20, 0.29, 0.53),
        (0.14, 0.48, 0.56),
        (0.18, 0.65, 0.50),
        (0.55, 0.80, 0.34),
        (0.97, 0.92, 0.45),
    ]
)
UNANSWERED_COLOR = (0.35, 0.35, 0.35)
# Curvature has long tails at creases; the colours span what most of the surface has.
TAIL_PERCENT = 5.0
# The least curvature that gets full colours: that of a sphere four times as large as the mesh. What
# is measured on exact flats is up to a sixth of it, by rounding, and must look flat.
FLATTEST = 0.25


def automatic_range(
    values: np.ndarray, quantity: Quantity, half_size: float = 0.0
) -> tuple[float, float]:
    """Return the range (low, high) whose ends get the extreme colours.

    Parameters
    ----------
    values
        (N,), NaN where there is no answer.
    quantity
        What the values are; a signed one gets a range symmetric about zero.
    half_size
        Half the largest side of the mesh, for which a curvature's range is not too narrow; 0 if it
        is not known.
    """
    if quantity.fixed_range is not None:
        return quantity.fixed_range
    finite = values[np.isfinite(values)]
    if not finite.size:
        return (-1.0, 1.0) if quantity.signed else (0.0, 1.0)
    # A flat surface has rounding noise only; a range as narrow as that would colour it wildly.
    narrowest = 0.0
    if quantity.length_power < 0 and half_size > 0:
        narrowest = (FLATTEST / half_size) ** -quantity.length_power
    low, high = np.percentile(finite, (TAIL_PERCENT, 100 - TAIL_PERCENT))
    if quantity.signed:
        reach = float(max(abs(low), abs(high), narrowest)) or 1.0
        return -reach, reach
    high = max(high, low + narrowest)
    return float(low), float(high) if high > low else float(low) + (abs(float(low)) or 1.0)


def colors(values: np.ndarray, low: float, high: float, *, signed: bool) -> np.ndarray:
    """Return (N, 4) float32 sRGB colours with alpha 1 for (N,) values; NaN is grey.

    Parameters
    ----------
    low, high
        The values that get the first and the last colour; beyond them the colour stays.
    signed
        Take the diverging colours instead of the sequential ones.
    """
    control = _DIVERGING if signed else _SEQUENTIAL
    width = high - low
    position = (values.astype(np.float64) - low) / (width if width else 1.0)
    unanswered = ~np.isfinite(position)
    position = np.clip(np.where(unanswered, 0.0, position), 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, len(control))
    result = np.ones((len(values), 4), np.float32)
    for channel in range(3):
        result[:, channel] = np.interp(position, stops, control[:, channel])
    result[unanswered, :3] = UNANSWERED_COLOR
    return result
