"""Faults at every stage of every job, on the add-on's own queue and the real backend.

Every case must end the same way: the job fails with a sentence that says what happened, or goes on
as if nothing had; no process is left; and the next job works.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import extension_package
import numpy as np
from expected import ANSWER, BEFORE_GREETING, EXPECTED, IN_ANSWER, LIMITS, expected_words

extension_package.load()

from fairfield_extension.blender_addon.client import backend as backend_module  # noqa: E402
from fairfield_extension.blender_addon.client import jobs as jobs_module  # noqa: E402
from fairfield_extension.blender_addon.client.backend import Backend  # noqa: E402
from fairfield_extension.blender_addon.client.jobs import (  # noqa: E402
    ExtractSettings,
    FitSettings,
    Job,
    JobQueue,
    JobState,
    SmoothSettings,
)

SERVER = Path(__file__).with_name("faulty_server.py")
JOBS = ("fit", "smooth", "extract")
MODULES = {"backend": backend_module, "jobs": jobs_module}

CASE_SECONDS = 90.0


@dataclass(frozen=True)
class Case:
    """One fault at one stage of one job."""

    fault: str
    job: str
    stage: str


@dataclass(frozen=True)
class Outcome:
    """What a case ended in; `lost` says what was not as it must be, empty if all was."""

    case: Case
    message: str
    lost: str
    seconds: float


def cases(stages: dict[str, int]) -> Iterator[Case]:
    """Yield every fault at every stage of every job, given the number of stages of each."""
    for fault in BEFORE_GREETING:
        yield Case(fault, "fit", "0")
    for job in JOBS:
        for number in range(1, stages[job] + 1):
            for fault in EXPECTED:
                yield Case(fault, job, str(number))
        for fault in IN_ANSWER:
            yield Case(fault, job, ANSWER)


def count_stages() -> dict[str, int]:
    """Return how many stages each job has, by running each."""
    counted = {}
    for name in JOBS:
        starter = _Starter(Case("none", name, "1"))
        queue = JobQueue(starter)
        job = new_job(name)
        _run(queue, job)
        assert job.state is JobState.DONE, job.message
        pattern = re.compile(r"stage (\d+): (.+)")
        counted[name] = sum(1 for line in queue.log if pattern.match(line))
        queue.stop_backend()
    return counted


def run_case(case: Case) -> Outcome:
    """Let the fault happen and look at what it leaves behind."""
    for (module, name), seconds in LIMITS.items():
        setattr(MODULES[module], name, seconds)
    starter = _Starter(case)
    queue = JobQueue(starter)
    begin = time.monotonic()
    job = new_job(case.job)
    try:
        _run(queue, job, cancel_after=1.5 if case.fault == "loop" else None)
        lost = _judge(case, job)
        struck = any("strikes" in line for backend in starter.started for line in backend.log)
        if not struck and case.fault != "chatter":
            lost = lost or "the fault did not strike"
        again = new_job(case.job)
        _run(queue, again)
        if again.state is not JobState.DONE:
            lost = lost or f"the next job: {again.state.value}: {again.message}"
    except TimeoutError as problem:
        lost = str(problem)
    finally:
        queue.stop_backend()
    _wait_until(lambda: queue.poll() == [] and queue.settled)
    left = [backend.pid for backend in starter.started if _exists(backend.pid)]
    if left:
        lost = lost or f"processes are left: {left}"
    return Outcome(case, job.message, lost, time.monotonic() - begin)


def _judge(case: Case, job: Job) -> str:
    words = expected_words(case.fault, case.stage)
    if words is None:
        return "" if job.state is JobState.DONE else f"{job.state.value}: {job.message}"
    if case.fault == "loop":
        return "" if job.state is JobState.CANCELLED else f"not cancelled but {job.state.value}"
    if case.fault == "little-memory" and job.state is JobState.DONE:
        return ""  # what was there sufficed
    if job.state is not JobState.FAILED or not re.search(words, job.message):
        return f"{job.state.value}: {job.message!r}"
    if "\n" in job.message or "Traceback" in job.message:
        return f"not one sentence: {job.message!r}"
    return ""


def new_job(name: str) -> Job:
    """A job on an octahedron: every stage is there, and a draft takes a second."""
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    faces = [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
    return Job(
        "Octahedron",
        corners,
        np.array(faces, np.int32),
        FitSettings(preset="draft", device="cpu"),
        points=corners,
        smooth=SmoothSettings() if name == "smooth" else None,
        extract=ExtractSettings(resolution=32) if name == "extract" else None,
    )


class _Starter:
    """Starts the faulty backend once, and sound ones after it."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.started: list[Backend] = []

    def __call__(self) -> Backend:
        fault = "none" if self.started else self._case.fault
        command = [sys.executable, str(SERVER), fault, self._case.job, self._case.stage]
        self.started.append(Backend(command))
        return self.started[-1]


def _run(queue: JobQueue, job: Job, cancel_after: float | None = None) -> None:
    """Run a job to its end; with a time, cancel it so long after the last sign of progress."""
    queue.add([job])
    moved, before = time.monotonic(), None
    deadline = time.monotonic() + CASE_SECONDS
    while not job.ended:
        queue.poll()
        now = time.monotonic()
        if queue.progress != before:
            moved, before = now, queue.progress
        working = not queue.progress.text.startswith("Starting")
        if cancel_after is not None and working and now - moved > cancel_after:
            queue.cancel()
        if now > deadline:
            raise TimeoutError(f"nothing after {CASE_SECONDS:.0f} s: {queue.progress.text}")
        time.sleep(0.002)


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5.0
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
