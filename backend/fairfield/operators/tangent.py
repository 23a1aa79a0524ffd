"""Derivatives of a distance field from a polynomial over the tangent plane of its level set.

A polynomial over a ball of space spends most of its samples on what is known: along the normal a
distance grows by one per unit, and noise of the surface is the same all along it. Here the samples
lie on a disk in the tangent plane, where a quartic in d - 1 variables is fitted to them by weighted
least squares, as a local jet is fitted to a height function (Cazals & Pouget 2005); but to the
distance, which unlike the height exists however steep the surface gets. Its derivatives give
gradient and Hessian along the plane. A few samples on either side give the slope along the normal,
and the Hessian is completed by the eikonal equation: where |grad f| is constant, the Hessian maps
the normal to zero.

Over a sphere of curvature k the distance d from a tangent plane is no quadric of the place on it,
but d + k d^2 / 2 is. So a first fit tells the normal curvature in the direction of each sample, and
the second is made to samples straightened by it: the same jet, with a fraction of the bias, which
lets the neighbourhood be wider. The slope along the normal falls away from the middle as the level
sets turn, which the same curvature tells.

Where the surface bends so evenly that a quadric would do, a quartic's further terms only take noise
in: on a sphere they double its error. So both are fitted to the same samples, and mixed by a share
that `automatic_scale` chooses.

As in `polynomial`, the design is fixed and point-symmetric, so the solution is one constant matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..threads import thread_count
from .polynomial import Evaluate, in_float64, least_squares, monomial_exponents

if TYPE_CHECKING:
    from ..fused.layout import DiskArrays

DEGREE = 4
REACH = 2.6
"""Radius of the disk; the Gaussian weight is 3 % there."""
LEAST_RISE = 0.3
"""Slope along the normal below which the field is no distance, and curvature not to be trusted."""
LOWER_DEGREE = 2
ABOVE = 0.5
"""Height of the samples beside the plane."""
DENSE = 0.5
"""Spacing below which noise is to be averaged away."""
ASIDE = 0.35, 3
FAR_ASIDE = 1.75, 6
"""Distance from the normal and number of the samples on either side, and of those besides for the
quadric in noise. Noise bends distances near the surface: a slope has to be measured where the
samples lie that tell the bend, which for a quadric weigh most at 1.4 to 2 scales."""


@dataclass(frozen=True, eq=False)
class TangentStencil:
    """A fixed design about a tangent plane, and the weights that turn its samples into derivatives.

    Attributes
    ----------
    samples
        (k, d) positions in units of the scale: d - 1 coordinates in the plane, where the weighted
        standard deviation per axis is 1, and the height above it.
    weights
        (1 + d + (d - 1)^2, k) for a scale of 1: the rows give the value, the gradient along the
        plane and the normal, and the Hessian along the plane.
    polynomial
        (m, k) the rows give all coefficients of the polynomial over the plane, in the order of
        `monomial_exponents`.
    lower_weights, lower_polynomial
        The same for the quadric over the same samples; its further coefficients are 0.
    """

    samples: NDArray[np.float64]
    weights: NDArray[np.float64]
    polynomial: NDArray[np.float64]
    lower_weights: NDArray[np.float64]
    lower_polynomial: NDArray[np.float64]

    @cached_property
    def beside(self) -> NDArray[np.bool_]:
        """(k,) which samples lie beside the plane."""
        return np.abs(self.samples[:, -1]) > 1e-12

    @cached_property
    def is_far(self) -> NDArray[np.bool_]:
        """(k,) which of those are far aside."""
        return self.beside & (np.linalg.norm(self.samples[:, :-1], axis=1) > 2 * ASIDE[0])

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """(k, (d - 1)^2) what the Hessian is contracted with for the bend towards each sample.

        Zero for the samples beside the plane.
        """
        place = self.samples[:, :-1] * ~self.beside[:, None]
        square = np.maximum((place**2).sum(axis=1), 1e-12)
        return (place[:, :, None] * place[:, None, :] / square[:, None, None]).reshape(
            len(place), -1
        )

    @cached_property
    def placing(self) -> NDArray[np.float64]:
        """(d + d^2, k d) what a point, followed by its scaled frame, is multiplied with for all
        the places of its samples: one matrix product for many points."""
        dimension = self.samples.shape[1]
        return np.concatenate(
            [
                np.tile(np.eye(dimension), len(self.samples)),
                np.kron(self.samples.T, np.eye(dimension)),
            ]
        )

    @cached_property
    def arrays(self) -> DiskArrays:
        """What the kernels take, of a design in space."""
        from ..fused.layout import PADDING, DiskArrays

        def padded(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            padding = -rows.shape[1] % PADDING
            return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, padding))))

        return DiskArrays(
            padded(self.weights),
            padded(self.lower_weights),
            padded(self.directions.T),
            self.samples[:, :-1] * self.is_far[:, None],
            int(np.count_nonzero(~self.beside)),
            LEAST_RISE,
        )


@lru_cache
def tangent_stencil(spacing: float, dimension: int = 3) -> TangentStencil:
    """Return the design whose samples are this far apart, in units of the scale.

    In space they lie on a hexagonal lattice, in the plane along the tangent. In space the spacing
    0.72 makes 61 samples, 0.33 makes 241.
    """
    steps = np.arange(-np.ceil(REACH / spacing) - 1, np.ceil(REACH / spacing) + 2)
    if dimension == 2:
        flat = spacing * steps[:, None]
    else:
        i, j = np.meshgrid(steps, steps)
        flat = spacing * np.stack([(i + j / 2).ravel(), (np.sqrt(3) / 2 * j).ravel()], axis=1)
    square = (flat**2).sum(axis=1)
    inside = square <= REACH**2
    flat, gaussian = flat[inside], np.exp(-square[inside] / 2)
    gaussian /= gaussian.sum()
    # Cut off at the reach and sampled, the Gaussian is a little narrower than 1.
    flat /= np.sqrt((gaussian[:, None] * flat**2).sum(axis=0).mean())
    own = [_around(*ASIDE, dimension)]
    if spacing < DENSE:
        own.append(_around(*FAR_ASIDE, dimension))
    # Those above and below are opposite each other, so that even terms cancel.
    above = [np.hstack([ring, np.full((len(ring), 1), ABOVE)]) for ring in own]
    samples = np.concatenate(
        [np.hstack([flat, np.zeros((len(flat), 1))]), *(np.vstack([a, -a]) for a in above)]
    )
    ends = len(flat) + np.cumsum([0, *(2 * len(ring) for ring in own)])

    def design(degree: int, ring: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        fitted = least_squares(flat, gaussian, degree)
        weights = np.zeros((1 + dimension + (dimension - 1) ** 2, len(samples)))
        weights[0, : len(flat)] = fitted.value
        weights[1:dimension, : len(flat)] = fitted.gradient
        slope = slice(ends[ring], ends[ring + 1])
        weights[dimension, slope] = np.sign(samples[slope, -1]) / (2 * ABOVE * len(own[ring]))
        weights[dimension + 1 :, : len(flat)] = fitted.hessian.reshape(-1, len(flat))
        polynomial = np.zeros((len(monomial_exponents(dimension - 1, DEGREE)), len(samples)))
        polynomial[: len(fitted.polynomial), : len(flat)] = fitted.polynomial
        return weights, polynomial

    return TangentStencil(samples, *design(DEGREE, 0), *design(LOWER_DEGREE, len(own) - 1))


def _around(radius: float, count: int, dimension: int) -> NDArray[np.float64]:
    """Places in the plane at a distance from the normal."""
    if dimension == 2:
        return np.array([[radius], [-radius]])
    angles = 2 * np.pi / count * np.arange(count)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def tangent_jet(
    evaluate: Evaluate,
    points: Tensor,
    normals: Tensor,
    scale: Tensor,
    stencil: TangentStencil,
    share: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (N,), gradient (N, d) and Hessian (N, d, d) at (N, d) points.

    Parameters
    ----------
    normals
        (N, d) unit vectors; the disks are perpendicular to them. They need not be exact: the
        derivatives are those of the field, and a tilt only turns the disk.
    scale
        (N,) standard deviation per axis of the disk's weights, in the points' units.
    share
        (N,) of the quartic, 0 to 1, the rest being the quadric; all of it by default.
    """
    return _jet(*_samples(evaluate, points, normals, scale, stencil), scale, stencil, share)


def both_tangent_jets(
    evaluate: Evaluate, points: Tensor, normals: Tensor, scale: Tensor, stencil: TangentStencil
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Return what `tangent_jet` does with the quartic alone and, of the same samples, without."""
    samples = _samples(evaluate, points, normals, scale, stencil)
    none = torch.zeros_like(scale)
    return _jet(*samples, scale, stencil, None), _jet(*samples, scale, stencil, none)


def _jet(
    values: Tensor, frame: Tensor, scale: Tensor, stencil: TangentStencil, share: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The jets of samples (N, k) taken in frames (N, d, d), in kernels or in torch."""
    from ..fused import fused_tangent_jets, reason_not_compiled

    if frame.shape[1] == 3 and values.device.type == "cpu" and reason_not_compiled() is None:
        shares = torch.ones_like(scale) if share is None else share
        value, gradient, hessian = fused_tangent_jets(
            values.numpy(),
            frame.numpy(),
            scale.numpy(),
            shares.numpy(),
            stencil.arrays,
            thread_count(),
        )
        return torch.from_numpy(value), torch.from_numpy(gradient), torch.from_numpy(hessian)
    return torch_jet(values, frame, scale, stencil, share)


def torch_jet(
    values: Tensor, frame: Tensor, scale: Tensor, stencil: TangentStencil, share: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The jets in torch: the reference for the kernels, and for the plane and GPUs."""
    fit = _straight(values, frame, scale, stencil, share)
    count, dimension, _ = fit.frame.shape
    length = in_float64(scale)[:, None]
    parts = [1, dimension, (dimension - 1) ** 2]
    value, slope, bend = _mixed(fit.samples, stencil.weights, stencil.lower_weights, share).split(
        parts, dim=1
    )
    # On a tilted disk the straightening has a second derivative of its own, exact on a sphere.
    along = slope[:, :-1]
    mean = fit.curvature[:, ::dimension].mean(dim=1)[:, None, None]
    bend = bend - (mean * along[:, :, None] * along[:, None, :]).flatten(start_dim=1)
    gradient = (slope[:, None] @ fit.frame)[:, 0] / length
    plane = (bend / length**2).reshape(count, dimension - 1, dimension - 1)
    return value[:, 0], gradient, _complete(plane, fit.frame[:, :-1], gradient)


class TangentPatch(NamedTuple):
    """Polynomials over N disks, whose d - 1 coordinates are in units of the scale.

    Attributes
    ----------
    frame
        (N, d, d) orthonormal: the axes of the disk, then its normal.
    polynomial
        (N, m) coefficients of the polynomial, which is v + k (v - middle)^2 / 2 where v is the
        field's value and k the normal curvature towards the place.
    middle
        (N,) the value in the middle, by the first fit.
    curvature
        (N, d - 1, d - 1) its matrix.
    slope
        (N,) of the field along the normal.
    """

    frame: Tensor
    polynomial: Tensor
    middle: Tensor
    curvature: Tensor
    slope: Tensor


def tangent_patch(
    evaluate: Evaluate,
    points: Tensor,
    normals: Tensor,
    scale: Tensor,
    stencil: TangentStencil,
    share: Tensor | None = None,
) -> TangentPatch:
    """Return the whole polynomials of which `tangent_jet` gives the jets in the middle."""
    dimension = points.shape[1]
    samples = _samples(evaluate, points, normals, scale, stencil)
    fit = _straight(*samples, scale, stencil, share)
    return TangentPatch(
        fit.frame,
        _mixed(fit.samples, stencil.polynomial, stencil.lower_polynomial, share),
        fit.middle[:, 0],
        fit.curvature.reshape(-1, dimension - 1, dimension - 1),
        fit.slope[:, 0] / in_float64(scale),
    )


class _Straightened(NamedTuple):
    """What both of the above are made of: see the module's description."""

    samples: Tensor  # [N, k]
    frame: Tensor  # [N, d, d]
    middle: Tensor  # [N, 1]
    curvature: Tensor  # [N, (d - 1)^2]
    slope: Tensor  # [N, 1] per scale, along the normal


def _samples(
    evaluate: Evaluate, points: Tensor, normals: Tensor, scale: Tensor, stencil: TangentStencil
) -> tuple[Tensor, Tensor]:
    """The field's values (N, k), and the frames (N, d, d) that they were taken in."""
    count, dimension = points.shape
    frame = torch.cat([tangent_frame(normals), normals[:, None]], dim=1)  # [N, d, d]
    scaled = (scale[:, None, None] * frame).flatten(start_dim=1)
    neighbours = torch.cat([points, scaled], dim=1) @ points.new_tensor(stencil.placing)
    values = in_float64(evaluate(neighbours.reshape(-1, dimension)).reshape(count, -1))
    return values, in_float64(frame)


def _straight(
    values: Tensor, frame: Tensor, scale: Tensor, stencil: TangentStencil, share: Tensor | None
) -> _Straightened:
    dimension = frame.shape[1]
    length = in_float64(scale)[:, None]
    parts = [1, dimension, (dimension - 1) ** 2]
    weights = stencil.weights, stencil.lower_weights
    value, slope, bend = _mixed(values, *weights, share).split(parts, dim=1)
    rise = slope[:, -1:]
    beside = np.flatnonzero(stencil.beside)
    place = values.new_tensor(stencil.samples[beside, :-1] * stencil.is_far[beside, None])
    upper, lower = (each[dimension : dimension + 1, beside] for each in weights)
    curvature = bend / (length * rise.clamp_min(LEAST_RISE * length))
    # At the feet of samples far aside the normals are turned by the curvature.
    turn = place @ curvature.reshape(-1, dimension - 1, dimension - 1)
    stretch = (1 + (length[:, :, None] * turn).square().sum(dim=2)).sqrt()
    stretched = stretch * values[:, beside]
    rise = _mixed(stretched, upper, lower, share)
    curvature = bend / (length * rise.clamp_min(LEAST_RISE * length))
    towards = curvature @ values.new_tensor(stencil.directions).T  # [N, k]
    straight = values + towards / 2 * (values - value) ** 2
    straight[:, beside] = stretched
    return _Straightened(straight, frame, value, curvature, rise)


def _mixed(
    samples: Tensor, weights: NDArray[Any], lower: NDArray[Any], share: Tensor | None
) -> Tensor:
    """What weights (r, k) make of samples (N, k), and with a share (N,) those of lower degree."""
    upper = samples @ samples.new_tensor(weights).T
    if share is None:
        return upper
    least = samples @ samples.new_tensor(lower).T
    return least + in_float64(share)[:, None] * (upper - least)


def tangent_frame(normals: Tensor) -> Tensor:
    """Return (N, d - 1, d) orthonormal vectors perpendicular to (N, d) unit normals.

    In space after Duff et al., "Building an Orthonormal Basis, Revisited", JCGT 2017.
    """
    if normals.shape[1] == 2:
        return torch.stack([-normals[:, 1], normals[:, 0]], dim=1)[:, None]
    x, y, z = normals.unbind(dim=1)
    sign = torch.copysign(torch.ones_like(z), z)
    a = -1.0 / (sign + z)
    b = x * y * a
    first = torch.stack([1.0 + sign * x * x * a, sign * b, -sign * x], dim=1)
    second = torch.stack([b, sign + y * y * a, -y], dim=1)
    return torch.stack([first, second], dim=1)


def _complete(bend: Tensor, frame: Tensor, gradient: Tensor) -> Tensor:
    """The Hessian (N, d, d) that maps the gradient to zero and has `bend` along the frame's plane.

    With G the frame projected onto the level set's own tangent plane and M = G G^T, it is
    G^T M^-1 bend M^-1 G. M is I - t t^T, where t are the normal's components along the frame.
    """
    norm = gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
    normal = gradient / norm
    along = frame @ normal[:, :, None]
    own = frame - along * normal[:, None]
    # A frame that contains the normal itself tells nothing about one direction.
    upright = (1 - along.square().sum(dim=1, keepdim=True)).clamp_min(LEAST_RISE**2)
    lifted = own + along * (along.mT @ own) / upright
    return lifted.mT @ bend @ lifted
