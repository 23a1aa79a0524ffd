"""The small network that turns encoded points into values."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from .ranges import check_ranges


@dataclass(frozen=True)
class DecoderConfig:
    """A multilayer perceptron with ReLU: `hidden_layers` of `width`, then `channels` outputs.

    Without hidden layers it is linear.
    """

    width: int = 32
    hidden_layers: int = 1
    channels: int = 1

    def __post_init__(self) -> None:
        limits = {"width": (1, 1024), "hidden_layers": (0, 16), "channels": (1, 256)}
        check_ranges("decoder", self, limits)


class Decoder(nn.Module):
    """Maps (N, inputs) features to (N, channels) values."""

    def __init__(self, inputs: int, config: DecoderConfig) -> None:
        super().__init__()
        widths = [inputs] + [config.width] * config.hidden_layers
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        layers.append(nn.Linear(widths[-1], config.channels))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    @property
    def first(self) -> nn.Linear:
        """The layer that takes the features."""
        layer = self.layers[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, features: Tensor) -> Tensor:  # [N, inputs] -> [N, channels]
        return self.layers(features)
