"""Frozen dataclasses from JSON of unknown origin: names, types and sizes are checked first."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

MAX_TEXT = 10_000
MAX_ENTRIES = 1_000
MAX_WHOLE_NUMBER = 2**63

T = TypeVar("T")

# What stands for `Any`, by the value's own type.
_PLAIN: dict[type, Any] = {
    int: int,
    float: float,
    bool: bool,
    NoneType: NoneType,
    list: list[Any],
    dict: dict[str, Any],
}


class SchemaError(ValueError):
    """A value is not what its place takes; the message says which and where."""


def parse(text: str) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    SchemaError
        If it is none, is nested too deeply, or has numbers of thousands of digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise SchemaError(f"not JSON: {problem}") from None


def build(kind: type[T], values: Any) -> T:
    """Return a dataclass made from a JSON object.

    The object must have the fields without a default, and no others than the dataclass has. Types
    are those of the annotations: int, float, bool, str, None, Any, alternatives, and list, dict and
    tuple of these. A whole number may stand for a float; a truth value stands for no number. A part
    that is a dataclass itself is to be built beforehand.

    Raises
    ------
    SchemaError
        If the object is anything else.
    """
    if not isinstance(values, dict):
        raise SchemaError(f"{kind.__name__} is a JSON {type(values).__name__}, not an object")
    hints = get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = values.keys() - known.keys()
    if unknown:
        raise SchemaError(f"{kind.__name__} has no {min(unknown)[:100]!r}")
    built = {}
    for name, entry in known.items():
        if name in values:
            built[name] = _checked(values[name], hints[name], f"{kind.__name__}.{name}")
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise SchemaError(f"{kind.__name__} lacks {name!r}")
    return kind(**built)


def _checked(value: Any, annotation: Any, where: str) -> Any:
    """Return the value as its annotation has it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is float and type(value) is float and not math.isinf(value):
        return value
    if annotation in (float, int) and type(value) is int and abs(value) <= MAX_WHOLE_NUMBER:
        return annotation(value)
    if annotation is bool and type(value) is bool:
        return value
    if annotation is str and type(value) is str and len(value) <= MAX_TEXT:
        return value
    if origin is list and type(value) is list and len(value) <= MAX_ENTRIES:
        return [_checked(each, inner[0], where) for each in value]
    if origin is tuple and type(value) is list and len(value) == len(inner):
        return tuple(_checked(each, part, where) for each, part in zip(value, inner, strict=True))
    if origin is dict and type(value) is dict and len(value) <= MAX_ENTRIES:
        return {
            _checked(name, inner[0], where): _checked(each, inner[1], where)
            for name, each in value.items()
        }
    if is_dataclass(value) and isinstance(value, annotation):
        return value
    if origin is UnionType:
        for part in inner:
            with contextlib.suppress(SchemaError):
                return _checked(value, part, where)
    if annotation is NoneType and value is None:
        return None
    if annotation is Any:
        return _checked(value, _PLAIN.get(type(value), str), where)
    name = getattr(annotation, "__name__", annotation) if origin is None else annotation
    raise SchemaError(f"{where} is {repr(value)[:100]}; expected {name}")
