"""Training steps of a field: one interface, on any device in torch, on a CPU in fused kernels."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .fields import NeuralField
from .fused.trainer import LossOfValues
from .out_of_memory import RowLimit
from .threads import thread_count

log = logging.getLogger("fairfield.training")

# A table row's gradient is tiny and rare; the small epsilon lets Adam see it (Instant NGP).
BETAS = (0.9, 0.99)
EPSILON = 1e-15
SIREN_GRADIENT_CLIP = 1.0
"""Norm that a SIREN's gradient is cut to: its steep sines give a rare huge one."""


class Trainer(Protocol):
    """Adam on the loss mean(weights * |correction(points) - targets|) of a `NeuralField`.

    Or on any other loss of the network's values.
    """

    def step(
        self,
        points: NDArray[np.float32],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        learning_rate_table: float,
        learning_rate_decoder: float,
        upcoming: NDArray[np.float32] | None = None,
    ) -> float:
        """Take one step on (B, 3) points of the cube; return the loss before it.

        The first learning rate is that of the encoding, whether it has a table or not. Work on the
        next step's points may begin if they are known; see `FusedTrainer.step`.
        """
        ...

    def step_on(
        self,
        points: NDArray[np.float32],
        loss: LossOfValues,
        learning_rate_table: float,
        learning_rate_decoder: float,
    ) -> float:
        """Take one step on a loss of the values of `correction` at (B, 3) points; return the loss.

        `loss` is called once.
        """
        ...


class TorchTrainer:
    """The reference, for every device.

    When memory runs out, the gradient of a batch is added up from smaller parts.
    """

    def __init__(self, module: NeuralField) -> None:
        self._module = module
        self._device = next(module.parameters()).device
        self._optimizer = torch.optim.Adam(
            [
                {"params": list(module.encoding.parameters())},
                {"params": list(module.decoder.parameters())},
            ],
            betas=BETAS,
            eps=EPSILON,
            fused=True,
        )
        self._limit = RowLimit()

    def step(
        self,
        points: NDArray[np.float32],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        learning_rate_table: float,
        learning_rate_decoder: float,
        upcoming: NDArray[np.float32] | None = None,
    ) -> float:
        """See `Trainer.step`; nothing is done beforehand."""
        batch = self._tensor(points), self._tensor(targets), self._tensor(weights)
        loss = self._limit(lambda rows: self._backward(batch, rows), len(points))
        self._take_step(learning_rate_table, learning_rate_decoder)
        return loss

    def _backward(self, batch: tuple[Tensor, Tensor, Tensor], rows: int) -> float:
        """Leave the gradient of the whole batch, so many rows at a time; return the loss."""
        self._optimizer.zero_grad()
        total = 0.0
        for points, targets, weights in zip(*(part.split(rows) for part in batch), strict=True):
            error = (self._module.correction(points)[:, 0] - targets).abs()
            loss = (weights * error).sum() / len(batch[0])
            loss.backward()
            total += float(loss.detach())
        return total

    def step_on(
        self,
        points: NDArray[np.float32],
        loss: LossOfValues,
        learning_rate_table: float,
        learning_rate_decoder: float,
    ) -> float:
        """See `Trainer.step_on`."""
        values = self._module.correction(self._tensor(points))[:, 0]
        value, slopes = loss(values.detach().cpu().numpy())
        self._optimizer.zero_grad()
        values.backward(self._tensor(slopes))
        self._take_step(learning_rate_table, learning_rate_decoder)
        return value

    def _take_step(self, *learning_rates: float) -> None:
        for group, rate in zip(self._optimizer.param_groups, learning_rates, strict=True):
            group["lr"] = rate
        if self._module.config.kind == "siren":
            nn.utils.clip_grad_norm_(self._module.parameters(), SIREN_GRADIENT_CLIP)
        self._optimizer.step()

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.as_tensor(array, device=self._device)


def choose_trainer(module: NeuralField) -> Trainer:
    """Return the fastest trainer that can train this field where it is."""
    from .fused import FusedTrainer, reason_unavailable

    reason = reason_unavailable(module)
    if reason is None:
        return FusedTrainer(module, thread_count(), betas=BETAS, epsilon=EPSILON)
    log.info("Training in plain torch: %s", reason)
    return TorchTrainer(module)
