"""Sinusoidal representation networks (Sitzmann et al. 2020): no grid, smooth everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .ranges import check_ranges

FREQUENCY = 30.0
"""Of the sines: each layer is sin(30 (W x + b))."""


@dataclass(frozen=True)
class SirenConfig:
    """Shape of the network without its linear output layer, which is the decoder.

    Attributes
    ----------
    dimension
        Of the points: 2 or 3.
    width
        Of every layer.
    hidden_layers
        Number of layers from `width` to `width`, after the one from the points.
    """

    dimension: int = 3
    width: int = 256
    hidden_layers: int = 3

    def __post_init__(self) -> None:
        limits = {"dimension": (2, 3), "width": (1, 1024), "hidden_layers": (0, 16)}
        check_ranges("SIREN", self, limits)


class Siren(nn.Module):
    """Turns (N, d) points in [-1, 1]^d into the (N, width) values of its last layer of sines."""

    def __init__(self, config: SirenConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.dimension] + [config.width] * (config.hidden_layers + 1)
        first, *hidden = layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
        nn.init.uniform_(first.weight, -1 / config.dimension, 1 / config.dimension)
        for layer in hidden:
            initialize_after_sines(layer)
        self.layers = nn.ModuleList(layers)

    def forward(self, points: Tensor) -> Tensor:  # [N, d] -> [N, width]
        features = points
        for layer in self.layers:
            features = torch.sin(FREQUENCY * layer(features))
        return features


def initialize_after_sines(layer: nn.Linear) -> None:
    """Draw weights that keep the spread of values that come from sines."""
    bound = (6 / layer.in_features) ** 0.5 / FREQUENCY
    nn.init.uniform_(layer.weight, -bound, bound)
