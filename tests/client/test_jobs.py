"""The queue of jobs: which requests are sent, what is kept, and what a fault leaves behind."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from fairfield_extension.blender_addon.client import jobs as module
from fairfield_extension.blender_addon.client.backend import Backend
from fairfield_extension.blender_addon.client.environment import BackendUnavailable
from fairfield_extension.blender_addon.client.jobs import (
    ExtractSettings,
    FitSettings,
    Job,
    JobQueue,
    JobState,
    SmoothSettings,
    field_key,
)


class Starter:
    """Starts backends of one behaviour and counts them."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.started: list[Backend] = []

    def __call__(self) -> Backend:
        self.started.append(Backend(self.command))
        return self.started[-1]


@pytest.fixture
def queue_of(scripted_command):
    """A function from a behaviour to a queue and its starter; the processes end with the test."""
    queues = []

    def make(behaviour: str) -> tuple[JobQueue, Starter]:
        starter = Starter(scripted_command(behaviour))
        queues.append(JobQueue(starter))
        return queues[-1], starter

    yield make
    for queue in queues:
        queue.stop_backend()


def job(name: str = "Cube", size: float = 1.0, **wanted) -> Job:
    vertices = np.eye(3) * size
    return Job(name, vertices, np.array([[0, 1, 2]], np.int32), points=vertices, **wanted)


@pytest.fixture
def run(poll_until):
    """A function that gives jobs to a queue and returns them when they have ended."""

    def until_ended(queue: JobQueue, *jobs: Job) -> list[Job]:
        ended: list[Job] = []
        queue.add(list(jobs))
        poll_until(lambda: ended.extend(queue.poll()), lambda: not queue.busy)
        return ended

    return until_ended


def test_smooth_alone_fits_first_and_extract_reuses_the_field(queue_of, run):
    queue, starter = queue_of("good")
    first = job(smooth=SmoothSettings())
    assert run(queue, first) == [first]
    assert first.state is JobState.DONE
    assert first.report["near_surface_error"] == 0.001
    assert first.smoothed.arrays["mean_curvature"].tolist() == [0, 1, 2]
    second = job(extract=ExtractSettings())
    run(queue, second)
    assert second.state is JobState.DONE
    assert second.extracted.arrays["vertices"].shape == (4, 3)
    assert len(starter.started) == 1


def test_refine_fits_first_and_smooth_uses_what_came_of_it(queue_of, run):
    queue, _ = queue_of("good")
    refined = job(refine=True)
    run(queue, refined)
    assert refined.state is JobState.DONE
    assert refined.report["finetuning"] == {"normal_error_after": 0.1}
    smoothed = job(refine=True, smooth=SmoothSettings())
    plain = job(smooth=SmoothSettings())
    assert smoothed.key == refined.key != plain.key == refined.fit_key
    run(queue, smoothed, plain)
    assert "finetuning" in smoothed.report
    assert "finetuning" not in plain.report


def test_a_refined_field_that_was_lost_is_fitted_and_refined_again(queue_of, run):
    queue, _ = queue_of("forgets-once")
    lost = job(refine=True, smooth=SmoothSettings())
    run(queue, lost)
    assert lost.state is JobState.DONE
    assert "finetuning" in lost.report
    assert lost.smoothed is not None


def test_a_changed_mesh_or_setting_is_another_field():
    mesh = np.eye(3), np.array([[0, 1, 2]], np.int32)
    key = field_key(*mesh, FitSettings())
    assert key == field_key(mesh[0].copy(), mesh[1], FitSettings())
    assert key != field_key(mesh[0] * 2, mesh[1], FitSettings())
    assert key != field_key(mesh[0], mesh[1][:, ::-1], FitSettings())
    assert key != field_key(*mesh, FitSettings(preset="fine"))
    assert key != field_key(mesh[0].astype(np.float32), mesh[1], FitSettings())


def test_a_field_that_the_backend_lost_is_fitted_again_once(queue_of, run):
    queue, _ = queue_of("forgets-once")
    (ended,) = run(queue, job(smooth=SmoothSettings()))
    assert ended.state is JobState.DONE
    queue, _ = queue_of("forgets-every-field")
    (ended,) = run(queue, job(smooth=SmoothSettings()))
    assert ended.state is JobState.FAILED
    assert ended.message == "Cube: There is no such field."


def test_one_bad_mesh_does_not_stop_the_others(queue_of, run):
    queue, _ = queue_of("good")
    bad, good = job("Bad", np.nan), job("Good")
    run(queue, bad, good)
    assert (bad.state, good.state) == (JobState.FAILED, JobState.DONE)
    assert bad.message == "Bad: Vertex 0 is not finite."


def test_surplus_fields_are_released(queue_of, run, poll_until):
    queue, starter = queue_of("good")
    run(queue, *(job(size=size) for size in range(1, module.KEPT_FIELDS + 3)))
    log = starter.started[0].log
    poll_until(queue.poll, lambda: len(log) == 2)
    assert log[-1] == f"released {module.KEPT_FIELDS}"


def test_a_killed_backend_fails_the_click_and_the_next_one_works(queue_of, run, poll_until):
    queue, starter = queue_of("never-answers")
    first, second = job("First"), job("Second")
    queue.add([first, second])
    poll_until(queue.poll, lambda: queue.progress.fraction > 0)
    os.kill(starter.started[0].pid, signal.SIGKILL)
    poll_until(queue.poll, lambda: not queue.busy)
    assert first.state is second.state is JobState.FAILED
    assert "killed (signal 9)" in queue.problem
    starter.command = [*starter.command[:-1], "good"]
    (again,) = run(queue, job())
    assert again.state is JobState.DONE
    assert queue.problem == ""


def test_a_backend_that_died_between_two_clicks_is_replaced_silently(queue_of, run):
    queue, starter = queue_of("good")
    run(queue, job())
    os.kill(starter.started[0].pid, signal.SIGKILL)
    os.waitid(os.P_PID, starter.started[0].pid, os.WEXITED | os.WNOWAIT)
    (again,) = run(queue, job())
    assert again.state is JobState.DONE
    assert len(starter.started) == 2


def test_cancel_ends_everything_and_keeps_the_backend(queue_of, poll_until):
    queue, starter = queue_of("never-answers")
    queue.add([job("First"), job("Second")])
    poll_until(queue.poll, lambda: queue.progress.fraction > 0)
    assert queue.progress.text == "Fitting First: step"
    assert queue.progress.fraction == pytest.approx(0.25)
    ended: list[Job] = []
    queue.cancel()
    poll_until(lambda: ended.extend(queue.poll()), lambda: not queue.busy)
    assert [each.state for each in ended] == [JobState.CANCELLED] * 2
    assert starter.started[0] is queue.backend


def test_a_backend_deaf_to_cancel_is_ended(queue_of, monkeypatch, poll_until):
    monkeypatch.setattr(module, "CANCEL_SECONDS", 0.2)
    queue, _ = queue_of("deaf")
    first = job()
    queue.add([first])
    poll_until(queue.poll, lambda: queue.progress.fraction > 0)
    queue.cancel()
    poll_until(queue.poll, lambda: not queue.busy)
    assert first.state is JobState.CANCELLED
    assert queue.backend is None


def test_cancel_while_the_backend_starts(queue_of):
    queue, _ = queue_of("silent")
    first = job()
    queue.add([first])
    queue.poll()
    assert queue.progress.text == "Starting the backend"
    queue.cancel()
    assert queue.poll() == [first]
    assert not queue.busy


def test_dropped_jobs_are_never_handed_back(queue_of, poll_until):
    queue, _ = queue_of("never-answers")
    queue.add([job("First"), job("Second")])
    poll_until(queue.poll, lambda: queue.progress.fraction > 0)
    queue.drop()
    assert not queue.busy
    assert queue.poll() == []


def test_no_backend_is_one_sentence_for_every_job(run):
    def refuse() -> Backend:
        raise BackendUnavailable("The backend is not installed.")

    queue = JobQueue(refuse)
    ended = run(queue, job("A"), job("B"))
    assert [each.message for each in ended] == ["The backend is not installed."] * 2
