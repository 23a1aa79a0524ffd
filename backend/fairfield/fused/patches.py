"""Blending the patches of a smoothed surface, with the compiled kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..threads import run_shares, share_bounds
from .layout import BlendedJets, BlendedPatches, PatchArrays
from .loading import load_kernels

Array = NDArray[np.float64]


def fused_jets_in_middles(patches: PatchArrays, threads: int) -> tuple[Array, Array, Array]:
    """Return distances (M,), gradients (M, 3) and Hessians (M, 3, 3) in M patches' middles."""
    kernels, count = load_kernels(), len(patches.scale)
    jets = np.empty(count), np.empty((count, 3)), np.empty((count, 3, 3))
    run_shares(
        threads,
        lambda share: kernels.jets_in_middles(*share_bounds(share, threads, count), patches, *jets),
    )
    return jets


def fused_blend(
    first: int,
    points: Array,
    nearest: NDArray[np.intp],
    away: Array,
    patches: BlendedPatches,
    noise: float,
    jets: BlendedJets,
) -> None:
    """Write what patches tell about (P, 3) points to rows of `jets`, from the first on.

    Parameters
    ----------
    nearest, away
        (P, k) patches that each may lie within, and how far it is from their middles.
    noise
        By how much distances may differ besides.
    """
    load_kernels().blend_patches(
        first,
        np.ascontiguousarray(points),
        np.ascontiguousarray(nearest, np.int64),
        np.ascontiguousarray(away),
        patches,
        noise,
        jets,
    )


def fused_sums_at_nodes(
    planes: range,
    row_of: NDArray[np.int32],
    cell: float,
    reach: float,
    patches: BlendedPatches,
    jets: tuple[Array, Array, Array],
    moved: Array,
    totals: Array,
    threads: int,
) -> None:
    """Add up what the patches tell, by their second-order parts, about nodes of some planes.

    Parameters
    ----------
    row_of
        (n, n, n) which row of the totals a node of the lattice over the cube has, or negative.
    cell, reach
        From node to node, and how far above and below its middle a patch counts.
    jets
        (M,), (M, 3) and (M, 3, 3) in their middles.
    moved
        (M,) another number of each patch.
    totals
        (N, 4) sums of the weights, and of the weights times distance, its square, and that of
        `moved`. Those of a node are added in the order of the patches.
    """
    kernels = load_kernels()

    def add(share: int) -> None:
        first, last = share_bounds(share, threads, len(planes))
        kernels.add_patches_to_nodes(
            planes.start + first,
            planes.start + last,
            row_of,
            cell,
            reach,
            patches.middle,
            patches.radius,
            *jets,
            moved,
            totals,
        )

    run_shares(threads, add)
