"""Whatever a client asks for, the backend answers with a result or one sentence, and lives on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fairfield import wire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapes import icosphere
from test_server import Client

NUMBERS = (
    st.sampled_from([0, 1, -1, 2**31, 2**63, 10**30, 1e-320, 1e308, float("inf"), -0.0])
    | st.integers()
    | st.floats(allow_nan=False)
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
# No list of paths that exist: `save` would write there.
PATHS = st.sampled_from(["", "\0", "/", "/dev/null", "x" * 5000, "/no/such/folder/a.safetensors"])
RIGHT = {
    "field": st.sampled_from(["ball", "other"]),
    "preset": st.just("draft"),
    "seed": st.just(0),
    "kind": st.sampled_from(["hash-grid", "siren"]),
    "device": st.just("cpu"),
    "scale": st.sampled_from(["auto", 0.2]),
    "operator": st.sampled_from(["polynomial", "autodiff"]),
    "resolution": st.just(16),
    "path": PATHS,
    "id": st.integers(-1, 5),
    "protocol": st.just(wire.PROTOCOL_VERSION),
    "client": st.text(max_size=20),
}
# Mostly right but for one or two, so that every parameter's own check is reached.
PARAMETERS = st.fixed_dictionaries(RIGHT).flatmap(
    lambda right: st.dictionaries(st.sampled_from(list(RIGHT)), JSON, max_size=2).map(
        lambda wrong: {**right, **{name: v for name, v in wrong.items() if name != "path"}}
    )
)
METHODS = ["hello", "ping", "fit", "smooth", "extract", "load", "save", "release", "cancel"]


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    """An array of an odd shape, or with odd numbers in it."""
    shape = draw(st.lists(st.integers(0, 5), max_size=3) | st.just([4, 3]))
    dtype = draw(st.sampled_from(list(wire.DTYPES)))
    values = draw(st.lists(NUMBERS, min_size=1, max_size=4))
    with np.errstate(all="ignore"):
        numbers = np.resize(np.array(values, dtype=object), shape)
        try:
            return np.asarray(numbers, dtype=wire.DTYPES[dtype])
        except (OverflowError, ValueError):
            return np.zeros(shape, wire.DTYPES[dtype])


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = Client()
    _fit_ball(client)
    yield client
    client.close()


def _fit_ball(client: Client) -> None:
    vertices, triangles = icosphere(subdivisions=1)
    params = {"field": "ball", "preset": "draft"}
    answer = client.call("fit", params, vertices=vertices, triangles=triangles.astype(np.int32))
    assert "result" in answer.header


def _assert_answered(client: Client, header: dict[str, Any], arrays: dict) -> wire.Frame:
    for piece in wire.encode(wire.Frame(header, arrays)):
        client.write(bytes(piece))
    answer = client.answer(header["id"])
    if "error" in answer.header:
        refusal = answer.header["error"]
        assert "\n" not in refusal["message"]
        assert refusal["code"] not in (wire.INTERNAL_ERROR, wire.OUT_OF_MEMORY), refusal
    else:
        assert isinstance(answer.header["result"], dict)
    return answer


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(METHODS) | st.text(max_size=5),
    params=PARAMETERS | JSON,
    arrays=st.dictionaries(st.sampled_from(["vertices", "triangles", "points"]), tables()),
)
def test_every_parameter_of_every_method(client: Client, method, params, arrays) -> None:
    client._last += 1
    header = {"jsonrpc": "2.0", "id": client._last, "method": method, "params": params}
    try:
        wire.encode(wire.Frame(header))
    except ValueError:  # an infinity, which JSON does not have
        return
    answer = _assert_answered(client, header, arrays)
    if method == "release" and answer.header.get("result") == {"found": True}:
        _fit_ball(client)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.sampled_from(["id", "method", "params", "result", "jsonrpc"]), JSON),
)
def test_headers_that_are_no_request(client: Client, header) -> None:
    try:
        pieces = wire.encode(wire.Frame(header))
    except ValueError:
        return
    for piece in pieces:
        client.write(bytes(piece))
    assert client.call("ping").header["result"] == {}
