"""Adam (Kingma and Ba 2015): the update of one number, of a small array, and of a sparse one."""

from __future__ import annotations

import math

import numpy as np

from ..layout import AdamStep
from .options import ZERO, Floats, Index, Indices, Shorts, called, inlined

_RUN = np.uint64(16)  # numbers in a 64-byte cache line
_NOTHING = np.uint32(0)
_FIRST_SHIFT = np.uint32(16)
_SECOND_SHIFT = np.uint32(15)


@inlined
def adam_update(
    parameter: np.float32,
    gradient: np.float32,
    first: np.float32,
    second: np.float32,
    adam: AdamStep,
) -> tuple[np.float32, np.float32, np.float32]:
    """Return the new parameter, first and second moment. All float32; `adam` is an `AdamStep`."""
    first = adam.beta1 * first + adam.rest1 * gradient
    second = adam.beta2 * second + adam.rest2 * gradient * gradient
    root = math.sqrt(second) * adam.root_factor + adam.epsilon
    return parameter - adam.rate * first / root, first, second


@inlined
def shortened(value: np.float32, shift: np.uint32) -> np.uint16:
    """Round a float32 to 16 of its bits: those after the first 16 - shift, which must be zero."""
    half = np.uint32(np.uint32(1) << np.uint32(shift - np.uint32(1)))
    return np.uint16(np.uint32(np.float32(value).view(np.uint32) + half) >> shift)


@inlined
def lengthened(short: np.uint16, shift: np.uint32) -> np.float32:
    """Return the float32 that `shortened` made shorter."""
    return np.uint32(np.uint32(short) << shift).view(np.float32)


@called
def adam_sparse(
    parameters: Floats,
    gradient: Floats,
    gradient_bits: Indices,
    first: Shorts,
    second: Shorts,
    start: Index,
    count: Index,
    adam: AdamStep,
) -> None:
    """Update parameters start to start + count where the gradient is not zero; clear the gradient.

    A number whose gradient is exactly zero keeps its moments too. The whole cache lines without a
    gradient, the larger part of a fine level, cost one read.

    Moments of 16 bits make a third less of memory to go through, which is what a step waits for
    where threads share a memory, or a table with its moments is larger than the caches. Rounding
    moves a step by some thousandths of its length, and by up to a tenth where the gradient is
    steady: there the second moment stops when its next change is less than half a last bit. With a
    decay slower than 0.99 that would be far from its mean.

    Parameters
    ----------
    parameters
        Flat float32.
    first, second
        Flat uint16: the first moments' upper 16 bits (bfloat16), and the second ones' upper 16
        after the sign, which is never set.
    gradient, gradient_bits
        Flat, of at least `count`, a multiple of 16; the same memory as float32 and as uint32.
    """
    zero = np.float32(0)
    for run in range(ZERO, count, _RUN):
        touched = _NOTHING
        for k in range(run, run + _RUN):
            touched |= gradient_bits[k]
        if touched == _NOTHING:
            continue
        for k in range(run, run + _RUN):
            at = start + k
            slope = gradient[k]
            old, old_first, old_second = parameters[at], first[at], second[at]
            new, new_first, new_second = adam_update(
                old,
                slope,
                lengthened(old_first, _FIRST_SHIFT),
                lengthened(old_second, _SECOND_SHIFT),
                adam,
            )
            parameters[at] = old if slope == zero else new
            first[at] = old_first if slope == zero else shortened(new_first, _FIRST_SHIFT)
            second[at] = old_second if slope == zero else shortened(new_second, _SECOND_SHIFT)
            gradient[k] = zero
