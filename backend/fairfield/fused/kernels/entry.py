"""The kernels that Python calls. Each works on a share of the blocks or levels, without the GIL.

Arrays and named tuples are those of `fairfield.fused.layout`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..layout import AdamStep, DecoderArrays, LevelArrays
from .adam import adam_sparse, adam_update
from .decoding import decode_block, decoder_gradient, weighted_absolute_error
from .encoding import encode_blocks, load_block, scatter_level
from .lattice import interpolate_lattice
from .options import BLOCK, CHUNK, LANES, ZERO, Floats, Index, Indices, Shorts, called, entry_point
from .workspace import Workspace, new_corners, new_features, new_workspace


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
    chunk = min(CHUNK, last_block - first_block)
    work = new_workspace(decoder, chunk)
    unit = new_features(3 * chunk).reshape(chunk, 3, BLOCK)
    for first_of_chunk in range(first_block, last_block, CHUNK):
        last_of_chunk = min(first_of_chunk + CHUNK, last_block)
        encode_chunk(points, first_of_chunk, last_of_chunk, levels, table, unit, work)
        for block in range(first_of_chunk, last_of_chunk):
            go_forward(decoder, work, block - first_of_chunk)
            first = np.uint64(block * BLOCK)
            for i in range(ZERO, points_in_block(block, values.shape[0])):
                values[first + i] = work.values[i]


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
def train_groups(
    first_group: int,
    last_group: int,
    blocks_per_group: int,
    points: Floats,
    targets: Floats,
    weights: Floats,
    levels: LevelArrays,
    table: Floats,
    decoder: DecoderArrays,
    unit: Floats,
    upstream: Floats,
    gradients: DecoderArrays,
    losses: NDArray[np.float64],
) -> None:
    """Run a range of groups of blocks forward and backward, up to the encoded points.

    Parameters
    ----------
    points, targets, weights
        (N, 3), (N,), (N,) float32.
    unit, upstream
        (blocks, 3, BLOCK) unit coordinates and (levels, blocks, 2, BLOCK) gradient by the encoded
        points, as `update_levels` takes them; written.
    gradients
        A decoder whose arrays have one more, leading axis over the groups; written.
    losses
        (groups,) float64: each group's sum of weight * |value - target|; written.
    """
    total = targets.shape[0]
    gradient_factor = np.float32(1.0 / total)
    losses[first_group:last_group] = 0.0
    first_block = first_group * blocks_per_group
    last_block = min(last_group * blocks_per_group, unit.shape[0])
    work = new_workspace(decoder, min(CHUNK, last_block - first_block))
    upstream_values = np.empty(BLOCK, np.float32)
    for first_of_chunk in range(first_block, last_block, CHUNK):
        last_of_chunk = min(first_of_chunk + CHUNK, last_block)
        unit_of_chunk = unit[first_of_chunk:last_of_chunk]
        encode_chunk(points, first_of_chunk, last_of_chunk, levels, table, unit_of_chunk, work)
        for block in range(first_of_chunk, last_of_chunk):
            go_forward(decoder, work, block - first_of_chunk)
            losses[block // blocks_per_group] += weighted_absolute_error(
                work.values,
                targets,
                weights,
                np.uint64(block * BLOCK),
                points_in_block(block, total),
                gradient_factor,
                upstream_values,
            )
            encoded = work.encoded[block - first_of_chunk]
            gradient = group_gradient(gradients, block, blocks_per_group)
            go_back(decoder, work, encoded, upstream_values, gradient, upstream, block)


@entry_point
def backward_groups(
    first_group: int,
    last_group: int,
    blocks_per_group: int,
    points: Floats,
    slopes: Floats,
    levels: LevelArrays,
    table: Floats,
    decoder: DecoderArrays,
    unit: Floats,
    upstream: Floats,
    gradients: DecoderArrays,
) -> None:
    """Do what `train_groups` does for any loss, from its gradient by the network's values, (N,).

    The way forward is taken again, which costs less than keeping its results.
    """
    first_block = first_group * blocks_per_group
    last_block = min(last_group * blocks_per_group, unit.shape[0])
    work = new_workspace(decoder, min(CHUNK, last_block - first_block))
    upstream_values = np.empty(BLOCK, np.float32)
    for first_of_chunk in range(first_block, last_block, CHUNK):
        last_of_chunk = min(first_of_chunk + CHUNK, last_block)
        unit_of_chunk = unit[first_of_chunk:last_of_chunk]
        encode_chunk(points, first_of_chunk, last_of_chunk, levels, table, unit_of_chunk, work)
        for block in range(first_of_chunk, last_of_chunk):
            first = np.uint64(block * BLOCK)
            count = points_in_block(block, slopes.shape[0])
            go_forward(decoder, work, block - first_of_chunk)
            for i in range(ZERO, count):
                upstream_values[i] = slopes[first + i]
            for i in range(count, LANES):
                upstream_values[i] = np.float32(0)
            encoded = work.encoded[block - first_of_chunk]
            gradient = group_gradient(gradients, block, blocks_per_group)
            go_back(decoder, work, encoded, upstream_values, gradient, upstream, block)


@called
def encode_chunk(
    points: Floats,
    first_block: int,
    last_block: int,
    levels: LevelArrays,
    table: Floats,
    unit: Floats,
    work: Workspace,
) -> None:
    """Encode up to CHUNK blocks; write their unit coordinates, (blocks, 3, BLOCK)."""
    blocks = np.uint64(last_block - first_block)
    for block in range(ZERO, blocks):
        first = np.uint64(first_block * BLOCK) + block * LANES
        count = min(LANES, np.uint64(points.shape[0]) - first)
        load_block(points, first, count, unit[block], work.taint[block])
    work.unread[0] = encode_blocks(
        levels, table, unit, blocks, work.rows, work.weights, work.encoded
    )


@called
def go_forward(decoder: DecoderArrays, work: Workspace, place: int) -> None:
    """Decode the block at a place of the encoded chunk; keep what the way back needs."""
    decode_block(decoder, work.encoded[place], work.hidden1, work.hidden2, work.values)
    for i in range(LANES):
        work.values[i] += work.taint[place, i]


@called
def go_back(
    decoder: DecoderArrays,
    work: Workspace,
    encoded: Floats,
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
def group_gradient(gradients: DecoderArrays, block: int, blocks_per_group: int) -> DecoderArrays:
    """Return the arrays of a block's group, cleared for the group's first block."""
    group = block // blocks_per_group
    if block % blocks_per_group == 0:
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
) -> None:
    """Scatter the gradient of every `stride`-th level from the last, and update its features.

    One thread owns a level, so nothing is shared and the order of the additions is fixed. The
    gradient of the level at hand stays in the processor's cache.

    Parameters
    ----------
    first_level
        Which of the `stride` threads this is.
    unit, upstream
        As `train_groups` wrote them.
    table, first, second
        All features, flat float32, and their moments, as `adam_sparse` takes them.
    gradient, gradient_bits
        (rows of the largest level, 2) float32 of zeros, and the same memory flat as uint32; zeros
        again afterwards.
    """
    rows, weights = new_corners()
    flat_gradient = gradient.reshape(-1)
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
    train_groups,
    backward_groups,
    update_levels,
    table_gradient,
    adam_dense,
)
