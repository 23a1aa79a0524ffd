"""Training steps of a field's network, with the fused kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..fields.neural_field import NeuralField
from ..threads import run_shares, share_bounds
from .evaluator import FusedEvaluator
from .layout import (
    AdamStep,
    DecoderArrays,
    decoder_arrays,
    hash_grid,
    level_arrays,
    named_gradients,
    store_input_weight,
    table_array,
    zeros_like,
)
from .loading import load_kernels

LossOfValues = Callable[[NDArray[np.float32]], tuple[float, NDArray[np.float32]]]
"""From a network's values, (B,), to a loss and its gradient by them, (B,)."""

_BLOCKS_PER_GROUP = 4
"""Gradients of the decoder are summed within a group of blocks, then over the groups, so that the
order of the additions does not depend on the number of threads."""


class FusedTrainer:
    """Trains a field's network on the CPU with Adam, many times faster than torch.

    The loss is mean(weights * |correction(points) - targets|), or any other of the network's
    values. A feature of the table whose gradient is exactly zero in a step keeps its value and its
    moments (sparse Adam); the decoder is always updated.

    Parameters
    ----------
    module
        A field for which `reason_unavailable` is None; its parameters are updated in place.
    threads
        Number of threads. The results do not depend on it, to the last bit.
    betas, epsilon
        Of Adam.
    """

    def __init__(
        self,
        module: NeuralField,
        threads: int,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-15,
    ) -> None:
        self._kernels = load_kernels()
        self._module = module
        self._threads = threads
        self._betas = betas
        self._epsilon = epsilon
        self._steps = 0
        self._evaluate = FusedEvaluator(module, threads)
        grid = hash_grid(module)
        self._levels = level_arrays(grid.levels)
        decoder = decoder_arrays(module)
        self._decoder_moments = zeros_like(decoder), zeros_like(decoder)
        size = grid.table.numel()
        self._table_moments = np.zeros(size, np.uint16), np.zeros(size, np.uint16)
        rows = int(self._levels.size.max())
        self._level_gradients = [
            np.zeros((rows, 2), np.float32) for _ in range(min(threads, len(grid.levels)))
        ]
        self._blocks = 0

    def step(
        self,
        points: NDArray[np.float32],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        learning_rate_table: float,
        learning_rate_decoder: float,
    ) -> float:
        """Take one step on (B, 3) points, (B,) targets and (B,) weights.

        Returns the loss before the step. Multiples of 128 points make full use of the kernels.
        """
        decoder = decoder_arrays(self._module)
        loss, gradient = self._backward(points, targets, weights, decoder)
        self._take_step(decoder, gradient, learning_rate_table, learning_rate_decoder)
        return loss

    def step_on(
        self,
        points: NDArray[np.float32],
        loss: LossOfValues,
        learning_rate_table: float,
        learning_rate_decoder: float,
    ) -> float:
        """Take one step on any loss of the network's values at (B, 3) points.

        `loss` is called once, with the (B,) values; it returns the loss and its gradient by them,
        (B,). Returns the loss before the step.
        """
        value, slopes = loss(self._evaluate(points))
        decoder = decoder_arrays(self._module)
        gradient = self._backward_from(points, slopes, decoder)
        self._take_step(decoder, gradient, learning_rate_table, learning_rate_decoder)
        return value

    def gradients(
        self,
        points: NDArray[np.float32],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> tuple[float, dict[str, NDArray[np.float32]]]:
        """Return the loss and its gradient by each of the module's parameters, without a step."""
        loss, decoder = self._backward(points, targets, weights, decoder_arrays(self._module))
        return loss, self._named(decoder)

    def gradients_from(
        self, points: NDArray[np.float32], slopes: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Return a loss's gradient by each parameter, from that by the values, (B,)."""
        return self._named(self._backward_from(points, slopes, decoder_arrays(self._module)))

    def _named(self, decoder: DecoderArrays) -> dict[str, NDArray[np.float32]]:
        """The gradient that the last way back left, by the names of the parameters."""
        table = np.zeros_like(table_array(self._module))
        self._kernels.table_gradient(self._levels, self._unit, self._upstream, table)
        return {"encoding.table": table, **named_gradients(self._module, decoder)}

    def _take_step(
        self,
        decoder: DecoderArrays,
        gradient: DecoderArrays,
        learning_rate_table: float,
        learning_rate_decoder: float,
    ) -> None:
        self._steps += 1
        self._update_table(self._adam(learning_rate_table))
        adam = self._adam(learning_rate_decoder)
        for parameter, slope, first, second in zip(
            decoder, gradient, *self._decoder_moments, strict=True
        ):
            self._kernels.adam_dense(
                parameter.reshape(-1),
                slope.reshape(-1),
                first.reshape(-1),
                second.reshape(-1),
                adam,
            )
        store_input_weight(self._module, decoder)

    def _backward(
        self,
        points: NDArray[np.float32],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        decoder: DecoderArrays,
    ) -> tuple[float, DecoderArrays]:
        """Return the loss and the decoder's gradient; leave what the table's needs in buffers."""
        self._reserve(len(points), decoder)
        gradient = self._run_groups(
            self._kernels.train_groups, points, (targets, weights), decoder, (self._losses,)
        )
        return float(self._losses.sum() / len(points)), gradient

    def _backward_from(
        self,
        points: NDArray[np.float32],
        slopes: NDArray[np.float32],
        decoder: DecoderArrays,
    ) -> DecoderArrays:
        """Return the decoder's gradient; leave what the table's needs in buffers."""
        self._reserve(len(points), decoder)
        return self._run_groups(self._kernels.backward_groups, points, (slopes,), decoder)

    def _run_groups(
        self,
        kernel: Callable[..., None],
        points: NDArray[np.float32],
        values: tuple[NDArray[np.float32], ...],
        decoder: DecoderArrays,
        results: tuple[NDArray[np.float64], ...] = (),
    ) -> DecoderArrays:
        """Run a kernel on all groups of blocks; return the decoder's gradient."""
        points = np.ascontiguousarray(points, np.float32)
        values = tuple(np.ascontiguousarray(array, np.float32) for array in values)
        table = table_array(self._module)

        def run(share: int) -> None:
            kernel(
                *share_bounds(share, self._threads, len(self._losses)),
                _BLOCKS_PER_GROUP,
                points,
                *values,
                self._levels,
                table,
                decoder,
                self._unit,
                self._upstream,
                self._group_gradients,
                *results,
            )

        run_shares(self._threads, run)
        return DecoderArrays(*(array.sum(axis=0) for array in self._group_gradients))

    def _update_table(self, adam: AdamStep) -> None:
        table = table_array(self._module).reshape(-1)
        first, second = self._table_moments
        shares = len(self._level_gradients)

        def update(share: int) -> None:
            gradient = self._level_gradients[share]
            self._kernels.update_levels(
                share,
                shares,
                self._levels,
                self._unit,
                self._upstream,
                table,
                first,
                second,
                gradient,
                gradient.reshape(-1).view(np.uint32),
                adam,
            )

        run_shares(shares, update)

    def _adam(self, learning_rate: float) -> AdamStep:
        return AdamStep.at(self._steps, learning_rate, self._betas, self._epsilon)

    def _reserve(self, points: int, decoder: DecoderArrays) -> None:
        """Allocate the buffers between the two halves of a step, for so many points."""
        block = self._kernels.BLOCK
        blocks = -(-points // block)
        if blocks == self._blocks:
            return
        groups = -(-blocks // _BLOCKS_PER_GROUP)
        self._unit = np.empty((blocks, 3, block), np.float32)
        self._upstream = np.empty((len(self._levels.scale), blocks, 2, block), np.float32)
        self._group_gradients = zeros_like(decoder, groups)
        self._losses = np.zeros(groups)
        self._blocks = blocks
