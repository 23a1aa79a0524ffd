"""The real backend process, spoken to in frames."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fairfield
import numpy as np
import pytest
from conftest import ROOT
from fairfield import server, wire
from shapes import icosphere

SERVE = [sys.executable, "-I", str(ROOT / "backend" / "fairfield" / "__main__.py"), "serve"]


class Client:
    """A blocking client: a test may use threads, Blender may not."""

    def __init__(self, command: list[str] = SERVE) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.frames: queue.SimpleQueue[wire.Frame | None] = queue.SimpleQueue()
        self.progress: list[dict[str, Any]] = []
        self._answers: dict[int | None, wire.Frame] = {}
        self._last = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        reader = wire.FrameReader(expect_magic=True)
        assert self.process.stdout is not None
        while data := self.process.stdout.read1():
            for frame in reader.feed(data):
                self.frames.put(frame)
        self.frames.put(None)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, method: str, params: Any = None, **arrays: np.ndarray) -> int:
        self._last += 1
        for piece in wire.encode(wire.request(self._last, method, params, arrays)):
            self.write(bytes(piece))
        return self._last

    def answer(self, identifier: int | None, timeout: float = 60) -> wire.Frame:
        while identifier not in self._answers:
            frame = self.frames.get(timeout=timeout)
            assert frame is not None, "the backend ended"
            if frame.header.get("method") == "progress":
                self.progress.append(frame.header["params"])
            else:
                self._answers[frame.header["id"]] = frame
        return self._answers.pop(identifier)

    def call(self, method: str, params: Any = None, **arrays: np.ndarray) -> wire.Frame:
        return self.answer(self.send(method, params, **arrays))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def fail(self, method: str, params: Any = None, **arrays: np.ndarray) -> dict[str, Any]:
        return self.call(method, params, **arrays).header["error"]


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def fitted() -> Iterator[Client]:
    """A backend with the field "ball": a sphere of radius 2."""
    client = Client()
    vertices, triangles = icosphere(radius=2.0, subdivisions=3)
    frame = client.call(
        "fit",
        {"field": "ball", "preset": "draft"},
        vertices=vertices,
        triangles=triangles.astype(np.int32),
    )
    assert frame.header["result"]["report"]["near_surface_error"] < 5e-3
    yield client
    client.close()


def test_hello(client: Client) -> None:
    hello = client.call("hello", {"protocol": wire.PROTOCOL_VERSION, "client": "test"})
    result = hello.header["result"]
    assert result["pid"] == client.process.pid
    assert "cpu" in result["devices"]
    assert client.fail("hello", {"protocol": 99})["code"] == wire.VERSION_MISMATCH


def test_a_first_job_says_that_kernels_are_compiled_first(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    client = Client()
    vertices, triangles = icosphere(subdivisions=2)
    client.send("fit", {"field": "ball"}, vertices=vertices, triangles=triangles.astype(np.int32))
    first = client.frames.get(timeout=60)
    client.close()
    assert first is not None
    assert first.header["params"]["fraction"] == 0
    assert "the first time" in first.header["params"]["stage"]


def test_progress_rises_to_the_end_and_is_not_a_flood(fitted: Client) -> None:
    fractions = [report["fraction"] for report in fitted.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.8
    assert any(report["seconds_left"] for report in fitted.progress)


def test_smooth_gives_every_attribute_in_order(fitted: Client) -> None:
    points, _ = icosphere(radius=2.0, subdivisions=2)
    frame = fitted.call("smooth", {"field": "ball", "scale": 0.2}, points=points)
    assert frame.header["result"] == {"unanswered": 0, "scale": 0.2, "from_mesh": 0, "on_edges": 0}
    assert set(frame.arrays) == {
        "smooth_normal",
        "mean_curvature",
        "gaussian_curvature",
        "curvedness",
        "shape_index",
        "curvature_max",
        "curvature_min",
        "deviation",
        "curvature_max_direction",
    }
    assert all(len(array) == len(points) for array in frame.arrays.values())
    assert np.median(np.abs(frame.arrays["mean_curvature"] - 0.5)) < 0.05
    assert (frame.arrays["smooth_normal"] * points / 2).sum(axis=1).min() > 0.95


def test_a_mesh_answers_itself_where_it_knows_better(fitted: Client) -> None:
    points, triangles = icosphere(radius=2.0, subdivisions=3)
    frame = fitted.call("smooth", {"field": "ball"}, points=points, triangles=triangles)
    assert frame.header["result"]["from_mesh"] == len(points)
    assert (frame.arrays["smooth_normal"] * points / 2).sum(axis=1).min() > 1 - 1e-6
    wrong = fitted.fail("smooth", {"field": "ball"}, points=points[:5], triangles=triangles)
    assert "mesh has 5 vertices" in wrong["message"]


def test_extract_gives_a_mesh_with_attributes(fitted: Client) -> None:
    frame = fitted.call("extract", {"field": "ball", "resolution": 32, "scale": "auto"})
    assert np.abs(np.linalg.norm(frame.arrays["vertices"], axis=1) - 2).mean() < 0.01
    assert frame.arrays["triangles"].max() == len(frame.arrays["vertices"]) - 1
    assert len(frame.arrays["curvedness"]) == len(frame.arrays["vertices"])
    raw = fitted.call("extract", {"field": "ball", "resolution": 32, "scale": None})
    cell = raw.header["result"]["cell"]
    # Marching cubes' vertices lie on the edges of cells: two coordinates are those of a node.
    off = np.sort(np.abs((raw.arrays["vertices"] / cell + 0.5) % 1 - 0.5), axis=1)
    assert (off[:, 1] < 1e-3).mean() > 0.99


def test_save_load_and_release(fitted: Client, tmp_path) -> None:
    path = str(tmp_path / "ball.safetensors")
    fitted.call("save", {"field": "ball", "path": path})
    loaded = fitted.call("load", {"field": "again", "path": path}).header["result"]
    assert loaded["report"]["preset"] == "draft"
    assert fitted.call("release", {"field": "again"}).header["result"]["found"]
    points = np.zeros((1, 3))
    assert fitted.fail("smooth", {"field": "again"}, points=points)["code"] == wire.UNKNOWN_FIELD
    for path, says in (
        ("/no/such/folder/x.safetensors", "/no/such/folder/x.safetensors: No such file"),
        (str(tmp_path / "a\0b.safetensors"), "null"),
        (str(tmp_path / ".profile"), "must be a .safetensors file"),
    ):
        refusal = fitted.fail("save", {"field": "ball", "path": path})
        assert refusal["code"] == wire.BAD_INPUT
        assert says in refusal["message"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["ball.safetensors"]


def test_finetune_makes_another_field(fitted: Client) -> None:
    answer = fitted.call("finetune", {"field": "ball", "tuned_field": "tuned"}).header["result"]
    assert answer["field"] == "tuned"
    tuning = answer["report"]["finetuning"]
    assert tuning["normal_error_after"] < tuning["normal_error_before"]
    points = np.eye(3)
    for field in ("ball", "tuned"):
        assert "result" in fitted.call("smooth", {"field": field}, points=points).header
    refused = fitted.fail("finetune", {"field": "nothing", "tuned_field": "tuned"})
    assert refused["code"] == wire.UNKNOWN_FIELD


def test_fit_takes_the_kind_of_field(fitted: Client, tmp_path) -> None:
    vertices, triangles = icosphere(subdivisions=2)
    mesh = {"vertices": vertices, "triangles": triangles.astype(np.int32)}
    fitted.call("fit", {"field": "waves", "preset": "draft", "kind": "siren"}, **mesh)
    path = tmp_path / "waves.safetensors"
    fitted.call("save", {"field": "waves", "path": str(path)})
    assert fairfield.load(path).module.config.kind == "siren"
    refusal = fitted.fail("fit", {"field": "x", "kind": "cube"}, **mesh)
    assert refusal["code"] == wire.BAD_INPUT
    assert "dense-grid, tri-plane, siren" in refusal["message"]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("dance", {}, wire.UNKNOWN_METHOD),
        ("fit", {}, wire.INVALID_PARAMS),
        ("fit", [1], wire.INVALID_PARAMS),
        ("fit", {"field": 3}, wire.INVALID_PARAMS),
        ("fit", {"field": "x"}, wire.INVALID_PARAMS),
        ("smooth", {"field": "ball", "scale": None}, wire.INVALID_PARAMS),
        ("smooth", {"field": "ball", "scale": [1]}, wire.INVALID_PARAMS),
        ("smooth", {"field": "other"}, wire.UNKNOWN_FIELD),
        ("extract", {"field": "ball", "resolution": 1e9}, wire.INVALID_PARAMS),
        ("extract", {"field": "ball", "resolution": 10**9}, wire.BAD_INPUT),
        ("extract", {"field": "ball", "resolution": True}, wire.INVALID_PARAMS),
        ("load", {"field": "x", "path": "/no/such/file"}, wire.BAD_INPUT),
        ("cancel", {}, wire.INVALID_PARAMS),
    ],
)
def test_wrong_requests_are_refused_and_the_backend_lives(
    fitted: Client, method: str, params: Any, code: int
) -> None:
    identifier = fitted._last = fitted._last + 1
    header = {"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}
    for piece in wire.encode(wire.Frame(header)):
        fitted.write(bytes(piece))
    refusal = fitted.answer(identifier).header["error"]
    assert refusal["code"] == code
    assert "\n" not in refusal["message"]


def test_a_single_number_is_no_table_of_points(fitted: Client) -> None:
    refusal = fitted.fail("smooth", {"field": "ball"}, points=np.array(0.0))
    assert refusal["code"] == wire.INVALID_PARAMS


def test_bad_meshes_are_refused_in_the_gate_s_words(fitted: Client) -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [np.nan, 1, 0]])
    refusal = fitted.fail(
        "fit", {"field": "x"}, vertices=vertices, triangles=np.array([[0, 1, 2]], np.int32)
    )
    assert refusal["code"] == wire.BAD_INPUT
    assert "vertex 2" in refusal["message"]


def test_a_running_and_a_queued_job_are_cancelled(fitted: Client) -> None:
    vertices, triangles = icosphere(subdivisions=5)
    fitted.progress.clear()
    fit = fitted.send(
        "fit",
        {"field": "x", "preset": "fine"},
        vertices=vertices,
        triangles=triangles.astype(np.int32),
    )
    queued = fitted.send("smooth", {"field": "ball"}, points=vertices)
    time.sleep(1.5)
    fitted.send("cancel", {"id": queued})
    fitted.send("cancel", {"id": fit})
    # Within a second where nothing else is going on; the fit itself would take many times as long.
    assert fitted.answer(fit, timeout=10).header["error"]["code"] == wire.CANCELLED
    assert fitted.answer(queued).header["error"]["code"] == wire.CANCELLED
    assert len(fitted.progress) <= 20
    # The field that was there is untouched.
    assert fitted.call("smooth", {"field": "ball"}, points=vertices[:3]).header["result"]


def test_a_ping_is_answered_while_a_job_runs(fitted: Client) -> None:
    vertices, triangles = icosphere(subdivisions=5)
    fit = fitted.send(
        "fit",
        {"field": "x", "preset": "fine"},
        vertices=vertices,
        triangles=triangles.astype(np.int32),
    )
    time.sleep(0.5)
    assert fitted.call("ping").header["result"] == {}
    assert fit not in fitted._answers
    fitted.send("cancel", {"id": fit})
    assert fitted.answer(fit).header["error"]["code"] == wire.CANCELLED


def test_a_number_in_use_and_too_many_requests_are_refused(fitted: Client) -> None:
    vertices, triangles = icosphere(subdivisions=5)
    triangles = triangles.astype(np.int32)
    fit = fitted.send(
        "fit", {"field": "x", "preset": "fine"}, vertices=vertices, triangles=triangles
    )
    fitted._last -= 1
    fitted.send("smooth", {"field": "ball"}, points=vertices[:3])
    refusal = fitted.answer(None).header["error"]
    assert refusal["code"] == wire.INVALID_REQUEST
    assert f"'id' {fit} is still under way" in refusal["message"]
    queued = [
        fitted.send("smooth", {"field": "ball"}, points=vertices[:3])
        for _ in range(server.MAX_PENDING)
    ]
    assert "is the limit" in fitted.answer(queued[-1]).header["error"]["message"]
    fitted.send("cancel", {"id": fit})
    assert fitted.answer(fit).header["error"]["code"] == wire.CANCELLED
    for identifier in queued[:-1]:
        assert "result" in fitted.answer(identifier).header


def test_a_request_of_a_megabyte_is_refused_in_a_short_sentence(fitted: Client) -> None:
    long = "\N{SNOWMAN}" * 150_000
    for method, params in (
        (long, {}),
        ("fit", {"field": "x", "preset": long}),
        ("load", {"field": "x", "path": long}),
        ("release", {"field": [long]}),
    ):
        mesh = dict(zip(("vertices", "triangles"), icosphere(subdivisions=1), strict=True))
        refusal = fitted.fail(method, params, **mesh)
        assert len(refusal["message"]) <= wire.MAX_MESSAGE_LENGTH


@pytest.mark.skipif(sys.platform != "linux", reason="Linux can be told what to kill first")
def test_the_backend_goes_before_blender(client: Client) -> None:
    client.call("hello", {"protocol": wire.PROTOCOL_VERSION})
    process = Path(f"/proc/{client.process.pid}")
    assert (process / "oom_score_adj").read_text().strip() == "1000"
    assert os.getpriority(os.PRIO_PROCESS, client.process.pid) >= 10


def test_a_job_that_cannot_fit_is_refused_and_fields_make_room() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from fairfield import memory, server;"
        "free = iter([10 << 30, 10 << 30, 10 << 30, 10 << 20, memory.smooth_need(3).nbytes - 1]);"
        "memory.available_bytes = lambda: next(free);"
        "sys.exit(server.serve())"
    )
    client = Client([sys.executable, "-c", program, str(ROOT / "backend")])
    vertices, triangles = icosphere(subdivisions=1)
    mesh = {"vertices": vertices, "triangles": triangles.astype(np.int32)}
    for key in "abc":
        assert "result" in client.call("fit", {"field": key, "preset": "draft"}, **mesh).header
    refusal = client.fail("fit", {"field": "d", "preset": "draft"}, **mesh)
    assert refusal["code"] == wire.OUT_OF_MEMORY
    assert "Fitting 80 triangles with the preset 'draft' needs about" in refusal["message"]
    # One byte is missing, so the field used longest ago goes: "b", since "a" is what is asked for.
    assert "result" in client.call("smooth", {"field": "a"}, points=vertices[:3]).header
    released = {key: client.call("release", {"field": key}).header["result"] for key in "abc"}
    assert released == {"a": {"found": True}, "b": {"found": False}, "c": {"found": True}}
    client.close()


@pytest.mark.parametrize("busy", [False, True])
def test_the_end_of_input_is_the_end_of_the_process(client: Client, busy: bool) -> None:
    if busy:
        vertices, triangles = icosphere(subdivisions=5)
        client.send("fit", {"field": "x", "preset": "fine"}, vertices=vertices, triangles=triangles)
        time.sleep(3)
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.process.wait(timeout=10) == 0


def test_shutdown_is_answered_first(client: Client) -> None:
    assert client.call("shutdown").header["result"] == {}
    assert client.process.wait(timeout=10) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the child in /proc")
@pytest.mark.parametrize("hangs", [False, True])
def test_the_backend_dies_with_a_killed_parent(hangs: bool) -> None:
    program = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE);"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, *SERVE], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    if hangs:  # it cannot notice the end of its input
        os.kill(child, signal.SIGSTOP)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and _is_running(child):
        time.sleep(0.1)
    assert not _is_running(child)


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_what_native_code_prints_is_no_frame() -> None:
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]);"
        "from fairfield import server;"
        "server.fit = lambda *a, **k: (os.system('echo noise'), os.write(1, b'noise'), 1 / 0);"
        "sys.exit(server.serve())"
    )
    client = Client([sys.executable, "-c", program, str(ROOT / "backend")])
    vertices, triangles = icosphere(subdivisions=1)
    refusal = client.fail("fit", {"field": "x"}, vertices=vertices, triangles=triangles)
    assert refusal["code"] == wire.INTERNAL_ERROR
    assert "ZeroDivisionError" in refusal["message"]
    assert "Traceback" not in refusal["message"]
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.process.stderr is not None
    log = client.process.stderr.read()
    client.close()
    assert b"noise" in log
    assert b"Traceback" in log


def test_a_stream_that_is_no_frame_ends_the_process(client: Client) -> None:
    client.write(b"\xff\xff\xff\xff not a frame")
    assert client.process.wait(timeout=15) == 0
    assert client.process.stderr is not None
    assert b"not a frame" in client.process.stderr.read()


def test_points_without_an_answer_are_nan_and_counted(fitted: Client) -> None:
    """From the middle of a sphere no way leads to its surface rather than another."""
    points, _ = icosphere(radius=2.0, subdivisions=1)
    points = np.concatenate([points, np.zeros((3, 3))])
    frame = fitted.call("smooth", {"field": "ball"}, points=points)
    result = frame.header["result"]
    missing = np.isnan(frame.arrays["mean_curvature"])
    assert result["unanswered"] == missing.sum() == 3
    assert missing[-3:].all()
    assert np.isfinite(result["scale"])
