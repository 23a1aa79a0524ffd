"""Values of a field at many points: one interface, in torch or in fused kernels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from .fields import NeuralField
from .out_of_memory import RowLimit
from .threads import one_torch_thread, thread_count

TORCH_ROWS = 1 << 14
"""Points per pass through torch; larger ones are slower on a CPU."""
FUSED_ROWS = 1 << 18
"""Points per call of the kernels: enough for every thread, and well under 0.2 s."""


class Evaluator:
    """Evaluates a field, or its base alone, without gradients, as fast as its device allows."""

    def __init__(self, module: NeuralField) -> None:
        from .fused import FusedBase, FusedEvaluator, reason_base_unavailable, reason_unavailable

        self._module = module
        self._fused_base = (
            FusedBase(module, thread_count()) if reason_base_unavailable(module) is None else None
        )
        usable = reason_unavailable(module) is None
        self._fused = FusedEvaluator(module, thread_count()) if usable else None
        self._limit = RowLimit(TORCH_ROWS)

    @property
    def device(self) -> torch.device:
        """Where points have to be."""
        return self._module.base.values.device

    def in_small_parts(self) -> AbstractContextManager[None]:
        """What to hold while `field` is called often, with a little torch around each call."""
        return one_torch_thread() if self._fused is not None else nullcontext()

    def field(self, points: Tensor) -> Tensor:
        """Values (N,) of the field at (N, d) points.

        Outside the cube, where the network was never trained, the value is that of the nearest
        point of the cube plus the distance to it.
        """
        return _beyond_cube(self._field_in_cube, points)

    def base(self, points: Tensor) -> Tensor:
        """Values (N,) of the coarse base at (N, d) points, outside the cube likewise."""
        return _beyond_cube(self._base_in_cube, points)

    def _field_in_cube(self, points: Tensor) -> Tensor:
        if self._fused is not None:
            return _fused_values(self._fused.field_values, points)
        if self._fused_base is not None:
            values = self._torch_values(lambda part: self._module.correction(part)[:, 0], points)
            return self._base_in_cube(points) + self._module.base.cell * values
        return self._torch_values(lambda part: self._module(part)[:, 0], points)

    def _base_in_cube(self, points: Tensor) -> Tensor:
        if self._fused_base is not None:
            return _fused_values(self._fused_base, points)
        return self._torch_values(self._module.base, points)

    @torch.no_grad()
    def _torch_values(self, evaluate: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
        if len(points) == 0:
            return points.new_zeros(0)
        return self._limit(
            lambda rows: torch.cat([evaluate(part) for part in points.split(rows)]), len(points)
        )


def _beyond_cube(evaluate: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    if len(points) == 0 or points.abs().max() <= 1:
        return evaluate(points)
    inside = points.clamp(-1, 1)
    return evaluate(inside) + (points - inside).norm(dim=1)


def _fused_values(evaluate: Callable, points: Tensor) -> Tensor:
    chunks = [torch.from_numpy(evaluate(chunk.numpy())) for chunk in points.split(FUSED_ROWS)]
    return torch.cat(chunks) if chunks else points.new_zeros(0)
