"""The kernels that Python calls. Each works on a share of the blocks or levels, without the GIL.

Arrays and named tuples are those of `fairfield.fused.layout`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..layout import AdamStep, DecoderArrays, LevelArrays
from .adam import adam_sparse, adam_update
from .decoding import decode_block, decoder_gradient, weighted_absolute_error
from .encoding import encode_level, load_block, scatter_level
from .lattice import interpolate_lattice
from .options import BLOCK, CHUNK, LANES, ZERO, Floats, Index, Indices, Shorts, called, entry_point
from .workspace import Workspace, new_chunk, new_corners, new_workspace


@called
def points_in_block(block: int, total: int) -> Index:
    """Number of points of a block: BLOCK, or fewer in the last one."""
    return np.uint64(min(BLOCK, total - block * BLOCK))


@entry_point
def evaluate_blocks(
    first_block: int,
    last_block: int,
    points: Floats,
    levels: LevelArrays,
    table: Floats,
    decoder: DecoderArrays,
    values: Floats,
) -> None:
    """Write the network's values, (N,), for the points, (N, 3), of a range of blocks."""
    work = new_workspace(decoder)
    rows, weights = new_corners()
    unread = np.zeros(1, np.float32)
    chunk = min(CHUNK, last_block - first_block)
    unit, taint, encoded = new_chunk(chunk, decoder.input_weight.shape[1])
    for first in range(first_block, last_block, CHUNK):
        last = min(first + CHUNK, last_block)
        load_blocks(first, last, points, unit, taint)
        for level in range(levels.scale.shape[0]):
            encode_level(
                levels, level, table, unit, np.uint64(last - first), rows, weights, unread, encoded
            )
        decode_blocks(first, last, decoder, taint, encoded, work, values)


@entry_point
def evaluate_lattice_blocks(
    first_block: int, last_block: int, points: Floats, lattice: Floats, values: Floats
) -> None:
    """Write the coarse base's values, (N,), for the points, (N, 3), of a range of blocks."""
    unit = np.empty((3, BLOCK), np.float32)
    taint = np.empty(BLOCK, np.float32)
    block_values = np.empty(BLOCK, np.float32)
    for block in range(first_block, last_block):
        first = np.uint64(block * BLOCK)
        count = points_in_block(block, values.shape[0])
        load_block(points, first, count, unit, taint)
        interpolate_lattice(lattice, unit, block_values)
        for i in range(ZERO, count):
            values[first + i] = block_values[i] + taint[i]


@entry_point
def load_points(
    first_block: int, last_block: int, points: Floats, unit: Floats, taint: Floats
) -> None:
    """Bring a range of blocks of (N, 3) points into the unit cube, as `load_block` does.

    Parameters
    ----------
    unit, taint
        (blocks, 3, BLOCK) and (blocks, BLOCK) of all blocks; written.
    """
    load_blocks(first_block, last_block, points, unit[first_block:], taint[first_block:])


@entry_point
def encode_levels(
    first_level: int,
    stride: int,
    levels: LevelArrays,
    table: Floats,
    unit: Floats,
    encoded: Floats,
) -> None:
    """Encode all blocks by every `stride`-th level from the last; which ones, as `update_levels`.

    Parameters
    ----------
    unit, encoded
        (blocks, 3, BLOCK) unit coordinates, and (blocks, features, BLOCK); the latter is written.
    """
    rows, weights = new_corners()
    unread = np.zeros(1, np.float32)
    for level in range(levels.scale.shape[0] - 1 - first_level, -1, -stride):
        count = np.uint64(unit.shape[0])
        encode_level(levels, level, table, unit, count, rows, weights, unread, encoded)


@entry_point
def decode_points(
    first_block: int,
    last_block: int,
    decoder: DecoderArrays,
    taint: Floats,
    encoded: Floats,
    values: Floats,
) -> None:
    """Write the network's values, (N,), for a range of blocks of encoded points."""
    work = new_workspace(decoder)
    taint, encoded = taint[first_block:], encoded[first_block:]
    decode_blocks(first_block, last_block, decoder, taint, encoded, work, values)


@entry_point
def train_groups(
    first_group: int,
    last_group: int,
    blocks_per_group: int,
    targets: Floats,
    weights: Floats,
    decoder: DecoderArrays,
    taint: Floats,
    encoded: Floats,
    upstream: Floats,
    gradients: DecoderArrays,
    losses: NDArray[np.float64],
) -> None:
    """Decode a range of groups of encoded blocks, and go back to the encoded points.

    Parameters
    ----------
    targets, weights
        (N,) float32.
    taint, encoded
        (blocks, BLOCK) and (blocks, features, BLOCK), of `load_points` and `encode_levels`.
    upstream
        (levels, blocks, 2, BLOCK) gradient by the encoded points, as `update_levels` takes it;
        written.
    gradients
        A decoder whose arrays have one more, leading axis over the groups; written.
    losses
        (groups,) float64: each group's sum of weight * |value - target|; written.
    """
    work = new_workspace(decoder)
    upstream_values = np.empty(BLOCK, np.float32)
    total = targets.shape[0]
    gradient_factor = np.float32(1.0 / total)
    for group in range(first_group, last_group):
        gradient = group_gradient(gradients, group)
        losses[group] = 0.0
        last_block = min((group + 1) * blocks_per_group, encoded.shape[0])
        for block in range(group * blocks_per_group, last_block):
            first = np.uint64(block * BLOCK)
            count = points_in_block(block, total)
            go_forward(decoder, encoded[block], taint[block], work)
            losses[group] += weighted_absolute_error(
                work.values, targets, weights, first, count, gradient_factor, upstream_values
            )
            go_back(decoder, encoded[block], work, upstream_values, gradient, upstream, block)


@entry_point
def backward_groups(
    first_group: int,
    last_group: int,
    blocks_per_group: int,
    slopes: Floats,
    decoder: DecoderArrays,
    taint: Floats,
    encoded: Floats,
    upstream: Floats,
    gradients: DecoderArrays,
) -> None:
    """Do what `train_groups` does for any loss, from its gradient by the network's values, (N,).

    Points are decoded again, which costs less than keeping what the way back needs.
    """
    work = new_workspace(decoder)
    upstream_values = np.empty(BLOCK, np.float32)
    total = slopes.shape[0]
    for group in range(first_group, last_group):
        gradient = group_gradient(gradients, group)
        last_block = min((group + 1) * blocks_per_group, encoded.shape[0])
        for block in range(group * blocks_per_group, last_block):
            first = np.uint64(block * BLOCK)
            count = points_in_block(block, total)
            go_forward(decoder, encoded[block], taint[block], work)
            for i in range(ZERO, count):
                upstream_values[i] = slopes[first + i]
            for i in range(count, LANES):
                upstream_values[i] = np.float32(0)
            go_back(decoder, encoded[block], work, upstream_values, gradient, upstream, block)


@called
def load_blocks(
    first_block: int, last_block: int, points: Floats, unit: Floats, taint: Floats
) -> None:
    """Bring a range of blocks into the unit cube; `unit` and `taint` begin with its first block."""
    for block in range(first_block, last_block):
        first = np.uint64(block * BLOCK)
        count = points_in_block(block, points.shape[0])
        load_block(points, first, count, unit[block - first_block], taint[block - first_block])


@called
def decode_blocks(
    first_block: int,
    last_block: int,
    decoder: DecoderArrays,
    taint: Floats,
    encoded: Floats,
    work: Workspace,
    values: Floats,
) -> None:
    """Write the values of a range of blocks; `taint` and `encoded` begin with its first block."""
    for block in range(first_block, last_block):
        go_forward(decoder, encoded[block - first_block], taint[block - first_block], work)
        first = np.uint64(block * BLOCK)
        for i in range(ZERO, points_in_block(block, values.shape[0])):
            values[first + i] = work.values[i]


@called
def go_forward(decoder: DecoderArrays, encoded: Floats, taint: Floats, work: Workspace) -> None:
    """Decode a block, and keep in the workspace what the way back needs."""
    decode_block(decoder, encoded, work.hidden1, work.hidden2, work.values)
    for i in range(LANES):
        work.values[i] += taint[i]


@called
def go_back(
    decoder: DecoderArrays,
    encoded: Floats,
    work: Workspace,
    upstream_values: Floats,
    gradient: DecoderArrays,
    upstream: Floats,
    block: int,
) -> None:
    """Go back from the gradient by a block's values: add to the decoder's, write the encoding's."""
    decoder_gradient(decoder, encoded, work, upstream_values, gradient, work.encoded_gradient)
    for level in range(upstream.shape[0]):
        upstream[level, block] = work.encoded_gradient[2 * level : 2 * level + 2]


@called
def group_gradient(gradients: DecoderArrays, group: int) -> DecoderArrays:
    """Return one group's arrays, cleared."""
    gradients.input_weight[group] = 0
    gradients.input_bias[group] = 0
    gradients.middle_weight[group] = 0
    gradients.middle_bias[group] = 0
    gradients.output_weight[group] = 0
    gradients.output_bias[group] = 0
    return DecoderArrays(
        gradients.input_weight[group],
        gradients.input_bias[group],
        gradients.middle_weight[group],
        gradients.middle_bias[group],
        gradients.output_weight[group],
        gradients.output_bias[group],
    )


@entry_point
def update_levels(
    first_level: int,
    stride: int,
    levels: LevelArrays,
    unit: Floats,
    upstream: Floats,
    table: Floats,
    first: Shorts,
    second: Shorts,
    gradient: Floats,
    gradient_bits: Indices,
    adam: AdamStep,
    upcoming: Floats,
    encoded: Floats,
) -> None:
    """Scatter the gradient of every `stride`-th level from the last, and update its features.

    One thread owns a level, so nothing is shared and the order of the additions is fixed. The
    gradient of the level at hand stays in the processor's cache. The points of the next step are
    encoded while the level is in there.

    Parameters
    ----------
    first_level
        Which of the `stride` threads this is.
    unit, upstream
        (blocks, 3, BLOCK) unit coordinates, and the gradient that `train_groups` wrote.
    table, first, second
        All features, flat float32, and their moments, as `adam_sparse` takes them.
    gradient, gradient_bits
        (rows of the largest level, 2) float32 of zeros, and the same memory flat as uint32; zeros
        again afterwards.
    upcoming, encoded
        (blocks, 3, BLOCK) unit coordinates of the next step's points, or of none; and (blocks,
        features, BLOCK), of which these levels' features are written.
    """
    rows, weights = new_corners()
    unread = np.zeros(1, np.float32)
    flat_gradient = gradient.reshape(-1)
    features = table.reshape(-1, 2)
    for level in range(levels.scale.shape[0] - 1 - first_level, -1, -stride):
        scatter_level(levels, level, unit, upstream, rows, weights, gradient)
        adam_sparse(
            table,
            flat_gradient,
            gradient_bits,
            first,
            second,
            np.uint64(2 * levels.offset[level]),
            np.uint64(2 * levels.size[level]),
            adam,
        )
        count = np.uint64(upcoming.shape[0])
        encode_level(levels, level, features, upcoming, count, rows, weights, unread, encoded)


@entry_point
def table_gradient(levels: LevelArrays, unit: Floats, upstream: Floats, gradient: Floats) -> None:
    """Add up the gradient of the whole table, (rows, 2), which the caller has cleared."""
    rows, weights = new_corners()
    for level in range(levels.scale.shape[0]):
        first = levels.offset[level]
        last = first + levels.size[level]
        scatter_level(levels, level, unit, upstream, rows, weights, gradient[first:last])


@entry_point
def adam_dense(
    parameters: Floats, gradient: Floats, first: Floats, second: Floats, adam: AdamStep
) -> None:
    """Update every number of flat float32 arrays."""
    for k in range(ZERO, np.uint64(parameters.shape[0])):
        parameters[k], first[k], second[k] = adam_update(
            parameters[k], gradient[k], first[k], second[k], adam
        )


ENTRY_POINTS = (
    evaluate_blocks,
    evaluate_lattice_blocks,
    load_points,
    encode_levels,
    decode_points,
    train_groups,
    backward_groups,
    update_levels,
    table_gradient,
    adam_dense,
)
