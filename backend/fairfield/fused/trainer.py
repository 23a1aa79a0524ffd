"""Training steps of a field's network, with the fused kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..fields.neural_field import NeuralField
from ..threads import run_shares, share_bounds
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
_LINE = 64  # bytes
LARGEST_BETA = 0.99


class _Places(NamedTuple):
    """Where a batch lies, as `load_points` writes it: (blocks, 3, BLOCK) and (blocks, BLOCK)."""

    unit: NDArray[np.float32]
    taint: NDArray[np.float32]


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
        Of Adam. The second beta is at most 0.99: moments are kept in 16 bits, see `adam_sparse`.
    """

    def __init__(
        self,
        module: NeuralField,
        threads: int,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-15,
    ) -> None:
        if betas[1] > LARGEST_BETA:
            raise ValueError(f"The second beta is {betas[1]}; it must be {LARGEST_BETA} at most.")
        self._kernels = load_kernels()
        self._module = module
        self._threads = threads
        self._betas = betas
        self._epsilon = epsilon
        self._steps = 0
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
        self._blocks = 0  # that the buffers are for, see `_reserve`
        self._places: _Places
        self._upcoming: _Places
        self._encoded: NDArray[np.float32]
        self._encoded_points: NDArray[np.float32] | None = None

    def step(
        self,
        points: NDArray[np.float32],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        learning_rate_table: float,
        learning_rate_decoder: float,
        upcoming: NDArray[np.float32] | None = None,
    ) -> float:
        """Take one step on (B, 3) points, (B,) targets and (B,) weights.

        Returns the loss before the step. Multiples of 128 points make full use of the kernels.

        The points of the next step, if it is known that there will be one, are encoded while the
        table is in the caches. They must be as many, the same array must then be given as `points`,
        and nothing else may change it or the field in between.
        """
        decoder = decoder_arrays(self._module)
        if upcoming is not None and len(upcoming) != len(points):
            upcoming = None
        loss, gradient = self._backward(points, targets, weights, decoder, upcoming)
        self._take_step(decoder, gradient, learning_rate_table, learning_rate_decoder, upcoming)
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
        decoder = decoder_arrays(self._module)
        self._encode(points, decoder)
        values = np.empty(len(points), np.float32)

        def decode(share: int) -> None:
            bounds = share_bounds(share, self._threads, self._blocks)
            self._kernels.decode_points(*bounds, decoder, self._places.taint, self._encoded, values)

        run_shares(self._threads, decode)
        value, slopes = loss(values)
        gradient = self._run_groups(self._kernels.backward_groups, (slopes,), decoder)
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
        decoder = decoder_arrays(self._module)
        self._encode(points, decoder)
        return self._named(self._run_groups(self._kernels.backward_groups, (slopes,), decoder))

    def _named(self, decoder: DecoderArrays) -> dict[str, NDArray[np.float32]]:
        """The gradient that the last way back left, by the names of the parameters."""
        table = np.zeros_like(table_array(self._module))
        self._kernels.table_gradient(self._levels, self._places.unit, self._upstream, table)
        return {"encoding.table": table, **named_gradients(self._module, decoder)}

    def _take_step(
        self,
        decoder: DecoderArrays,
        gradient: DecoderArrays,
        learning_rate_table: float,
        learning_rate_decoder: float,
        upcoming: NDArray[np.float32] | None = None,
    ) -> None:
        self._steps += 1
        self._update_table(self._adam(learning_rate_table), upcoming)
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
        upcoming: NDArray[np.float32] | None = None,
    ) -> tuple[float, DecoderArrays]:
        """Return the loss and the decoder's gradient; leave what the table's needs in buffers."""
        self._encode(points, decoder)
        gradient = self._run_groups(
            self._kernels.train_groups, (targets, weights), decoder, (self._losses,), upcoming
        )
        return float(self._losses.sum() / len(points)), gradient

    def _encode(self, points: NDArray[np.float32], decoder: DecoderArrays) -> None:
        """Encode the points, unless the step before did it."""
        is_done, self._encoded_points = self._encoded_points is points, None
        if is_done:
            self._places, self._upcoming = self._upcoming, self._places
            return
        self._reserve(len(points), decoder)
        run_shares(self._threads, lambda share: self._load(points, self._places, share))
        table = table_array(self._module)
        shares = len(self._level_gradients)

        def encode(share: int) -> None:
            self._kernels.encode_levels(
                share, shares, self._levels, table, self._places.unit, self._encoded
            )

        run_shares(shares, encode)

    def _load(self, points: NDArray[np.float32], places: _Places, share: int) -> None:
        bounds = share_bounds(share, self._threads, self._blocks)
        self._kernels.load_points(*bounds, np.ascontiguousarray(points, np.float32), *places)

    def _run_groups(
        self,
        kernel: Callable[..., None],
        values: tuple[NDArray[np.float32], ...],
        decoder: DecoderArrays,
        results: tuple[NDArray[np.float64], ...] = (),
        upcoming: NDArray[np.float32] | None = None,
    ) -> DecoderArrays:
        """Run a kernel on all groups of encoded blocks; return the decoder's gradient."""
        values = tuple(np.ascontiguousarray(array, np.float32) for array in values)

        def run(share: int) -> None:
            kernel(
                *share_bounds(share, self._threads, len(self._losses)),
                _BLOCKS_PER_GROUP,
                *values,
                decoder,
                self._places.taint,
                self._encoded,
                self._upstream,
                self._group_gradients,
                *results,
            )
            if upcoming is not None:
                self._load(upcoming, self._upcoming, share)

        run_shares(self._threads, run)
        return DecoderArrays(*(array.sum(axis=0) for array in self._group_gradients))

    def _update_table(self, adam: AdamStep, upcoming: NDArray[np.float32] | None) -> None:
        table = table_array(self._module).reshape(-1)
        first, second = self._table_moments
        shares = len(self._level_gradients)
        upcoming_unit = self._upcoming.unit[: 0 if upcoming is None else self._blocks]

        def update(share: int) -> None:
            gradient = self._level_gradients[share]
            self._kernels.update_levels(
                share,
                shares,
                self._levels,
                self._places.unit,
                self._upstream,
                table,
                first,
                second,
                gradient,
                gradient.reshape(-1).view(np.uint32),
                adam,
                upcoming_unit,
                self._encoded,
            )

        run_shares(shares, update)
        self._encoded_points = upcoming

    def _adam(self, learning_rate: float) -> AdamStep:
        return AdamStep.at(self._steps, learning_rate, self._betas, self._epsilon)

    def _reserve(self, points: int, decoder: DecoderArrays) -> None:
        """Allocate the buffers between the two halves of a step, for so many points."""
        block = self._kernels.BLOCK
        blocks = -(-points // block)
        if blocks == self._blocks:
            return
        groups = -(-blocks // _BLOCKS_PER_GROUP)
        self._places = _Places(_zeros(blocks, 3, block), _zeros(blocks, block))
        self._upcoming = _Places(_zeros(blocks, 3, block), _zeros(blocks, block))
        self._encoded = _zeros(blocks, decoder.input_weight.shape[1], block)
        self._upstream = np.empty((len(self._levels.scale), blocks, 2, block), np.float32)
        self._group_gradients = zeros_like(decoder, groups)
        self._losses = np.zeros(groups)
        self._blocks = blocks


def _zeros(*shape: int) -> NDArray[np.float32]:
    """Zeros that start at a cache line, as the kernels want them; see `new_features`."""
    numbers = math.prod(shape)
    memory = np.zeros(numbers * 4 + _LINE, np.uint8)
    first = -memory.ctypes.data % _LINE
    return memory[first : first + numbers * 4].view(np.float32).reshape(shape)
