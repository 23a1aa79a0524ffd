"""Jets from the samples of tangent disks in space, in double precision.

The arithmetic is that of `fairfield.operators.tangent`, one disk after the other, so that nothing
in between is written to memory.
"""

from __future__ import annotations

import math

import numpy as np

from ..layout import DiskArrays
from .options import ZERO, Doubles, called, entry_point

_RISE = 3
_BEND = 4
_ROWS = 8
"""What weights tell: the value, the slope along the plane, that along the normal, the bend."""


@entry_point
def jets_of_disks(
    first: int,
    last: int,
    values: Doubles,
    frames: Doubles,
    scales: Doubles,
    shares: Doubles,
    stencil: DiskArrays,
    value: Doubles,
    gradient: Doubles,
    hessian: Doubles,
) -> None:
    """Write value (N,), gradient (N, 3) and Hessian (N, 3, 3) for a range of disks.

    Parameters
    ----------
    values, frames
        (N, k) and (N, 3, 3), as `fairfield.operators.tangent` takes them.
    scales, shares
        (N,) of the disks, and how much of the quartic is taken.
    """
    padded = stencil.weights.shape[1]
    samples, straight = np.zeros(padded), np.zeros(padded)
    fit, curvature, own = np.empty(_ROWS), np.empty((2, 2)), np.empty((2, 3))
    for disk in range(first, last):
        for j in range(values.shape[1]):
            samples[j] = values[disk, j]
        scale, share = scales[disk], shares[disk]
        mix(samples, stencil, share, fit)
        middle, rise = fit[0], fit[_RISE]
        bend_over_rise(fit, rise, scale, stencil.least_rise, curvature)
        rise = stretch_beside(samples, scale, share, stencil, curvature, straight)
        bend_over_rise(fit, rise, scale, stencil.least_rise, curvature)
        straighten(samples, middle, stencil, curvature, straight)
        mix(straight, stencil, share, fit)

        value[disk] = fit[0]
        frame, slope = frames[disk], gradient[disk]
        for axis in range(3):
            slope[axis] = (
                fit[1] * frame[0, axis] + fit[2] * frame[1, axis] + fit[_RISE] * frame[2, axis]
            ) / scale
        # On a tilted disk the straightening has a second derivative of its own.
        mean = (curvature[0, 0] + curvature[1, 1]) / 2
        square = scale * scale
        complete(
            (fit[_BEND] - mean * fit[1] * fit[1]) / square,
            (fit[_BEND + 1] - mean * fit[1] * fit[2]) / square,
            (fit[_BEND + 3] - mean * fit[2] * fit[2]) / square,
            frame,
            slope,
            stencil.least_rise,
            own,
            hessian[disk],
        )


@called
def mix(samples: Doubles, stencil: DiskArrays, share: float, fit: Doubles) -> None:
    """What the weights of quartic and quadric make of samples (k,), mixed."""
    for row in range(ZERO, np.uint64(_ROWS)):
        upper = lower = 0.0
        for j in range(ZERO, np.uint64(len(samples))):
            upper += stencil.weights[row, j] * samples[j]
            lower += stencil.lower_weights[row, j] * samples[j]
        fit[row] = lower + share * (upper - lower)


@called
def bend_over_rise(
    fit: Doubles, rise: float, scale: float, least_rise: float, curvature: Doubles
) -> None:
    """Normal curvature, a matrix along the plane."""
    rise = max(rise, least_rise * scale)
    for i in range(2):
        for j in range(2):
            curvature[i, j] = fit[_BEND + 2 * i + j] / (scale * rise)


@called
def stretch_beside(
    samples: Doubles,
    scale: float,
    share: float,
    stencil: DiskArrays,
    curvature: Doubles,
    straight: Doubles,
) -> float:
    """Stretch the samples beside the plane, and return the slope along the normal that they tell.

    At the feet of those far aside the normals are turned by the curvature.
    """
    rise = 0.0
    for j in range(stencil.in_plane, len(stencil.far_places)):
        x, y = stencil.far_places[j, 0], stencil.far_places[j, 1]
        turn_x = scale * (x * curvature[0, 0] + y * curvature[1, 0])
        turn_y = scale * (x * curvature[0, 1] + y * curvature[1, 1])
        straight[j] = samples[j] * math.sqrt(1 + turn_x * turn_x + turn_y * turn_y)
        lower = stencil.lower_weights[_RISE, j]
        rise += (lower + share * (stencil.weights[_RISE, j] - lower)) * straight[j]
    return rise


@called
def straighten(
    samples: Doubles, middle: float, stencil: DiskArrays, curvature: Doubles, straight: Doubles
) -> None:
    """Straighten the samples in the plane by the curvature towards each."""
    half00, half11 = curvature[0, 0] / 2, curvature[1, 1] / 2
    both01 = (curvature[0, 1] + curvature[1, 0]) / 2
    for j in range(ZERO, np.uint64(stencil.in_plane)):
        rise = samples[j] - middle
        half = (
            half00 * stencil.directions[0, j]
            + both01 * stencil.directions[1, j]
            + half11 * stencil.directions[3, j]
        )
        straight[j] = samples[j] + half * rise * rise


@called
def complete(
    bend00: float,
    bend01: float,
    bend11: float,
    frame: Doubles,
    slope: Doubles,
    least_rise: float,
    own: Doubles,
    hessian: Doubles,
) -> None:
    """The Hessian that maps the gradient to zero and has such a bend along the frame's plane.

    `own` is scratch memory, (2, 3).
    """
    norm = max(math.sqrt(slope[0] * slope[0] + slope[1] * slope[1] + slope[2] * slope[2]), 1e-12)
    along0 = (frame[0, 0] * slope[0] + frame[0, 1] * slope[1] + frame[0, 2] * slope[2]) / norm
    along1 = (frame[1, 0] * slope[0] + frame[1, 1] * slope[1] + frame[1, 2] * slope[2]) / norm
    # A frame that contains the normal itself tells nothing about one direction.
    upright = max(1 - along0 * along0 - along1 * along1, least_rise * least_rise)
    for axis in range(3):
        normal = slope[axis] / norm
        first = frame[0, axis] - along0 * normal
        second = frame[1, axis] - along1 * normal
        lift = (along0 * first + along1 * second) / upright
        own[0, axis] = first + along0 * lift
        own[1, axis] = second + along1 * lift
    for i in range(3):
        left = own[0, i] * bend00 + own[1, i] * bend01
        right = own[0, i] * bend01 + own[1, i] * bend11
        for j in range(3):
            hessian[i, j] = left * own[0, j] + right * own[1, j]
