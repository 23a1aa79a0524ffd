"""Ways to differentiate a field. Each returns a jet; `differentiate` chooses among them."""

from __future__ import annotations

from .differentiation import OPERATORS, differentiate

__all__ = ["OPERATORS", "differentiate"]
