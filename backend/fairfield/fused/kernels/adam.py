"""Adam (Kingma and Ba 2015): the update of one number, of a small array, and of a sparse one."""

from __future__ import annotations

import math

import numpy as np

from ..layout import AdamStep
from .options import ZERO, Floats, Index, Indices, called, inlined

_RUN = np.uint64(16)  # numbers in a 64-byte cache line
_NOTHING = np.uint32(0)


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


@called
def adam_sparse(
    parameters: Floats,
    gradient: Floats,
    gradient_bits: Indices,
    first: Floats,
    second: Floats,
    start: Index,
    count: Index,
    adam: AdamStep,
) -> None:
    """Update parameters start to start + count where the gradient is not zero; clear the gradient.

    A number whose gradient is exactly zero keeps its moments too. The whole cache lines without a
    gradient, the larger part of a fine level, cost one read.

    Parameters
    ----------
    parameters, first, second
        Flat float32 arrays.
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
            new, new_first, new_second = adam_update(old, slope, old_first, old_second, adam)
            parameters[at] = old if slope == zero else new
            first[at] = old_first if slope == zero else new_first
            second[at] = old_second if slope == zero else new_second
            gradient[k] = zero
