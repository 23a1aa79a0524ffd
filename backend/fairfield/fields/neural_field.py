"""A field as the composition of an encoding and a decoder, on top of a coarse base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from ..errors import FieldFileError, SettingError
from .coarse_grid import SUPPORT, CoarseGrid
from .decoder import Decoder, DecoderConfig
from .hash_grid import HashGrid, HashGridConfig, grid_levels
from .siren import Siren, SirenConfig, initialize_after_sines
from .tiny_cuda import tiny_cuda_encoding
from .tri_plane import TriPlane, TriPlaneConfig

EncodingConfig = HashGridConfig | TriPlaneConfig | SirenConfig

ENCODINGS: dict[str, type[EncodingConfig]] = {
    "hash-grid": HashGridConfig,
    "dense-grid": HashGridConfig,
    "tri-plane": TriPlaneConfig,
    "siren": SirenConfig,
}
"""The configuration of the encoding by kind of field. A dense grid is a hash grid whose levels all
fit the table."""

KINDS = tuple(ENCODINGS)
BASE_RESOLUTIONS = (SUPPORT, 512)


@dataclass(frozen=True)
class FieldConfig:
    """What a field is made of; with the weights, all that is needed to build it again.

    Attributes
    ----------
    kind
        Name of the field, one of `KINDS`.
    encoding, decoder
        Its two parts; the encoding's type is that of the kind, see `ENCODINGS`.
    base_resolution
        Nodes per axis of the coarse grid of given values that the network corrects.
    """

    kind: str = "hash-grid"
    encoding: EncodingConfig = field(default_factory=HashGridConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    base_resolution: int = 64

    def __post_init__(self) -> None:
        check_kind(self.kind)
        expected = ENCODINGS[self.kind]
        if not isinstance(self.encoding, expected):
            raise SettingError(
                f"A {self.kind} field has a {type(self.encoding).__name__}; "
                f"it needs a {expected.__name__}."
            )
        if self.kind == "dense-grid" and isinstance(self.encoding, HashGridConfig):
            _check_dense(self.encoding)
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
            kind = values["kind"]
            check_kind(kind)
            return cls(
                kind,
                ENCODINGS[kind](**values["encoding"]),
                DecoderConfig(**values["decoder"]),
                values["base_resolution"],
            )
        except (KeyError, TypeError, SettingError) as problem:
            raise FieldFileError(f"The field's configuration is not valid: {problem}") from None


def check_kind(kind: str) -> None:
    """Raise a SettingError unless there is such a field."""
    if kind not in KINDS:
        raise SettingError(f"There is no field {kind!r}; choose from {', '.join(KINDS)}.")


def _check_dense(config: HashGridConfig) -> None:
    hashed = [level.resolution for level in grid_levels(config) if not level.dense]
    if hashed:
        raise SettingError(
            f"dense grid: a level of {hashed[0]} vertices per axis does not fit log2_table_size "
            f"{config.log2_table_size}; raise it, or use fewer or coarser levels."
        )


class NeuralField(nn.Module):
    """Maps (N, d) points in [-1, 1]^d to (N, c) values.

    The network's output is multiplied by the cell of the coarse base, so that what it has to learn
    is of order one whatever the resolution.
    """

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.config = config
        self.base = CoarseGrid(config.base_resolution, config.encoding.dimension)
        self.encoding = _new_encoding(config.encoding)
        self.decoder = Decoder(config.encoding.width, config.decoder)
        self._fast_encoding: Callable[[Tensor], Tensor] | None = None
        if isinstance(self.encoding, Siren):
            initialize_after_sines(self.decoder.first)

    def forward(self, points: Tensor) -> Tensor:  # [N, d] -> [N, c]
        return self.base(points)[:, None] + self.base.cell * self.correction(points)

    def correction(self, points: Tensor) -> Tensor:  # [N, d] -> [N, c]
        """What the network adds to the base, in cells of the base."""
        return self.decoder(self._encode(points))

    def _encode(self, points: Tensor) -> Tensor:
        # tinycudann has no second derivatives by the points: whoever wants any gets the reference.
        if not points.is_cuda or points.requires_grad or not isinstance(self.encoding, HashGrid):
            return self.encoding(points)
        if self._fast_encoding is None:
            self._fast_encoding = tiny_cuda_encoding(self.encoding) or self.encoding.forward
        return self._fast_encoding(points)


def _new_encoding(config: EncodingConfig) -> HashGrid | TriPlane | Siren:
    match config:
        case HashGridConfig():
            return HashGrid(config)
        case TriPlaneConfig():
            return TriPlane(config)
        case SirenConfig():
            return Siren(config)
