"""A field as the composition of an encoding and a decoder, on top of a coarse base."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from ..errors import FieldFileError, SettingError
from .coarse_grid import CoarseGrid
from .decoder import Decoder, DecoderConfig
from .hash_grid import HashGrid, HashGridConfig

KINDS = ("hash-grid",)
BASE_RESOLUTIONS = (2, 512)


@dataclass(frozen=True)
class FieldConfig:
    """What a field is made of; with the weights, all that is needed to build it again.

    Attributes
    ----------
    kind
        Name of the field, one of `KINDS`.
    encoding, decoder
        Its two parts.
    base_resolution
        Nodes per axis of the coarse grid of given values that the network corrects.
    """

    kind: str = "hash-grid"
    encoding: HashGridConfig = field(default_factory=HashGridConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    base_resolution: int = 64

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(f"There is no field {self.kind!r}; choose from {', '.join(KINDS)}.")
        low, high = BASE_RESOLUTIONS
        if not low <= self.base_resolution <= high:
            raise SettingError(
                f"The base resolution is {self.base_resolution}; it must be {low} to {high}."
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FieldConfig:
        """Back from `to_dict`.

        Raises
        ------
        FieldFileError
            If names or values are not those of a configuration.
        """
        try:
            return cls(
                values["kind"],
                HashGridConfig(**values["encoding"]),
                DecoderConfig(**values["decoder"]),
                values["base_resolution"],
            )
        except (KeyError, TypeError, SettingError) as problem:
            raise FieldFileError(f"The field's configuration is not valid: {problem}") from None


class NeuralField(nn.Module):
    """Maps (N, d) points in [-1, 1]^d to (N, c) values.

    The network's output is multiplied by the cell of the coarse base, so that what it has to learn
    is of order one whatever the resolution.
    """

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.config = config
        self.base = CoarseGrid(config.base_resolution, config.encoding.dimension)
        self.encoding = HashGrid(config.encoding)
        self.decoder = Decoder(config.encoding.width, config.decoder)

    def forward(self, points: Tensor) -> Tensor:  # [N, d] -> [N, c]
        return self.base(points)[:, None] + self.base.cell * self.correction(points)

    def correction(self, points: Tensor) -> Tensor:  # [N, d] -> [N, c]
        """What the network adds to the base, in cells of the base."""
        return self.decoder(self.encoding(points))
