"""Fields: torch modules from (N, d) points in [-1, 1]^d to (N, c) values.

An encoding and a decoder make a field; a small frozen configuration says which, and is saved with
the weights.
"""

from __future__ import annotations

from .decoder import DecoderConfig
from .hash_grid import HashGridConfig
from .neural_field import KINDS, FieldConfig, NeuralField, check_kind
from .siren import SirenConfig
from .tri_plane import TriPlaneConfig

__all__ = [
    "KINDS",
    "DecoderConfig",
    "FieldConfig",
    "HashGridConfig",
    "NeuralField",
    "SirenConfig",
    "TriPlaneConfig",
    "check_kind",
]
