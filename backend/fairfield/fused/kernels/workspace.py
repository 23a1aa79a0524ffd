"""Scratch memory of a thread: one block's in the first-level cache, a chunk's in the second."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..layout import DecoderArrays
from .options import BLOCK, Floats, Indices, called

_LINE = 16  # numbers in a 64-byte cache line


class Workspace(NamedTuple):
    """What the stages of a block leave for each other.

    The outputs of the decoder's layers, their gradients, all (features, BLOCK), and `values`
    (BLOCK,). `no_bias` is zeros, as many as the widest layer has outputs.
    """

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
    return Workspace(
        new_features(width),
        new_features(width),
        new_features(1)[0],
        new_features(width),
        new_features(width),
        new_features(features),
        np.zeros(max(width, features), np.float32),
    )


@called
def new_chunk(blocks: int, features: int) -> tuple[Floats, Floats, Floats]:
    """Allocate unit coordinates, (blocks, 3, BLOCK), taint, (blocks, BLOCK), and encoded points,
    (blocks, features, BLOCK), zeros as the padding stays."""
    encoded = new_features(blocks * features)
    encoded[:] = 0
    return (
        new_features(3 * blocks).reshape(blocks, 3, BLOCK),
        new_features(blocks),
        encoded.reshape(blocks, features, BLOCK),
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
