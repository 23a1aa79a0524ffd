"""Faults on the way between Blender and the real backend: full pipes, deaf ends, two at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
import sweep
from fairfield import wire
from fairfield_extension.blender_addon.client.backend import Answer, Backend, BackendState, Ended
from fairfield_extension.blender_addon.client.jobs import FitSettings, Job, JobQueue, JobState

SERVE = [sys.executable, str(sweep.SERVER), "none", "none", "0"]
LARGE = 16 << 20
"""Bytes: many times what a pipe holds."""


@pytest.fixture
def queues() -> Iterator[list[JobQueue]]:
    """Two queues, as two Blenders have them."""
    both = [JobQueue(lambda: Backend(SERVE)) for _ in range(2)]
    yield both
    for queue in both:
        queue.stop_backend()


def _poll_until(queues: list[JobQueue], done) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        for queue in queues:
            queue.poll()
        time.sleep(0.002)


def _large_mesh() -> Job:
    """A mesh whose vertices are mostly unused, so that only the way takes long."""
    vertices = np.zeros((LARGE // 24, 3))
    vertices[:6] = np.concatenate([np.eye(3), -np.eye(3)])
    small = sweep.new_job("fit")
    return Job("Large", vertices, small.triangles, FitSettings(preset="draft", device="cpu"))


def test_two_blenders_do_not_disturb_each_other(queues: list[JobQueue]) -> None:
    jobs = [sweep.new_job("smooth") for _ in queues]
    for queue, job in zip(queues, jobs, strict=True):
        queue.add([job])
    _poll_until(queues, lambda: all(job.ended for job in jobs))
    assert [job.state for job in jobs] == [JobState.DONE] * 2
    first, second = (job.smoothed.arrays["mean_curvature"] for job in jobs)
    np.testing.assert_array_equal(first, second)
    # One is killed in its work; the other goes on with its own.
    jobs = [
        Job("Ball", job.vertices * 2, job.triangles, FitSettings("draft", device="cpu"))
        for job in (sweep.new_job("fit"), sweep.new_job("fit"))
    ]
    for queue, job in zip(queues, jobs, strict=True):
        queue.add([job])
    _poll_until(queues, lambda: all(queue.progress.fraction > 0 for queue in queues))
    assert queues[0].backend is not None
    os.kill(queues[0].backend.pid, signal.SIGKILL)
    _poll_until(queues, lambda: all(job.ended for job in jobs))
    assert [job.state for job in jobs] == [JobState.FAILED, JobState.DONE]


def test_the_backend_stops_reading_in_the_middle_of_a_request(queues: list[JobQueue]) -> None:
    """The pipe fills; no poll may wait for it."""
    queue, job = queues[0], _large_mesh()
    small = sweep.new_job("fit")
    queue.add([small])
    _poll_until([queue], lambda: small.ended)
    queue.add([job])
    queue.poll()
    assert queue.transferring
    assert queue.backend is not None
    os.kill(queue.backend.pid, signal.SIGSTOP)
    longest = 0.0
    deadline = time.monotonic() + 30
    while not job.ended:
        assert time.monotonic() < deadline
        begin = time.perf_counter()
        queue.poll(0.004)
        longest = max(longest, time.perf_counter() - begin)
        time.sleep(0.002)
    assert job.state is JobState.FAILED
    assert "no sign of life" in job.message
    assert longest < 0.5
    again = _large_mesh()
    queue.add([again])
    _poll_until([queue], lambda: again.ended)
    assert again.state is JobState.DONE


def test_blender_does_not_read_for_a_while() -> None:
    """It renders, say: the backend waits with its answer and loses nothing of it."""
    backend = Backend(SERVE)
    _until(backend, lambda _: backend.state is BackendState.READY)
    octahedron = sweep.new_job("fit")
    mesh = {"vertices": octahedron.vertices, "triangles": octahedron.triangles}
    backend.send("fit", {"field": "a", "preset": "draft"}, mesh)
    points = np.random.default_rng(0).normal(size=(40_000, 3))
    smooth = backend.send("smooth", {"field": "a"}, {"points": points})
    while backend.transferring:
        backend.poll()
    time.sleep(1.5)
    events = _until(backend, lambda events: any(_answers(event, smooth) for event in events))
    (answer,) = [event for event in events if _answers(event, smooth)]
    assert len(answer.arrays["smooth_normal"]) == len(points)
    backend.shutdown()


def test_the_backend_goes_when_it_cannot_write() -> None:
    """Blender stops reading and then dies: the backend's answer has nobody to go to."""
    backend = Backend(SERVE)
    _until(backend, lambda _: backend.state is BackendState.READY)
    for _ in range(2000):
        backend.send("release", {"field": "x" * 1000})
    while backend.transferring and backend._write():
        pass
    process = backend._process
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()
    process.wait(timeout=15)


def _until(backend: Backend, done) -> list:
    events: list = []
    deadline = time.monotonic() + 60
    while not done(events):
        assert time.monotonic() < deadline
        events += backend.poll()
        assert not any(isinstance(event, Ended) for event in events), events
        time.sleep(0.002)
    return events


def _answers(event: object, identifier: int) -> bool:
    return isinstance(event, Answer) and event.identifier == identifier


def test_the_nth_allocation_of_the_frame_reader_fails() -> None:
    """Whichever it is: the reader raises MemoryError or WireError, and a new one works."""
    nomemory = pytest.importorskip("_testcapi")
    frame = wire.request(1, "fit", {"preset": "draft"}, {"vertices": np.zeros((4, 3))})
    stream = wire.MAGIC + b"".join(bytes(piece) for piece in wire.encode(frame))
    for number in count(1):
        reader = wire.FrameReader(expect_magic=True)
        read = failed = None
        nomemory.set_nomemory(number, number + 1)
        try:
            read = list(reader.feed(stream))
        except (MemoryError, wire.WireError) as problem:
            failed = problem
        finally:
            nomemory.remove_mem_hooks()
        if failed is None and number > 300:
            break
        assert failed is not None or len(read) == 1
    (again,) = wire.FrameReader(expect_magic=True).feed(stream)
    assert again.header == frame.header
