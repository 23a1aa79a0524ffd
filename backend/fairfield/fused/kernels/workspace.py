"""Scratch memory of one block: a few tens of kilobytes that stay in the processor's cache."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..layout import DecoderArrays
from .options import BLOCK, Floats, Indices, inlined


class Workspace(NamedTuple):
    """What the stages of a block leave for each other.

    For the encoding `rows` and `weights` (2, 8, BLOCK), `taint` (BLOCK,); for the decoder the
    outputs of its layers, their gradients, all (features, BLOCK), and `values` (BLOCK,). `no_bias`
    is zeros, as many as the widest layer has outputs.
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


@inlined
def new_workspace(decoder: DecoderArrays) -> Workspace:
    """Allocate the scratch memory that a decoder of this shape needs."""
    width, features = decoder.input_weight.shape
    return Workspace(
        np.empty(BLOCK, np.float32),
        np.empty((2, 8, BLOCK), np.uint32),
        np.empty((2, 8, BLOCK), np.float32),
        np.zeros((features, BLOCK), np.float32),
        np.empty((width, BLOCK), np.float32),
        np.empty((width, BLOCK), np.float32),
        np.empty(BLOCK, np.float32),
        np.empty((width, BLOCK), np.float32),
        np.empty((width, BLOCK), np.float32),
        np.empty((features, BLOCK), np.float32),
        np.zeros(max(width, features), np.float32),
    )
