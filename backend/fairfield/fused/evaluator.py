"""Values of a field, with the fused kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..fields.neural_field import NeuralField
from ..threads import run_shares, share_bounds
from .layout import decoder_arrays, hash_grid, level_arrays, table_array
from .loading import load_kernels

_MIN_BLOCKS_PER_THREAD = 16  # below it, waking a thread costs more than it saves


class FusedBase:
    """Evaluates the coarse base of a field of any kind on the CPU.

    Takes (N, 3) points and returns (N,) values, at the nearest point of the cube for a point
    outside, NaN for a point that is not finite.

    Parameters
    ----------
    module
        A field for which `reason_base_unavailable` is None. Its values are read at each call.
    threads
        At most so many threads.
    """

    def __init__(self, module: NeuralField, threads: int) -> None:
        self._kernels = load_kernels()
        self._module = module
        self._threads = threads

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values of `NeuralField.base`."""
        lattice = self._module.base.values.numpy()
        return evaluate_in_shares(
            lambda first, last, points, values: self._kernels.evaluate_lattice_blocks(
                first, last, points, lattice, values
            ),
            points,
            self._kernels.BLOCK,
            self._threads,
        )


class FusedEvaluator:
    """Evaluates a field, or its two parts, on the CPU, many times faster than torch.

    All methods take (N, 3) points and return (N,) values. Points outside [-1, 1]^3 get the value at
    the nearest point of the cube; a point that is not finite gets NaN.

    Parameters
    ----------
    module
        A field for which `reason_unavailable` is None. Its parameters are read at each call.
    threads
        At most so many threads. The values do not depend on it, to the last bit.
    """

    def __init__(self, module: NeuralField, threads: int) -> None:
        self._kernels = load_kernels()
        self._module = module
        self._threads = threads
        self._levels = level_arrays(hash_grid(module).levels)
        self.base_values = FusedBase(module, threads)

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network adds to the base, in cells: `NeuralField.correction`."""
        table, decoder = table_array(self._module), decoder_arrays(self._module)
        return evaluate_in_shares(
            lambda first, last, points, values: self._kernels.evaluate_blocks(
                first, last, points, self._levels, table, decoder, values
            ),
            points,
            self._kernels.BLOCK,
            self._threads,
        )

    def field_values(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values of the whole field, base and network."""
        values = self(points)
        values *= np.float32(self._module.base.cell)
        values += self.base_values(points)
        return values


def evaluate_in_shares(
    kernel: Callable[[int, int, NDArray[np.float32], NDArray[np.float32]], None],
    points: NDArray[np.float32],
    block: int,
    threads: int,
) -> NDArray[np.float32]:
    """Run a kernel, (first block, last block, points, values), on all points; return the values."""
    points = np.ascontiguousarray(points, np.float32)
    values = np.empty(len(points), np.float32)
    blocks = -(-len(points) // block)
    used = max(1, min(threads, blocks // _MIN_BLOCKS_PER_THREAD))
    run_shares(used, lambda share: kernel(*share_bounds(share, used, blocks), points, values))
    return values
