"""Scratch memory of a thread: one block's in the first-level cache, a chunk's in the second."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..layout import DecoderArrays
from .options import BLOCK, Floats, Indices, called

_LINE = 16  # numbers in a 64-byte cache line


class Workspace(NamedTuple):
    """What the stages leave for each other.

    Of a chunk `taint` (chunk, BLOCK) and `encoded` (chunk, features, BLOCK). Of a block `rows` and
    `weights` (8, BLOCK) for the encoding; for the decoder the outputs of its layers, their
    gradients, all (features, BLOCK), and `values` (BLOCK,). `no_bias` is zeros, as many as the
    widest layer has outputs; `unread` (1,) is for what is computed for its side effects alone.
    """

    taint: Floats
    encoded: Floats
    unread: Floats
    rows: Indices
    weights: Floats
    hidden1: Floats
    hidden2: Floats
    values: Floats
    gradient1: Floats
    gradient2: Floats
    encoded_gradient: Floats
    no_bias: Floats


@called
def new_workspace(decoder: DecoderArrays, chunk: int) -> Workspace:
    """Allocate the scratch memory that a decoder of this shape needs, for chunks of so many blocks."""
    width, features = decoder.input_weight.shape
    encoded = new_features(chunk * features)
    encoded[:] = 0
    return Workspace(
        new_features(chunk),
        encoded.reshape(chunk, features, BLOCK),
        np.zeros(1, np.float32),
        *new_corners(),
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
