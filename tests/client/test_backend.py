"""The backend process from the add-on's side: greeting, transfer, death and the end."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fairfield_extension.blender_addon.client import backend as module
from fairfield_extension.blender_addon.client.backend import (
    Answer,
    Backend,
    BackendState,
    Ended,
    explain_exit,
)
from fairfield_extension.blender_addon.client.environment import BackendUnavailable


@pytest.fixture
def collect(poll_until):
    """A function that polls until an event of one type has come, and returns all events."""

    def until(backend: Backend, wanted: type) -> list:
        events: list = []
        poll_until(
            lambda: events.extend(backend.poll()),
            lambda: any(isinstance(event, wanted) for event in events),
        )
        return events

    return until


@pytest.fixture
def ready(scripted_command, poll_until):
    """A function from a behaviour to a backend that has answered the greeting."""

    def start(behaviour: str) -> Backend:
        backend = Backend(scripted_command(behaviour))
        poll_until(backend.poll, lambda: backend.state is BackendState.READY)
        return backend

    return start


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_greeting_skips_what_a_login_shell_prints(ready):
    backend = ready("good")
    assert backend.greeting["devices"] == ["cpu"]
    backend.shutdown()


def test_large_arrays_go_both_ways_in_short_polls(ready, collect):
    backend = ready("good")
    vertices = np.random.default_rng(0).normal(size=(1_000_000, 3))
    backend.send("fit", {"field": "a"}, {"vertices": vertices})
    longest, events = 0.0, []
    deadline = time.monotonic() + 30
    while not events:
        start = time.perf_counter()
        events = backend.poll(0.004)
        longest = max(longest, time.perf_counter() - start)
        assert time.monotonic() < deadline
    (event,) = events
    assert isinstance(event, Answer)
    assert event.result["report"]["sum"] == pytest.approx(vertices.sum())
    assert longest < 0.05
    backend.send("smooth", {"field": "a"}, {"points": vertices})
    (event,) = collect(backend, Answer)
    assert (event.arrays["mean_curvature"] == np.arange(1_000_000)).all()
    backend.shutdown()


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("killed", "killed (signal 9)"),
        ("crashes", "exit code 3; its last words were: Fatal: the roof is on fire"),
        ("sends-garbage", "not a Fairfield frame"),
    ],
)
def test_a_death_during_work_is_said_in_words(ready, collect, behaviour, words):
    backend = ready(behaviour)
    backend.send("fit", {"field": "a"}, {"vertices": np.zeros((3, 3))})
    event = collect(backend, Ended)[-1]
    assert words in event.reason
    assert backend.state is BackendState.ENDED
    assert not process_exists(backend.pid)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("lacks-a-package", "lacks the package 'torch'; install the backend"),
        ("other-protocol", "speaks protocol 999"),
        ("other-frames", "speaks protocol 999 and this extension speaks 1; install the same"),
        ("has-odd-devices", "names no devices (7)"),
    ],
)
def test_a_backend_of_no_use_is_refused_with_the_remedy(
    collect, scripted_command, behaviour, words
):
    backend = Backend(scripted_command(behaviour))
    event = collect(backend, Ended)[-1]
    assert words in event.reason


def test_a_silent_process_is_given_up(collect, scripted_command, monkeypatch):
    monkeypatch.setattr(module, "HELLO_SECONDS", 0.2)
    backend = Backend(scripted_command("silent"))
    assert "did not answer" in collect(backend, Ended)[-1].reason
    assert not process_exists(backend.pid)


def test_a_missing_program_is_a_sentence():
    with pytest.raises(BackendUnavailable, match=r"cannot be started with '/no/such/python'"):
        Backend(["/no/such/python"])


@pytest.mark.parametrize("behaviour", ["good", "stubborn"])
def test_the_end_takes_half_a_second_at_most_and_leaves_no_process(ready, behaviour):
    backend = ready(behaviour)
    start = time.monotonic()
    backend.shutdown()
    assert time.monotonic() - start < 0.6
    assert not process_exists(backend.pid)
    assert backend.poll() == []


def test_a_process_that_hangs_is_killed_at_once(ready):
    backend = ready("stubborn")
    os.kill(backend.pid, signal.SIGSTOP)
    start = time.monotonic()
    backend.kill()
    assert time.monotonic() - start < 0.2
    assert not process_exists(backend.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the child in /proc")
def test_what_a_wrapper_started_is_killed_with_it(scripted_command, poll_until):
    """As with a shell script that starts the backend: killing the shell alone would leave it."""
    words = " ".join(map(shlex.quote, scripted_command("stubborn")))
    backend = Backend(["sh", "-c", f"{words}; true"])
    poll_until(backend.poll, lambda: backend.state is BackendState.READY)
    child = int(Path(f"/proc/{backend.pid}/task/{backend.pid}/children").read_text())
    os.kill(child, signal.SIGSTOP)
    backend.kill()
    poll_until(lambda: None, lambda: not _is_running(child))


def _is_running(pid: int) -> bool:
    """Whether a process runs that is nobody's zombie: here nobody may reap orphans."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "params",
    [
        {"fraction": float(10**6), "stage": "x" * 10**6},
        {"fraction": -1, "seconds_left": 10**400},
        {"fraction": "half", "stage": None, "seconds_left": []},
        {"fraction": True, "stage": {"a": 1}},
    ],
)
def test_odd_progress_is_made_harmless(params):
    step = module._progress({"id": 1, **params})
    assert 0 <= step.fraction <= 1
    assert len(step.stage) <= module.MAX_STAGE_LENGTH
    assert step.seconds_left is None


def test_exits_are_explained():
    assert "memory ran out" in explain_exit(-9, [])
    assert "crashed (signal 11)" in explain_exit(-11, ["Segmentation fault"])
    assert "ran out of memory" in explain_exit(1, ["torch.OutOfMemoryError: CUDA out of memory"])
    no_threads = "libgomp: Thread creation failed: Resource temporarily unavailable"
    assert "ran out of memory" in explain_exit(1, [no_threads])
    assert explain_exit(5, []) == "The backend ended with exit code 5 and said nothing."
