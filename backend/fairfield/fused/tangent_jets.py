"""Jets from the samples of tangent disks, with the compiled kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..threads import run_shares, share_bounds
from .layout import DiskArrays
from .loading import load_kernels

Array = NDArray[np.float64]

MIN_DISKS_PER_THREAD = 256  # below it, waking a thread costs more than it saves


def fused_tangent_jets(
    values: Array, frames: Array, scales: Array, shares: Array, stencil: DiskArrays, threads: int
) -> tuple[Array, Array, Array]:
    """Return value (N,), gradient (N, 3) and Hessian (N, 3, 3) of N disks.

    Parameters
    ----------
    values, frames
        (N, k) samples of the field, and (N, 3, 3) the axes of the disks and their normals.
    scales, shares
        (N,) of the disks, and how much of the quartic is taken.
    threads
        At most so many. The jets do not depend on it, to the last bit.
    """
    kernels = load_kernels()
    count, width = values.shape
    if width != len(stencil.far_places):
        raise ValueError(f"{width} samples of a disk that has {len(stencil.far_places)}")
    jets = np.empty(count), np.empty((count, 3)), np.empty((count, 3, 3))
    inputs = [np.ascontiguousarray(each, np.float64) for each in (values, frames, scales, shares)]
    used = max(1, min(threads, count // MIN_DISKS_PER_THREAD))
    run_shares(
        used,
        lambda share: kernels.jets_of_disks(
            *share_bounds(share, used, count), *inputs, stencil, *jets
        ),
    )
    return jets
