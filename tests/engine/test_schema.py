"""JSON of unknown origin becomes a dataclass, or is refused in words."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from fairfield.schema import SchemaError, build, parse
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True)
class Example:
    """One of every kind of annotation."""

    count: int
    length: float
    name: str
    center: tuple[float, float]
    seconds: dict[str, float] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    extra: dict[str, Any] | None = None


RIGHT = {"count": 3, "length": 1, "name": "x", "center": [0, 1.5]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def test_what_fits_comes_out_with_its_types() -> None:
    made = build(Example, {**RIGHT, "extra": {"a": [True, None, {"b": 2.5}]}})
    assert made == Example(3, 1.0, "x", (0.0, 1.5), extra={"a": [True, None, {"b": 2.5}]})
    assert type(made.length) is float
    assert build(Example, json.loads(json.dumps(asdict(made)))) == made


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"count": True}, "Example.count is True; expected int"),
        ({"count": 1.0}, "expected int"),
        ({"length": float("inf")}, "expected float"),
        ({"length": 10**30}, "expected float"),
        ({"name": "x" * 20_000}, "expected str"),
        ({"center": [1.0]}, "expected tuple"),
        ({"seconds": {"fit": "1"}}, "expected float"),
        ({"words": ["a"] * 2000}, "expected list"),
        ({"extra": [1]}, "Example.extra is"),
        ({"extra": {"a": ["x" * 20_000]}}, "Example.extra is"),
        ({"surprise": 1}, "has no 'surprise'"),
    ],
)
def test_what_does_not_fit_is_named(change: dict, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        build(Example, RIGHT | change)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SchemaError, match="lacks 'length'"):
        build(Example, {"count": 3})
    with pytest.raises(SchemaError, match="is a JSON list, not an object"):
        build(Example, [])


@given(JSON, st.sampled_from(["count", "length", "name", "center", "seconds", "words", "extra"]))
def test_anything_is_taken_or_refused(value: Any, name: str) -> None:
    try:
        made = build(Example, RIGHT | {name: value})
    except SchemaError as problem:
        assert "\n" not in str(problem).replace(repr(value)[:100], "")  # noqa: PT017
    else:
        json.dumps(asdict(made))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(SchemaError, match="not JSON"):
        parse(text)
