"""The artist's jobs: fit, refine, smooth and extract chained over meshes, one after another.

A `Job` says what is wanted of one mesh. The `JobQueue` works out which requests that takes (a field
that the backend still has is not fitted again), sends one at a time, and hands jobs back when they
have ended. Plain objects with a `poll()`; nothing here knows Blender.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any

import numpy as np

from ...backend.fairfield import wire
from . import answers
from .backend import (
    Answer,
    Backend,
    BackendState,
    Ended,
    Event,
    Refusal,
    StepProgress,
)
from .environment import BackendUnavailable

# Fields that a backend keeps for later clicks; the one used longest ago is released first.
KEPT_FIELDS = 8
# A backend answers a cancelled request within a second; one that does not is ended.
CANCEL_SECONDS = 5.0
# The pauses before a new backend goes on with the other meshes of a click, after the first crash
# in a row, the second, ...; after one more, the click is given up.
RESTART_SECONDS = (0.5, 2.0)

SCALE_AUTO = "auto"
# What the name of a refined field ends with.
REFINED = "-refined"
Scale = float | str


@dataclass(frozen=True)
class FitSettings:
    """What decides a field, apart from the mesh."""

    preset: str = "standard"
    seed: int = 0
    kind: str = "hash-grid"
    device: str = "auto"


@dataclass(frozen=True)
class SmoothSettings:
    """How a field is differentiated; `scale` is "auto" or a length in the mesh's units."""

    scale: Scale = SCALE_AUTO
    scale_factor: float = 1.0
    operator: str = "polynomial-lattice"


@dataclass(frozen=True)
class ExtractSettings:
    """How a mesh is drawn from a field; `scale` None takes the raw field."""

    resolution: int = 256
    scale: Scale | None = SCALE_AUTO
    scale_factor: float = 1.0


class JobState(Enum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Step(Enum):
    """One request of a job; the value is its method on the wire."""

    FIT = "fit"
    REFINE = "finetune"
    SMOOTH = "smooth"
    EXTRACT = "extract"


_VERBS = {
    Step.FIT: "Fitting",
    Step.REFINE: "Refining",
    Step.SMOOTH: "Smoothing",
    Step.EXTRACT: "Extracting",
}
# How long the steps take in relation to each other, for one progress bar over all of them.
_WEIGHTS = {Step.FIT: 6.0, Step.REFINE: 3.0, Step.SMOOTH: 1.0, Step.EXTRACT: 2.0}


@dataclass(frozen=True)
class Outcome:
    """The answer to one step: `result` as on the wire, its arrays by name, and what it took."""

    result: dict[str, Any]
    arrays: dict[str, np.ndarray]
    seconds: float


@dataclass(eq=False)
class Job:
    """What is wanted of one mesh, and what has come of it.

    Parameters
    ----------
    name
        What the artist calls the mesh.
    vertices, triangles
        (V, 3) float32 or float64 and (F, 3) int32: the surface to fit.
    fit
        Settings of the field.
    points
        (N, 3), where to smooth; needed with `smooth`.
    smooth, extract
        Settings of these steps; None leaves a step out.
    refine
        Whether to fine-tune the field after the fit; the other steps use what comes of it.
    """

    name: str
    vertices: np.ndarray
    triangles: np.ndarray
    fit: FitSettings = field(default_factory=FitSettings)
    points: np.ndarray | None = None
    smooth: SmoothSettings | None = None
    extract: ExtractSettings | None = None
    refine: bool = False
    state: JobState = JobState.WAITING
    message: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    smoothed: Outcome | None = None
    extracted: Outcome | None = None

    def __post_init__(self) -> None:
        self.fit_key = field_key(self.vertices, self.triangles, self.fit)

    @property
    def key(self) -> str:
        """The name of the field that is smoothed and extracted."""
        return self.fit_key + REFINED if self.refine else self.fit_key

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to this job."""
        return self.state not in (JobState.WAITING, JobState.RUNNING)

    def end(self, state: JobState, message: str = "") -> None:
        """Set the final state, with a sentence for the artist where there is something to say."""
        self.state, self.message = state, message


@dataclass(frozen=True)
class QueueProgress:
    """How far all jobs together have come, and how long they will take; one line of text."""

    fraction: float
    text: str
    seconds_left: float | None = None


def field_key(vertices: np.ndarray, triangles: np.ndarray, fit: FitSettings) -> str:
    """Return the name of the field of this mesh with these settings; 32 hexadecimal digits."""
    digest = blake2b(repr((fit, vertices.dtype.str, vertices.shape)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(vertices).data)
    digest.update(np.ascontiguousarray(triangles).data)
    return digest.hexdigest()


@dataclass
class _InFlight:
    """The request that the backend is working on."""

    step: Step
    identifier: int
    sent_at: float = field(default_factory=time.monotonic)
    progress: StepProgress | None = None
    cancelled_at: float | None = None


class JobQueue:
    """Runs jobs on a backend that it starts when there is something to do.

    Parameters
    ----------
    start_backend
        Starts a backend or raises `BackendUnavailable`.

    Attributes
    ----------
    backend
        The process, if there is one.
    problem
        Why the last process ended or could not be started; empty once one has been started.
    log
        The last lines that the latest process wrote to standard error.
    """

    def __init__(self, start_backend: Callable[[], Backend]) -> None:
        self.backend: Backend | None = None
        self.problem = ""
        self.log: deque[str] = deque()
        self._start_backend = start_backend
        self._ending: list[Backend] = []
        self._waiting: deque[Job] = deque()
        self._job: Job | None = None
        self._flight: _InFlight | None = None
        self._reports: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._added = 0
        self._first_sent_at = 0.0
        self._weight_done = 0.0
        self._ended: list[Job] = []
        self._retried = False
        self._crashes = 0
        self._start_not_before = 0.0

    @property
    def busy(self) -> bool:
        """Whether a job is waiting or running."""
        return self._job is not None or bool(self._waiting)

    @property
    def settled(self) -> bool:
        """Whether nothing is under way, not even the end of a dropped job or of a process."""
        return not self.busy and self._flight is None and not self._ending

    @property
    def transferring(self) -> bool:
        """Whether bytes are on their way, so that the next poll should come soon."""
        return self.backend is not None and self.backend.transferring

    def add(self, jobs: list[Job]) -> None:
        """Put jobs at the end of the queue."""
        if not self.busy:
            self._added = 0
            self._weight_done = 0.0
            self._crashes = 0
            self._start_not_before = 0.0
        self._waiting.extend(jobs)
        self._added += len(jobs)

    def poll(self, budget_seconds: float = 0.004) -> list[Job]:
        """Go on with the work for about `budget_seconds`; return the jobs that ended meanwhile."""
        if self.backend is not None:
            for event in self.backend.poll(budget_seconds):
                self._handle(event)
        self._give_up_on_deaf_backend()
        self._ending = [backend for backend in self._ending if not backend.gone]
        self._advance()
        ended, self._ended = self._ended, []
        return ended

    def cancel(self) -> None:
        """Cancel every job; the one that the backend is working on ends when it has answered."""
        while self._waiting:
            self._finish(self._waiting.popleft(), JobState.CANCELLED)
        if self._job is None:
            return
        if self._flight is None:
            self._finish_current(JobState.CANCELLED)
        elif self._flight.cancelled_at is None and self.backend is not None:
            self.backend.cancel(self._flight.identifier)
            self._flight.cancelled_at = time.monotonic()

    def drop(self) -> None:
        """Cancel every job and forget them all: `poll` will not hand any of them back."""
        self.cancel()
        if self._job is not None:
            self._job.end(JobState.CANCELLED)
            self._job = None
        self._ended.clear()

    def stop_backend(self) -> None:
        """End the backend process, in half a second at most; the next job starts a new one."""
        if self.backend is not None:
            self.backend.shutdown()
        self._forget_backend()

    @property
    def progress(self) -> QueueProgress:
        """How far all jobs since the queue was last empty have come."""
        job, flight = self._job, self._flight
        if job is None or not self._added:
            return QueueProgress(0.0, "")
        before = self._added - len(self._waiting) - 1
        if flight is None:
            return QueueProgress(before / self._added, "Starting the backend")
        if flight.cancelled_at is not None:
            return QueueProgress(before / self._added, "Cancelling")
        steps = _steps(job)
        weights = [_WEIGHTS[step] for step in steps]
        position = steps.index(flight.step)
        inside = flight.progress.fraction if flight.progress else 0.0
        of_job = (sum(weights[:position]) + inside * weights[position]) / sum(weights)
        stage = flight.progress.stage if flight.progress else ""
        text = f"{_VERBS[flight.step]} {job.name}" + (f": {stage}" if stage else "")
        quiet = self.backend.quiet_seconds if self.backend is not None else 0.0
        if quiet:
            text += f" (no sign of life for {quiet:.0f} s)"
        fraction = (before + of_job) / self._added
        return QueueProgress(fraction, text, self._seconds_left(job, flight))

    def _seconds_left(self, job: Job, flight: _InFlight) -> float | None:
        """What is left of the present step, and of all that follow at the pace until then."""
        of_step = flight.progress.seconds_left if flight.progress else None
        if of_step is None:
            return None
        worked = time.monotonic() - self._first_sent_at + of_step
        pace = worked / (self._weight_done + _WEIGHTS[flight.step])
        steps = _steps(job)
        following = steps[steps.index(flight.step) + 1 :]
        for each in self._waiting:
            following += [step for step in _steps(each) if not self._has_field_of(each, step)]
        return of_step + pace * sum(_WEIGHTS[step] for step in following)

    def _has_field_of(self, job: Job, step: Step) -> bool:
        """Whether a step would make a field that the backend has."""
        if step is Step.FIT:
            return job.key in self._reports or job.fit_key in self._reports
        return step is Step.REFINE and job.key in self._reports

    def _advance(self) -> None:
        """Send the next request, if the backend has none and there is one to send."""
        while self.busy and self._flight is None:
            if self._job is None:
                self._job = self._waiting.popleft()
                self._job.state = JobState.RUNNING
                self._retried = False
            if not self._backend_is_ready():
                return
            step = self._next_step(self._job)
            if step is None:
                self._crashes = 0
                self._job.report = self._reports[self._job.key]
                self._finish_current(JobState.DONE)
            else:
                self._send(self._job, step)

    def _backend_is_ready(self) -> bool:
        """Start a backend if there is none; a failure to do so ends every job."""
        if self.backend is None or self.backend.state is BackendState.ENDED:
            self._forget_backend()
            if time.monotonic() < self._start_not_before:
                return False
            try:
                self.backend = self._start_backend()
                self.log = self.backend.log
                self.problem = ""
            except BackendUnavailable as problem:
                self._fail_all(str(problem))
                return False
        return self.backend.state is BackendState.READY

    def _next_step(self, job: Job) -> Step | None:
        if job.key not in self._reports:
            return Step.REFINE if job.fit_key in self._reports else Step.FIT
        if job.smooth is not None and job.smoothed is None:
            return Step.SMOOTH
        if job.extract is not None and job.extracted is None:
            return Step.EXTRACT
        return None

    def _send(self, job: Job, step: Step) -> None:
        assert self.backend is not None
        params, arrays = _request(job, step)
        if step is not Step.FIT:
            self._reports.move_to_end(job.fit_key if step is Step.REFINE else job.key)
        if not self._weight_done:
            self._first_sent_at = time.monotonic()
        self._flight = _InFlight(step, self.backend.send(step.value, params, arrays))

    def _handle(self, event: Event) -> None:
        if isinstance(event, Ended):
            self._crashed(event.reason)
            return
        flight = self._flight
        if flight is None or getattr(event, "identifier", None) != flight.identifier:
            return
        if isinstance(event, StepProgress):
            flight.progress = event
        elif isinstance(event, Answer):
            self._flight = None
            self._weight_done += _WEIGHTS[flight.step]
            self._answered(event, flight)
        elif isinstance(event, Refusal):
            self._flight = None
            self._refused(event, flight)

    def _crashed(self, reason: str) -> None:
        """Give up the job that the backend was working on, and go on with the others."""
        could_work = self.backend is not None and self.backend.greeted
        interrupted = self._flight is not None
        self._forget_backend()
        if self._job is None:  # nobody waited for one that ended between two clicks
            return
        self._crashes += 1
        last = interrupted and not self._waiting
        if not could_work or last or self._crashes > len(RESTART_SECONDS):
            self._fail_all(reason)
            return
        if interrupted:
            self._finish_current(JobState.FAILED, f"{self._job.name}: {reason}")
        self._start_not_before = time.monotonic() + RESTART_SECONDS[self._crashes - 1]

    def _answered(self, answer: Answer, flight: _InFlight) -> None:
        """Keep the answer to the present request."""
        job = self._job
        if job is None:  # dropped meanwhile
            return
        try:
            self._take(job, flight, answer)
        except answers.WrongAnswer as problem:
            self._finish_current(
                JobState.FAILED,
                f"{job.name}: the backend's answer cannot be used, because {problem}; install the "
                "same version of Fairfield on both sides.",
            )
        else:
            if flight.cancelled_at is not None:
                self._finish_current(JobState.CANCELLED)

    def _take(self, job: Job, flight: _InFlight, answer: Answer) -> None:
        step = flight.step
        outcome = Outcome(answer.result, answer.arrays, time.monotonic() - flight.sent_at)
        if step in (Step.FIT, Step.REFINE):
            key = job.fit_key if step is Step.FIT else job.key
            self._reports[key] = answers.fit_report(answer.result)
            self._release_surplus()
        elif step is Step.SMOOTH:
            assert job.points is not None
            answers.check_smoothed(answer.result, answer.arrays, len(job.points))
            job.smoothed = outcome
        else:
            answers.check_extracted(answer.result, answer.arrays)
            job.extracted = outcome

    def _refused(self, refusal: Refusal, flight: _InFlight) -> None:
        job = self._job
        if job is None:
            return
        if flight.cancelled_at is not None or refusal.code == wire.CANCELLED:
            self._finish_current(JobState.CANCELLED)
        elif refusal.code == wire.UNKNOWN_FIELD and not self._retried:
            self._retried = True
            for key in {job.key, job.fit_key}:
                self._reports.pop(key, None)
        else:
            self._finish_current(JobState.FAILED, f"{job.name}: {refusal.message}")

    def _release_surplus(self) -> None:
        while len(self._reports) > KEPT_FIELDS:
            key, _ = self._reports.popitem(last=False)
            if self.backend is not None:
                self.backend.send("release", {"field": key})

    def _give_up_on_deaf_backend(self) -> None:
        flight = self._flight
        if flight is None or flight.cancelled_at is None:
            return
        if time.monotonic() - flight.cancelled_at > CANCEL_SECONDS:
            if self.backend is not None:
                self.backend.kill()
            self._forget_backend()
            self._finish_current(JobState.CANCELLED)

    def _forget_backend(self) -> None:
        if self.backend is not None and not self.backend.gone:
            self._ending.append(self.backend)
        self.backend = None
        self._flight = None
        self._reports.clear()

    def _fail_all(self, message: str) -> None:
        self.problem = message
        if self._job is not None:
            self._finish_current(JobState.FAILED, message)
        while self._waiting:
            self._finish(self._waiting.popleft(), JobState.FAILED, message)

    def _finish_current(self, state: JobState, message: str = "") -> None:
        job, self._job = self._job, None
        if job is not None:
            self._finish(job, state, message)

    def _finish(self, job: Job, state: JobState, message: str = "") -> None:
        job.end(state, message)
        self._ended.append(job)


def _steps(job: Job) -> list[Step]:
    wanted = {
        Step.FIT: job.fit,
        Step.REFINE: job.refine or None,
        Step.SMOOTH: job.smooth,
        Step.EXTRACT: job.extract,
    }
    return [step for step, settings in wanted.items() if settings is not None]


def _request(job: Job, step: Step) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the parameters and arrays of a step's request."""
    if step is Step.FIT:
        fit = job.fit
        params = {
            "field": job.fit_key,
            "preset": fit.preset,
            "seed": fit.seed,
            "kind": fit.kind,
            "device": fit.device,
        }
        return params, {"vertices": job.vertices, "triangles": job.triangles}
    if step is Step.REFINE:
        params = {"field": job.fit_key, "tuned_field": job.key}
        return params, {"vertices": job.vertices, "triangles": job.triangles}
    if step is Step.SMOOTH:
        assert job.smooth is not None
        assert job.points is not None
        smooth = job.smooth
        params = {
            "field": job.key,
            "scale": smooth.scale,
            "scale_factor": smooth.scale_factor,
            "operator": smooth.operator,
        }
        arrays = {"points": job.points}
        if np.array_equal(job.points, job.vertices):  # not where modifiers made another surface
            arrays["triangles"] = job.triangles
        return params, arrays
    assert job.extract is not None
    extract = job.extract
    params = {
        "field": job.key,
        "resolution": extract.resolution,
        "scale": extract.scale,
        "scale_factor": extract.scale_factor,
    }
    return params, {}
