"""Limits on the numbers in a configuration."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import SettingError


def check_ranges(what: str, config: object, limits: Mapping[str, tuple[float, float]]) -> None:
    """Refuse a configuration of `what` with an attribute outside its (lowest, highest) limits.

    Raises
    ------
    SettingError
        Naming the first such attribute.
    """
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise SettingError(f"{what}: {name} is {value}; it must be {low} to {high}.")
