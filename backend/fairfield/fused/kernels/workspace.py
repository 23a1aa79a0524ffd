"""Scratch memory of one block: a few tens of kilobytes that stay in the processor's cache."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..layout import DecoderArrays
from .options import BLOCK, Floats, Indices, called

_LINE = 16  # numbers in a 64-byte cache line


class Workspace(NamedTuple):
    """What the stages of a block leave for each other.

    For the encoding `rows` and `weights` (8, BLOCK), `taint` (BLOCK,); for the decoder the outputs
    of its layers, their gradients, all (features, BLOCK), and `values` (BLOCK,). `no_bias` is
    zeros, as many as the widest layer has outputs.
    """

    taint: Floats
    rows: Indices
    weights: Floats
    encoded: Floats
    hidden1: Floats
    hidden2: Floats
    values: Floats
    gradient1: Floats
    gradient2: Floats
    encoded_gradient: Floats
    no_bias: Floats


@called
def new_workspace(decoder: DecoderArrays) -> Workspace:
    """Allocate the scratch memory that a decoder of this shape needs."""
    width, features = decoder.input_weight.shape
    encoded = new_features(features)
    encoded[:] = 0
    return Workspace(
        new_features(1)[0],
        *new_corners(),
        encoded,
        new_features(width),
        new_features(width),
        new_features(1)[0],
        new_features(width),
        new_features(width),
        new_features(features),
        np.zeros(max(width, features), np.float32),
    )


@called
def new_corners() -> tuple[Indices, Floats]:
    """Allocate the rows and the weights of a block's corners, (8, BLOCK) each."""
    return new_features(8).view(np.uint32), new_features(8)


@called
def new_features(count: int) -> Floats:
    """Allocate (count, BLOCK) numbers that start at a cache line.

    A register of AVX-512 is as long as a line: from any other start, every load and store of one
    touches two, and finding the corners takes a third longer.
    """
    memory = np.empty(count * BLOCK + _LINE - 1, np.float32)
    first = -(memory.ctypes.data // memory.itemsize) % _LINE
    return memory[first : first + count * BLOCK].reshape(count, BLOCK)
