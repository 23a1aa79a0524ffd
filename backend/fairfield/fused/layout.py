"""A field's parameters as the arrays that the kernels take: shapes, padding, and the way back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..fields.hash_grid import GridLevel, HashGrid
from ..fields.neural_field import NeuralField

TILE = 4
"""The kernels handle features in groups of this many; the encoding is padded with zeros to it."""

PADDING = 32
"""Samples of a disk are padded to a multiple of this with samples without weight: what is left
over from four registers of AVX-512 would be added one by one, which takes as long as all others."""


ENOUGH = 0.4
"""Least sum of the weights of blended patches, of which one is 1 in the middle of a patch."""


class LevelArrays(NamedTuple):
    """The grid's levels, one entry each; see `GridLevel`."""

    scale: NDArray[np.float32]
    resolution: NDArray[np.uint32]
    dense: NDArray[np.bool_]
    offset: NDArray[np.int64]
    size: NDArray[np.uint32]


class DecoderArrays(NamedTuple):
    """The decoder's weights (out, in) and biases (out,), float32.

    Columns of `input_weight` beyond the encoding's width are padding. A decoder with one hidden
    layer has no middle: (0, 0) and (0,). There is one channel: (in,) and (1,). For gradients of
    several groups every array has one more, leading axis.
    """

    input_weight: NDArray[np.float32]
    input_bias: NDArray[np.float32]
    middle_weight: NDArray[np.float32]
    middle_bias: NDArray[np.float32]
    output_weight: NDArray[np.float32]
    output_bias: NDArray[np.float32]


class DiskArrays(NamedTuple):
    """A design about a tangent plane in space, float64; see `TangentStencil`.

    `weights` and `lower_weights` (8, K), `directions` (4, K), where K is k padded to a multiple of
    `PADDING`; `far_places` (k, 2) the places of the samples far aside, and 0 for the others. The
    first `in_plane` samples lie in the plane.
    """

    weights: NDArray[np.float64]
    lower_weights: NDArray[np.float64]
    directions: NDArray[np.float64]
    far_places: NDArray[np.float64]
    in_plane: int
    least_rise: float


class PatchArrays(NamedTuple):
    """Distances near the middles of M disks, from the polynomials over them, float64.

    Attributes
    ----------
    frame
        (M, 3, 3) orthonormal: the axes of the disk, then its normal.
    polynomial
        (M, 15) coefficients of the straightened distance less its value in the middle, for places
        in units of the scale; see `fairfield.operators.tangent.TangentPatch`.
    middle, curvature, slope, scale
        (M,), (M, 2, 2), (M,) and (M,): the value in the middle, the normal curvature, the slope
        that values were divided by, and the scale.
    least_rise
        Slope along the normal below which what a disk tells is no distance.
    """

    frame: NDArray[np.float64]
    polynomial: NDArray[np.float64]
    middle: NDArray[np.float64]
    curvature: NDArray[np.float64]
    slope: NDArray[np.float64]
    scale: NDArray[np.float64]
    least_rise: float

    def rows(self, rows: NDArray[np.intp]) -> PatchArrays:
        """A copy of some of them."""
        return PatchArrays(
            self.frame[rows],
            self.polynomial[rows],
            self.middle[rows],
            self.curvature[rows],
            self.slope[rows],
            self.scale[rows],
            self.least_rise,
        )

    def replace(self, rows: NDArray[np.intp], others: PatchArrays) -> None:
        """Put others in the place of some."""
        for table, mended in zip(self[:-1], others[:-1], strict=True):
            table[rows] = mended


class BlendedPatches(NamedTuple):
    """Patches that are blended, in units of the cube.

    Attributes
    ----------
    middle, radius
        (M, 3) and (M,): where each is, and how far from there it counts.
    offset
        (M,) what is taken off its distances.
    heights, bends
        What tells distances, and what tells Hessians.
    is_bend_apart
        (M,) whether those two differ.
    """

    middle: NDArray[np.float64]
    radius: NDArray[np.float64]
    offset: NDArray[np.float64]
    heights: PatchArrays
    bends: PatchArrays
    is_bend_apart: NDArray[np.bool_]


class BlendedJets(NamedTuple):
    """What patches tell about N points; all but the first is meaningless where they tell nothing.

    Attributes
    ----------
    answered
        (N,) bool.
    distance, gradient, hessian, scale
        (N,), (N, 3), (N, 3, 3) and (N,) float64.
    """

    answered: NDArray[np.bool_]
    distance: NDArray[np.float64]
    gradient: NDArray[np.float64]
    hessian: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def empty(cls, count: int) -> BlendedJets:
        """Room for so many points."""
        return cls(
            np.empty(count, np.bool_),
            np.empty(count),
            np.empty((count, 3)),
            np.empty((count, 3, 3)),
            np.empty(count),
        )


class AdamStep(NamedTuple):
    """The constants of one Adam update, float32.

    `rate` is the learning rate over 1 - beta1^t, `root_factor` is 1 / sqrt(1 - beta2^t), and
    `rest1`, `rest2` are 1 - beta1 and 1 - beta2.
    """

    rate: np.float32
    root_factor: np.float32
    beta1: np.float32
    rest1: np.float32
    beta2: np.float32
    rest2: np.float32
    epsilon: np.float32

    @classmethod
    def at(cls, step: int, rate: float, betas: tuple[float, float], epsilon: float) -> AdamStep:
        """For the given step, counted from 1."""
        beta1, beta2 = betas
        constants = (
            rate / (1 - beta1**step),
            (1 - beta2**step) ** -0.5,
            beta1,
            1 - beta1,
            beta2,
            1 - beta2,
            epsilon,
        )
        return cls(*(np.float32(constant) for constant in constants))


def level_arrays(levels: list[GridLevel]) -> LevelArrays:
    """From the levels of a hash grid."""
    return LevelArrays(
        np.array([level.scale for level in levels], np.float32),
        np.array([level.resolution for level in levels], np.uint32),
        np.array([level.dense for level in levels], np.bool_),
        np.array([level.offset for level in levels], np.int64),
        np.array([level.size for level in levels], np.uint32),
    )


def hash_grid(module: NeuralField) -> HashGrid:
    """The encoding of a hash grid or dense grid."""
    assert isinstance(module.encoding, HashGrid)
    return module.encoding


def table_array(module: NeuralField) -> NDArray[np.float32]:
    """The (rows, 2) table of features, sharing the module's memory."""
    return hash_grid(module).table.detach().numpy()


def linear_layers(module: NeuralField) -> dict[str, nn.Linear]:
    """The decoder's layers by the name that their parameters have in the module, first to last."""
    return {
        f"decoder.layers.{name}": layer
        for name, layer in module.decoder.layers.named_children()
        if isinstance(layer, nn.Linear)
    }


def decoder_arrays(module: NeuralField) -> DecoderArrays:
    """The decoder's parameters: in the module's memory, but a padded copy of `input_weight`."""
    weights = [layer.weight.detach().numpy() for layer in linear_layers(module).values()]
    biases = [layer.bias.detach().numpy() for layer in linear_layers(module).values()]
    deep = len(weights) == 3
    padding = -weights[0].shape[1] % TILE
    return DecoderArrays(
        np.pad(weights[0], ((0, 0), (0, padding))) if padding else weights[0],
        biases[0],
        weights[1] if deep else np.zeros((0, 0), np.float32),
        biases[1] if deep else np.zeros(0, np.float32),
        weights[-1][0],
        biases[-1],
    )


def store_input_weight(module: NeuralField, decoder: DecoderArrays) -> None:
    """Copy `input_weight` back to the module it came from, unless it shares its memory."""
    weight = next(iter(linear_layers(module).values())).weight.detach().numpy()
    if weight.shape != decoder.input_weight.shape:
        weight[:] = decoder.input_weight[:, : weight.shape[1]]


def named_gradients(module: NeuralField, decoder: DecoderArrays) -> dict[str, NDArray[np.float32]]:
    """A decoder's gradient by the names of the module's parameters, in their shapes."""
    weights = [decoder.input_weight, decoder.middle_weight, decoder.output_weight[None]]
    biases = [decoder.input_bias, decoder.middle_bias, decoder.output_bias]
    layers = linear_layers(module)
    used = [0, 2] if len(layers) == 2 else [0, 1, 2]
    gradients = {}
    for (name, layer), index in zip(layers.items(), used, strict=True):
        gradients[f"{name}.weight"] = weights[index][:, : layer.in_features]
        gradients[f"{name}.bias"] = biases[index]
    return gradients


def zeros_like(decoder: DecoderArrays, groups: int | None = None) -> DecoderArrays:
    """Zeros in the shapes of a decoder, with a leading axis over groups where asked for."""
    lead = () if groups is None else (groups,)
    return DecoderArrays(*(np.zeros(lead + array.shape, np.float32) for array in decoder))


MONOMIALS = 15
"""In two variables, up to degree four."""


class Disks(NamedTuple):
    """M disks above which the heights of vertices are looked at.

    Attributes
    ----------
    middle, radius
        (M, 3) and (M,).
    frame
        (M, 3, 3) orthonormal: the axes of the disk, then its normal.
    bend
        (M, 2, 2) second derivatives of the surface's height along the axes, nearly, in 1 / radius.
    """

    middle: NDArray[np.float64]
    radius: NDArray[np.float64]
    frame: NDArray[np.float64]
    bend: NDArray[np.float64]


class CellArrays(NamedTuple):
    """V vertices sorted into the cells of a lattice over the cube.

    Attributes
    ----------
    vertices, normals
        (V, 3) each, in the order of the cells.
    start
        (along^3 + 1,) int64: where each cell's begin.
    along
        Cells along an axis.
    side
        Of a cell.
    """

    vertices: NDArray[np.float64]
    normals: NDArray[np.float64]
    start: NDArray[np.int64]
    along: int
    side: float


class HeightSums(NamedTuple):
    """Sums over the vertices above M disks, of places and heights in radii.

    Attributes
    ----------
    gram, moments
        (M, 15, 15) products of the monomials, and (M, 15) of them and the heights.
    square, members
        (M,) of the squared heights, and (M,) int64 how many vertices there are.
    """

    gram: NDArray[np.float64]
    moments: NDArray[np.float64]
    square: NDArray[np.float64]
    members: NDArray[np.int64]
