"""The published operator: a polynomial fitted to random samples around each point.

Chetan et al., "Accurate Differential Operators for Hybrid Neural Fields" (arXiv 2312.05984;
justachetan/hnf-derivatives: utils/polyfit_utils.py). Every point has samples of its own and a least
squares problem of its own. Kept as the baseline that the fixed designs are measured against; solved
here in units of the scale, since in raw offsets the second-order system is so badly conditioned
(3e11 at a scale of 0.002) that float32 returns noise.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import SettingError
from .polynomial import Evaluate, in_float64, monomial_exponents, monomials

SAMPLERS = ("gaussian", "ball", "box")


def random_samples_jet(
    evaluate: Evaluate,
    points: Tensor,
    scale: Tensor,
    *,
    samples: int = 256,
    degree: int = 2,
    sampler: str = "gaussian",
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (N,), gradient (N, d) and Hessian (N, d, d) at (N, d) points.

    With several channels (`evaluate` returning (M, c)) each result has one more axis of c at the
    end.

    Parameters
    ----------
    scale
        (N,) standard deviation of the Gaussian, radius of the ball, or half side of the box.
    samples
        Number k of field values per point.
    degree
        1 (the Hessian is zero) or 2.
    """
    count, dimension = points.shape
    generator = torch.Generator().manual_seed(seed)
    offsets = _draw(sampler, (count, samples, dimension), generator).to(points)  # [N, k, d]
    neighbours = points[:, None] + scale[:, None, None] * offsets
    values = in_float64(evaluate(neighbours.reshape(-1, dimension)))
    channels = values.shape[1:]
    values = values.reshape(count, samples, -1)  # [N, k, c]
    mean = values.mean(dim=1, keepdim=True)
    exponents = monomial_exponents(dimension, degree)
    at = offsets.cpu().double().movedim(-1, 0).numpy()
    table = torch.from_numpy(monomials(at, degree)).movedim(0, -1).to(values)  # [N, k, monomials]
    # Normal equations do in units of the scale, where they are well conditioned.
    coefficients = torch.linalg.solve(table.mT @ table, table.mT @ (values - mean))
    length = in_float64(scale)[:, None]
    value = mean[:, 0] + coefficients[:, 0]
    gradient = values.new_zeros(count, dimension, values.shape[2])
    hessian = values.new_zeros(count, dimension, dimension, values.shape[2])
    for exponent, coefficient in zip(exponents, coefficients.unbind(dim=1), strict=True):
        axes = np.repeat(np.arange(dimension), exponent)
        if len(axes) == 1:
            gradient[:, axes[0]] = coefficient / length
        elif len(axes) == 2:
            i, j = axes
            hessian[:, i, j] = hessian[:, j, i] = (1 + (i == j)) * coefficient / length**2
    return (
        value.reshape(count, *channels),
        gradient.reshape(count, dimension, *channels),
        hessian.reshape(count, dimension, dimension, *channels),
    )


def _draw(sampler: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if sampler == "gaussian":
        return torch.randn(shape, generator=generator)
    if sampler == "box":
        return 2 * torch.rand(shape, generator=generator) - 1
    if sampler == "ball":
        direction = torch.randn(shape, generator=generator)
        radius = torch.rand(shape[:-1], generator=generator) ** (1 / shape[-1])
        return direction / direction.norm(dim=-1, keepdim=True) * radius[..., None]
    raise SettingError(f"There is no sampler {sampler!r}; choose from {', '.join(SAMPLERS)}.")
