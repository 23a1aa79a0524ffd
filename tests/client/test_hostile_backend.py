"""Whatever a backend sends, the add-on gets events or one sentence, and never an exception."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from fairfield import wire
from fairfield_extension.blender_addon.client import answers
from fairfield_extension.blender_addon.client.backend import Answer, Backend, Ended, Refusal
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
IDENTIFIERS = st.sampled_from([1, 2, 3, True, 1.0, None, "1", -1])
GREETING = {"protocol": wire.PROTOCOL_VERSION, "devices": ["cpu"]}
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "id": IDENTIFIERS | JSON,
        "method": st.just("progress") | JSON,
        "params": st.fixed_dictionaries({"id": IDENTIFIERS, "fraction": JSON, "stage": JSON})
        | JSON,
        "result": st.just(GREETING) | JSON,
        "error": st.fixed_dictionaries({"code": JSON, "message": JSON}) | JSON,
    },
)


def _encoded(header: dict) -> bytes:
    return b"".join(bytes(piece) for piece in wire.encode(wire.Frame(header)))


def _events(poll_until, path: Path) -> list:
    """Everything that comes of a process that prints a file and ends."""
    program = "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer)"
    backend = Backend([sys.executable, "-I", "-S", "-c", program, str(path)])
    events: list = []
    poll_until(
        lambda: events.extend(backend.poll()), lambda: events and isinstance(events[-1], Ended)
    )
    return events


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@example(headers=[{"id": 1, "error": {"code": None, "message": ""}}], greets=False, rest=b"")
@given(headers=st.lists(HEADERS, max_size=12), greets=st.booleans(), rest=st.binary(max_size=20))
def test_any_messages(poll_until, tmp_path: Path, headers: list, greets: bool, rest: bytes) -> None:
    if greets:
        headers.insert(0, {"id": 1, "result": GREETING})
    path = tmp_path / "stream"
    path.write_bytes(wire.MAGIC + b"".join(map(_encoded, headers)) + rest)
    *others, ended = _events(poll_until, path)
    assert ended.reason
    assert "\n" not in ended.reason
    # Nothing was asked but the greeting, so nothing is taken for an answer.
    assert not any(isinstance(event, Answer | Refusal) for event in others)


def test_a_second_answer_is_none(scripted_command, poll_until) -> None:
    """A duplicated frame must not be taken for the answer to the next request."""
    backend = Backend(scripted_command("answers-twice"))
    events: list = []
    poll_until(lambda: events.extend(backend.poll()), lambda: events)
    first = backend.send("fit", {"field": "a"}, {"vertices": np.zeros((3, 3))})
    poll_until(lambda: events.extend(backend.poll()), lambda: len(events) == 2)
    second = backend.send("smooth", {"field": "a"}, {"points": np.zeros((2, 3))})
    poll_until(lambda: events.extend(backend.poll()), lambda: len(events) == 3)
    assert [event.identifier for event in events[1:]] == [first, second]
    assert list(events[2].arrays) == ["mean_curvature"]
    backend.shutdown()


ARRAYS = st.dictionaries(
    st.sampled_from(["vertices", "triangles", "sharp_edges", "mean_curvature", "smooth_normal"]),
    st.builds(
        lambda dtype, shape, value: np.full(shape, value).astype(dtype),
        st.sampled_from(["float32", "float64", "int32", "uint32", "uint8"]),
        st.lists(st.integers(0, 4), max_size=3),
        st.sampled_from([0, 1, 3, np.inf, np.nan]),
    ),
)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@given(JSON, ARRAYS)
def test_what_passes_the_checks_is_safe_for_a_scene(result, arrays) -> None:
    if not isinstance(result, dict):
        result = {"report": result, "unanswered": result}
    try:
        report = answers.fit_report(result)
    except answers.WrongAnswer:
        pass
    else:
        assert sum(float(each) for each in report["seconds"].values()) >= 0
    try:
        answers.check_extracted(result, arrays)
    except answers.WrongAnswer:
        pass
    else:
        vertices, triangles = arrays["vertices"], arrays["triangles"]
        assert np.isfinite(vertices[triangles.astype(int)]).all()
        assert np.isfinite(vertices[arrays["sharp_edges"]]).all()
    try:
        answers.check_smoothed(result, arrays, 3)
    except answers.WrongAnswer:
        pass
    else:
        assert all(len(values) == 3 for values in arrays.values())
        assert 0 <= result.get("from_mesh", 0) <= 3


@pytest.mark.parametrize(
    "edges",
    [None, np.zeros((1, 3), int), np.zeros((1, 2)), np.array([[0, 3]]), np.array([[-1, 0]])],
    ids=["none", "shape", "type", "beyond", "negative"],
)
def test_sharp_edges_of_vertices_that_are_not_there_are_refused(edges) -> None:
    arrays = {"vertices": np.eye(3), "triangles": np.array([[0, 1, 2]])}
    answers.check_extracted({}, {**arrays, "sharp_edges": np.array([[0, 1]])})
    if edges is not None:
        arrays["sharp_edges"] = edges
    with pytest.raises(answers.WrongAnswer, match="sharp edge"):
        answers.check_extracted({}, arrays)
