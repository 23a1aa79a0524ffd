"""The queue of jobs: which requests are sent, what is kept, and what a fault leaves behind."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from fairfield_extension.blender_addon.client import backend as backend_module
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


def test_smooth_sends_the_triangles_of_the_vertices_that_were_fitted():
    same = job(smooth=SmoothSettings())
    _, arrays = module._request(same, module.Step.SMOOTH)
    assert arrays.keys() == {"points", "triangles"}
    same.points = same.points + 1
    _, arrays = module._request(same, module.Step.SMOOTH)
    assert arrays.keys() == {"points"}


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
    first = job("First")
    queue.add([first])
    poll_until(queue.poll, lambda: queue.progress.fraction > 0)
    os.kill(starter.started[0].pid, signal.SIGKILL)
    poll_until(queue.poll, lambda: not queue.busy)
    assert first.state is JobState.FAILED
    assert first.message == queue.problem
    assert "killed (signal 9)" in queue.problem
    starter.command = [*starter.command[:-1], "good"]
    (again,) = run(queue, job())
    assert again.state is JobState.DONE
    assert queue.problem == ""


def test_a_mesh_that_kills_the_backend_does_not_take_the_others_along(queue_of, run):
    """ "crashes-on-big" stands for one that needs more memory than there is."""
    queue, starter = queue_of("crashes-on-big")
    jobs = [job("Small"), job("Big", 1000.0), job("Other", 2.0, smooth=SmoothSettings())]
    run(queue, *jobs)
    assert [each.state for each in jobs] == [JobState.DONE, JobState.FAILED, JobState.DONE]
    assert jobs[1].message.startswith("Big: The backend was killed (signal 9)")
    assert queue.problem == ""
    assert len(starter.started) == 2


def test_a_backend_that_keeps_crashing_is_given_up(queue_of, run, monkeypatch):
    monkeypatch.setattr(module, "RESTART_SECONDS", (0.05, 0.3))
    queue, starter = queue_of("crashes-on-big")
    meshes = [job(str(size), float(size)) for size in range(1000, 1005)]
    begin = time.monotonic()
    run(queue, *meshes)
    assert {each.state for each in meshes} == {JobState.FAILED}
    assert len(starter.started) == 3
    assert time.monotonic() - begin > 0.35  # the pauses
    assert "killed (signal 9)" in queue.problem
    # The next click is the artist's decision and starts afresh.
    (again,) = run(queue, job())
    assert again.state is JobState.DONE


def test_a_backend_that_dies_between_the_steps_of_a_job_is_given_up(queue_of, run, monkeypatch):
    monkeypatch.setattr(module, "RESTART_SECONDS", (0.05, 0.05))
    queue, starter = queue_of("dies-after-a-fit")
    (ended,) = run(queue, job(smooth=SmoothSettings()))
    assert ended.state is JobState.FAILED
    assert "exit code 3" in ended.message
    assert len(starter.started) <= 3


def test_a_backend_that_cannot_start_is_not_tried_again(queue_of, run):
    queue, starter = queue_of("lacks-a-package")
    first, second = job("First"), job("Second")
    run(queue, first, second)
    assert first.message == second.message == queue.problem
    assert "lacks the package 'torch'" in queue.problem
    assert len(starter.started) == 1


@pytest.mark.parametrize(
    ("behaviour", "wanted", "words"),
    [
        ("sends-no-report", {}, "its report names no seconds"),
        ("sends-too-few-rows", {"smooth": SmoothSettings()}, "has shape (2,) for 3 vertices"),
        ("sends-a-bad-triangle", {"extract": ExtractSettings()}, "vertex that is not there"),
        ("sends-an-odd-cell", {"extract": ExtractSettings()}, "its cell size is 'a mile'"),
    ],
)
def test_answers_that_blender_must_not_see(queue_of, run, behaviour, wanted, words):
    queue, starter = queue_of(behaviour)
    (ended,) = run(queue, job(**wanted))
    assert ended.state is JobState.FAILED
    assert words in ended.message
    assert "same version of Fairfield" in ended.message
    assert ended.smoothed is ended.extracted is None
    assert queue.backend is starter.started[0]


def test_a_silent_backend_is_noticed_told_of_and_ended(queue_of, run, monkeypatch, poll_until):
    for name, seconds in (("PING", 0.1), ("QUIET", 0.3), ("HUNG", 1.5)):
        monkeypatch.setattr(backend_module, f"{name}_SECONDS", seconds)
    queue, starter = queue_of("never-answers")
    first = job("First")
    queue.add([first])
    poll_until(queue.poll, lambda: queue.progress.fraction > 0)
    stopped = starter.started[0].pid
    os.kill(stopped, signal.SIGSTOP)
    poll_until(queue.poll, lambda: "no sign of life for" in queue.progress.text)
    os.kill(stopped, signal.SIGCONT)
    poll_until(queue.poll, lambda: "no sign of life" not in queue.progress.text)
    os.kill(stopped, signal.SIGSTOP)
    poll_until(queue.poll, lambda: not queue.busy)
    assert first.state is JobState.FAILED
    assert "gave no sign of life" in first.message
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)
    starter.command = [*starter.command[:-1], "good"]
    (again,) = run(queue, job())
    assert again.state is JobState.DONE


def test_a_backend_that_answers_pings_may_work_as_long_as_it_likes(
    queue_of, monkeypatch, poll_until
):
    for name, seconds in (("PING", 0.05), ("QUIET", 0.2), ("HUNG", 0.4)):
        monkeypatch.setattr(backend_module, f"{name}_SECONDS", seconds)
    queue, _ = queue_of("never-answers")
    queue.add([job()])
    poll_until(queue.poll, lambda: queue.progress.fraction > 0)
    end = time.monotonic() + 1.5
    poll_until(queue.poll, lambda: time.monotonic() > end)
    assert queue.busy


def test_time_in_which_nobody_polled_does_not_count_as_silence(queue_of, monkeypatch, poll_until):
    """Blender rendered, or the computer slept: the backend had no chance to be heard."""
    for name, seconds in (("PING", 0.01), ("QUIET", 0.2), ("HUNG", 0.5)):
        monkeypatch.setattr(backend_module, f"{name}_SECONDS", seconds)
    monkeypatch.setattr(backend_module, "LONGEST_GAP_SECONDS", 0.05)
    queue, starter = queue_of("never-answers")
    queue.add([job()])
    poll_until(queue.poll, lambda: queue.progress.fraction > 0)
    os.kill(starter.started[0].pid, signal.SIGSTOP)
    queue.poll()
    time.sleep(1.0)
    queue.poll()
    assert queue.busy
    os.kill(starter.started[0].pid, signal.SIGCONT)
    end = time.monotonic() + 0.7
    poll_until(queue.poll, lambda: time.monotonic() > end)
    assert queue.busy


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


def test_time_left_counts_the_steps_and_meshes_that_follow(queue_of, run, poll_until):
    queue, _ = queue_of("is-half-way-in-big-fits")
    known = job("Known", smooth=SmoothSettings())
    run(queue, job())
    queue.add([job("Big", size=99, smooth=SmoothSettings()), known, job("New", size=2)])
    poll_until(queue.poll, lambda: queue.progress.seconds_left is not None)
    # After 10 s of this fit: two Smooths, since one mesh was fitted before, and another fit.
    fit, smooth = module._WEIGHTS[module.Step.FIT], module._WEIGHTS[module.Step.SMOOTH]
    expected = 10 + 10 / fit * (smooth + smooth + fit)
    assert queue.progress.seconds_left == pytest.approx(expected, rel=0.1)
    queue.cancel()


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
