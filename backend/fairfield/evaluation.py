"""Values of a field at many points: one interface, in torch or in fused kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from .fields import NeuralField
from .out_of_memory import RowLimit
from .threads import one_torch_thread, run_shares, thread_count

Part = TypeVar("Part")

TORCH_ROWS = 1 << 14
"""Points per pass through torch; larger ones are slower on a CPU."""
PARTS_PER_TURN = 4
"""Parts of a thread between two reports of `Evaluator.for_each`."""
FUSED_ROWS = 1 << 18
"""Points per call of the kernels: enough for every thread, and well under 0.2 s."""


class Evaluator:
    """Evaluates a field, or its base alone, without gradients, as fast as its device allows.

    Parameters
    ----------
    module
        The field. Its parameters are read at each call.
    threads
        Of the kernels, at most; as many as there are by default.
    """

    def __init__(self, module: NeuralField, threads: int | None = None) -> None:
        from .fused import FusedBase, FusedEvaluator, reason_base_unavailable, reason_unavailable

        self._module = module
        self._threads = threads or thread_count()
        self._fused_base = (
            FusedBase(module, self._threads) if reason_base_unavailable(module) is None else None
        )
        usable = reason_unavailable(module) is None
        self._fused = FusedEvaluator(module, self._threads) if usable else None
        self._limit = RowLimit(TORCH_ROWS)

    @property
    def device(self) -> torch.device:
        """Where points have to be."""
        return self._module.base.values.device

    def in_small_parts(self) -> AbstractContextManager[None]:
        """What to hold while `field` is called often, with a little torch around each call."""
        return one_torch_thread() if self._fused is not None else nullcontext()

    def for_each(
        self,
        parts: Sequence[Part],
        work: Callable[[Evaluator, Part], None],
        before: Callable[[float], None],
    ) -> None:
        """Call `work(evaluator, part)` for each of many parts that do not depend on each other.

        With kernels, each thread has parts of its own, so that whatever is done around the
        evaluation is shared out too. `before` is called now and then, by the calling thread, with
        the share of the parts that is done.
        """
        threads = self._threads if self._fused is not None else 1
        if threads == 1:
            for done, each in enumerate(parts):
                before(done / len(parts))
                work(self, each)
            return
        alone = Evaluator(self._module, threads=1)

        def share(turn: Sequence[Part], index: int) -> None:
            torch.set_num_threads(1)  # torch counts for each thread apart
            for each in turn[index::threads]:
                work(alone, each)

        together = PARTS_PER_TURN * threads
        with one_torch_thread():
            for first in range(0, len(parts), together):
                before(first / len(parts))
                run_shares(threads, partial(share, parts[first : first + together]))

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
