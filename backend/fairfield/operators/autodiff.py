"""Derivatives of the field itself: exact, and for a hybrid field noisy. The baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from .polynomial import Evaluate


def autodiff_jet(evaluate: Evaluate, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return value (N,), gradient (N, d) and Hessian (N, d, d) at (N, d) points by autograd.

    A field of ReLUs over a piecewise multilinear grid has second derivatives only where they are
    mixed within a grid cell; its curvature by autodiff is what it is.
    """
    with torch.enable_grad():
        points = points.detach().requires_grad_(True)
        value = evaluate(points)
        (gradient,) = torch.autograd.grad(value.sum(), points, create_graph=True)
        rows = [
            torch.autograd.grad(component.sum(), points, retain_graph=True)[0]
            for component in gradient.unbind(dim=1)
        ]
    return value.detach(), gradient.detach(), torch.stack(rows, dim=1).detach()
