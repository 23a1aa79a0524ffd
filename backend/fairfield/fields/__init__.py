"""Fields: torch modules from (N, d) points in [-1, 1]^d to (N, c) values.

An encoding and a decoder make a field; a small frozen configuration says which, and is saved with
the weights.
"""

from __future__ import annotations

from .decoder import DecoderConfig
from .hash_grid import HashGridConfig
from .neural_field import FieldConfig, NeuralField

__all__ = ["DecoderConfig", "FieldConfig", "HashGridConfig", "NeuralField"]
