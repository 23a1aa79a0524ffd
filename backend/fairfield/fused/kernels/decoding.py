"""The decoder on one block of points: forward, loss, and backward.

Layers work on (features, BLOCK) arrays in tiles of four outputs by four inputs, so that sixteen
weights stay in registers while the innermost loop runs over the points. All numbers of features
are multiples of four; `fairfield.fused.layout` pads them.
"""

from __future__ import annotations

import numpy as np

from ..layout import DecoderArrays
from .operations import apply_layer
from .options import FOUR, LANES, ONE, THREE, TWO, ZERO, Floats, Index, called
from .workspace import Workspace


@called
def add_layer_gradient(
    inputs: Floats, upstream: Floats, weight_gradient: Floats, bias_gradient: Floats
) -> None:
    """Add a layer's gradient: upstream @ inputs.T to (J, K), and the sums of upstream to (J,).

    inputs (K, BLOCK), upstream (J, BLOCK).
    """
    zero = np.float32(0)
    for j in range(ZERO, np.uint64(weight_gradient.shape[0]), FOUR):
        j1, j2, j3 = j + ONE, j + TWO, j + THREE
        for k in range(ZERO, np.uint64(weight_gradient.shape[1]), FOUR):
            k1, k2, k3 = k + ONE, k + TWO, k + THREE
            s00 = s01 = s02 = s03 = zero
            s10 = s11 = s12 = s13 = zero
            s20 = s21 = s22 = s23 = zero
            s30 = s31 = s32 = s33 = zero
            for i in range(LANES):
                x0, x1, x2, x3 = inputs[k, i], inputs[k1, i], inputs[k2, i], inputs[k3, i]
                d0, d1, d2, d3 = upstream[j, i], upstream[j1, i], upstream[j2, i], upstream[j3, i]
                s00 += d0 * x0
                s01 += d0 * x1
                s02 += d0 * x2
                s03 += d0 * x3
                s10 += d1 * x0
                s11 += d1 * x1
                s12 += d1 * x2
                s13 += d1 * x3
                s20 += d2 * x0
                s21 += d2 * x1
                s22 += d2 * x2
                s23 += d2 * x3
                s30 += d3 * x0
                s31 += d3 * x1
                s32 += d3 * x2
                s33 += d3 * x3
            weight_gradient[j, k] += s00
            weight_gradient[j, k1] += s01
            weight_gradient[j, k2] += s02
            weight_gradient[j, k3] += s03
            weight_gradient[j1, k] += s10
            weight_gradient[j1, k1] += s11
            weight_gradient[j1, k2] += s12
            weight_gradient[j1, k3] += s13
            weight_gradient[j2, k] += s20
            weight_gradient[j2, k1] += s21
            weight_gradient[j2, k2] += s22
            weight_gradient[j2, k3] += s23
            weight_gradient[j3, k] += s30
            weight_gradient[j3, k1] += s31
            weight_gradient[j3, k2] += s32
            weight_gradient[j3, k3] += s33
    for j in range(ZERO, np.uint64(weight_gradient.shape[0])):
        total = zero
        for i in range(LANES):
            total += upstream[j, i]
        bias_gradient[j] += total


@called
def mask_inactive(hidden: Floats, gradient: Floats) -> None:
    """Clear the gradient, (J, BLOCK), where the ReLU's output was not positive."""
    zero = np.float32(0)
    for j in range(ZERO, np.uint64(hidden.shape[0])):
        for i in range(LANES):
            gradient[j, i] = gradient[j, i] if hidden[j, i] > zero else zero


@called
def apply_output(weight: Floats, bias: Floats, hidden: Floats, values: Floats) -> None:
    """values[i] = weight . hidden[:, i] + bias, for one channel."""
    for i in range(LANES):
        values[i] = bias[0]
    for k in range(ZERO, np.uint64(weight.shape[0]), FOUR):
        k1, k2, k3 = k + ONE, k + TWO, k + THREE
        w0, w1, w2, w3 = weight[k], weight[k1], weight[k2], weight[k3]
        for i in range(LANES):
            values[i] += (
                w0 * hidden[k, i] + w1 * hidden[k1, i] + w2 * hidden[k2, i] + w3 * hidden[k3, i]
            )


@called
def decode_block(
    decoder: DecoderArrays, encoded: Floats, hidden1: Floats, hidden2: Floats, values: Floats
) -> None:
    """Values (BLOCK,) from features (K, BLOCK); the hidden layers' outputs are kept.

    A decoder with one hidden layer has a `middle_weight` of no rows, and leaves `hidden2` alone.
    """
    apply_layer(decoder.input_weight, decoder.input_bias, encoded, hidden1, True)
    if decoder.middle_weight.shape[0] == 0:
        apply_output(decoder.output_weight, decoder.output_bias, hidden1, values)
    else:
        apply_layer(decoder.middle_weight, decoder.middle_bias, hidden1, hidden2, True)
        apply_output(decoder.output_weight, decoder.output_bias, hidden2, values)


@called
def weighted_absolute_error(
    values: Floats,
    targets: Floats,
    weights: Floats,
    first: Index,
    count: Index,
    gradient_factor: np.float32,
    gradient: Floats,
) -> np.float32:
    """Return the sum of weight * |value - target| over a block, and write its gradient.

    `gradient` (BLOCK,) is by the values, times `gradient_factor`; 0 where the error is 0, and in
    the block's padding.
    """
    zero = np.float32(0)
    total = zero
    for i in range(ZERO, count):
        error = values[i] - targets[first + i]
        slope = weights[first + i] * gradient_factor
        total += weights[first + i] * abs(error)
        rising = slope if error > zero else zero
        # Written so that an error that is NaN gives a gradient that is NaN.
        gradient[i] = rising if error >= zero else -slope + zero * error
    for i in range(count, LANES):
        gradient[i] = zero
    return total


@called
def output_gradient(
    hidden: Floats,
    upstream: Floats,
    output_weight: Floats,
    weight_gradient: Floats,
    bias_gradient: Floats,
    hidden_gradient: Floats,
) -> None:
    """Go back through the output layer and the ReLU before it; add to the layer's own gradient."""
    zero = np.float32(0)
    total = zero
    for i in range(LANES):
        total += upstream[i]
    bias_gradient[0] += total
    for j in range(ZERO, np.uint64(hidden.shape[0])):
        weight = output_weight[j]
        total = zero
        for i in range(LANES):
            value = hidden[j, i]
            total += value * upstream[i]
            hidden_gradient[j, i] = weight * upstream[i] if value > zero else zero
        weight_gradient[j] += total


@called
def decoder_gradient(
    decoder: DecoderArrays,
    encoded: Floats,
    block: Workspace,
    upstream: Floats,
    gradient: DecoderArrays,
    encoded_gradient: Floats,
) -> None:
    """Go back through the decoder from the gradient by its values, (BLOCK,).

    Parameters
    ----------
    encoded
        (K, BLOCK) features that went in.
    block
        Workspace, as `decode_block` left it.
    gradient
        The decoder's gradient, added to.
    encoded_gradient
        (K, BLOCK) gradient by the features; written.
    """
    if decoder.middle_weight.shape[0] == 0:
        output_gradient(
            block.hidden1,
            upstream,
            decoder.output_weight,
            gradient.output_weight,
            gradient.output_bias,
            block.gradient1,
        )
    else:
        output_gradient(
            block.hidden2,
            upstream,
            decoder.output_weight,
            gradient.output_weight,
            gradient.output_bias,
            block.gradient2,
        )
        add_layer_gradient(
            block.hidden1, block.gradient2, gradient.middle_weight, gradient.middle_bias
        )
        apply_layer(decoder.middle_weight.T, block.no_bias, block.gradient2, block.gradient1, False)
        mask_inactive(block.hidden1, block.gradient1)
    add_layer_gradient(encoded, block.gradient1, gradient.input_weight, gradient.input_bias)
    apply_layer(decoder.input_weight.T, block.no_bias, block.gradient1, encoded_gradient, False)
