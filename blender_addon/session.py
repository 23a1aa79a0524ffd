"""What is going on between two clicks: the jobs under way, the results that wait, the last words.

There is one `Session` while the extension is enabled. It is moved on by `step()`, from the timer or
from a loop, and never holds on to anything of Blender's between two calls: objects are found again
by their `session_uid`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import bpy

from . import extractions, launch, overlay, reports, results, sources
from .client.installation import Installation
from .client.jobs import Job, JobQueue, JobState
from .messages import Message, each_once, present_objects, still_true
from .reports import Report
from .results import Work
from .sources import SceneError, Source

# Modes in which a mesh belongs to a tool: what is written to it meanwhile is lost.
_HOLDING_MODES = {"EDIT", "SCULPT"}


class Goal(Enum):
    """What a click asks for."""

    FIT = "fit"
    REFINE = "refine"
    SMOOTH = "smooth"
    EXTRACT = "extract"

    @property
    def writes(self) -> bool:
        """Whether the result belongs into the scene."""
        return self in (Goal.SMOOTH, Goal.EXTRACT)


@dataclass
class Click:
    """One press of a button: the work it asks for and what went wrong with it."""

    goal: Goal
    work: list[Work]
    problems: list[Message] = field(default_factory=list)
    succeeded: bool = False

    @property
    def ended(self) -> bool:
        """Whether the backend has nothing more to do for it."""
        return all(work.job.ended for work in self.work)


class Session:
    """The state of the extension; see the module's text."""

    def __init__(self) -> None:
        self.queue = JobQueue(launch.start)
        self.installation: Installation | None = None
        self.click: Click | None = None
        self.waiting: list[tuple[Goal, Work]] = []
        self._messages: list[Message] = []
        self.reports: dict[int, Report] = {}
        # The meshes that were refined, by `session_uid`, with the name of the fit: an equal mesh of
        # another object is not refined, nor is this one once it was changed.
        self.refined: set[tuple[int, str]] = set()

    @property
    def idle(self) -> bool:
        """Whether there is nothing that a step would move on."""
        return (
            self.queue.settled and not self.installing and not self.waiting and self.click is None
        )

    @property
    def messages(self) -> list[str]:
        """What there is to say of the last click and its results, without what is gone."""
        return [each.text for each in still_true(self._messages)]

    @property
    def brief(self) -> str:
        """The same in a word or two; empty if there is nothing to say."""
        messages = still_true(self._messages)
        return messages[-1].brief if messages else ""

    def tell(self, messages: Iterable[Message]) -> None:
        """Say this in place of what was said before."""
        self._messages = list(messages)

    @property
    def installing(self) -> bool:
        """Whether the backend is being installed or removed."""
        return self.installation is not None and not self.installation.finished

    def start(self, goal: Goal, context: bpy.types.Context) -> Click:
        """Read the selected meshes and queue what the goal takes.

        Raises
        ------
        SceneError
            If work is under way already, or nothing selected can be worked on.
        BackendUnavailable
            If there is no backend to start.
        """
        if self.queue.busy or self.click is not None:
            raise SceneError("Fairfield is still working; wait for it or click Cancel first.")
        settings = context.scene.fairfield
        read = extractions if goal is Goal.EXTRACT else sources
        found, problems = read.read_selected(context, settings.units)
        if not found:
            raise SceneError(" ".join(each.text for each in problems))
        self._use_chosen_backend()
        work = [Work(source, self._job(goal, source, settings)) for source in found]
        self.click = Click(goal, work, problems)
        self.tell([])
        self.queue.add([each.job for each in work])
        return self.click

    def step(self, budget_seconds: float = 0.004) -> None:
        """Move on what is under way; results are then in `waiting`."""
        if self.installation is not None and self.installing:
            self.installation.poll()
        self.queue.poll(budget_seconds)
        click = self.click
        if click is not None and click.ended:
            self.click = None
            self._end(click)

    def finish(self, click: Click, context: bpy.types.Context) -> None:
        """Wait for a click's work and write its results; an interrupt from the keyboard cancels.

        Raises
        ------
        SceneError
            If nothing came of it.
        """
        interrupted = False
        while self.click is click:
            try:
                self.step(0.05)
                time.sleep(0.002)
            except KeyboardInterrupt:
                interrupted = True
                self.queue.cancel()
        self.write_results(context)
        kept = [each for each in self.waiting if not any(each[1] is own for own in click.work)]
        dropped, self.waiting = len(self.waiting) > len(kept), kept
        if dropped:
            raise SceneError(
                "The result is dropped, because a tool holds the scene; return every object to "
                "Object Mode first."
            )
        if interrupted:
            raise SceneError("Fairfield was interrupted from the keyboard.")
        if not click.succeeded:
            raise SceneError(" ".join(self.messages) or "Fairfield was cancelled.")

    @property
    def writable_goal(self) -> Goal | None:
        """The goal of the results that can be written now; None if there are none."""
        return next((goal for goal, work in self.waiting if not _held(goal, work.source)), None)

    def write_results(self, context: bpy.types.Context, only: Goal | None = None) -> bool:
        """Write the results whose meshes are not held by a tool; the others go on waiting.

        `only` leaves all but those of one goal waiting. Return whether anything was written.
        """

        def is_ready(goal: Goal, work: Work) -> bool:
            return only in (None, goal) and not _held(goal, work.source)

        ready = [each for each in self.waiting if is_ready(*each)]
        self.waiting = [each for each in self.waiting if not is_ready(*each)]
        added: list[bpy.types.Object] = []
        smoothed = False
        for goal, work in ready:
            try:
                if goal is Goal.EXTRACT:
                    made = results.add_extracted(work, context)
                    self._keep_surface_report(work, made)
                    added += made
                else:
                    results.write_smoothed(work, context.scene)
                    smoothed = True
            except SceneError as problem:
                self._messages.append(_about(work, str(problem)))
        if added:
            results.select_only(added, context)
        if smoothed:
            overlay.turn_on(context.window_manager)
        return smoothed or bool(added)

    def forget_jobs(self) -> None:
        """Cancel what is under way; results that wait go on waiting."""
        self.queue.drop()
        self.click = None

    def forget_scene(self) -> None:
        """Cancel and forget everything that belongs to the open file."""
        self.forget_jobs()
        self.waiting.clear()
        self.reports.clear()
        self.refined.clear()
        self.tell([])

    def close(self) -> None:
        """End the processes of the session."""
        self.forget_scene()
        if self.installation is not None:
            self.installation.close()
        self.queue.stop_backend()

    def _use_chosen_backend(self) -> None:
        """Refuse early where no backend can be started, and end one that is no longer chosen."""
        command = launch.command()
        backend = self.queue.backend
        if backend is not None and backend.command != tuple(command):
            self.queue.stop_backend()

    def _end(self, click: Click) -> None:
        """Take the results of a click, and say what went wrong."""
        messages = list(click.problems)
        for work in click.work:
            job = work.job
            if job.state is JobState.DONE:
                click.succeeded = True
                texts = [*work.source.warnings, *_unanswered(work)]
                messages += [_about(work, text) for text in texts]
                for index, uid in enumerate(work.source.objects):
                    self.reports[uid] = reports.of_field(work, index, self.reports.get(uid))
                if click.goal is Goal.REFINE:
                    self.refined.add((work.source.mesh, job.fit_key))
                elif click.goal is Goal.FIT:
                    self.refined.discard((work.source.mesh, job.fit_key))
                if click.goal.writes:
                    self._let_wait(click.goal, work)
            elif job.message:
                messages.append(_about(work, job.message))
        if any(work.job.state is JobState.CANCELLED for work in click.work):
            messages.append(_cancelled(click, more=bool(messages)))
        self.tell(each_once(messages))

    def _keep_surface_report(self, work: Work, made: list[bpy.types.Object]) -> None:
        digest = sources.mesh_digest(made[0].data)  # but for materials they share it
        for each in made:
            self.reports[each.session_uid] = reports.of_surface(
                work, digest, sources.modifiers_digest(each)
            )

    def _let_wait(self, goal: Goal, work: Work) -> None:
        """Keep a result until it is written; what it would overwrite need not be written first."""
        mesh = work.source.mesh
        if goal is Goal.SMOOTH:
            self.waiting = [
                (earlier, other)
                for earlier, other in self.waiting
                if earlier is not Goal.SMOOTH or other.source.mesh != mesh
            ]
        self.waiting.append((goal, work))

    def _job(self, goal: Goal, source: Source, settings: Any) -> Job:
        """What a goal takes: Refine makes the later clicks use the refined field, Fit the plain."""
        unit = source.placement.unit
        job = Job(
            name=source.name,
            vertices=source.vertices,
            triangles=source.triangles,
            fit=settings.fit_settings(),
            points=source.points,
            smooth=settings.smooth_settings(unit) if goal is Goal.SMOOTH else None,
            extract=settings.extract_settings(unit) if goal is Goal.EXTRACT else None,
        )
        was_refined = (source.mesh, job.fit_key) in self.refined
        job.refine = goal is Goal.REFINE or (goal.writes and was_refined)
        return job


_session: Session | None = None


def current() -> Session:
    """Return the session of the enabled extension."""
    assert _session is not None, "the extension is not registered"
    return _session


def open_session() -> None:
    """Begin the session when the extension is enabled."""
    global _session
    _session = Session()


def close_session() -> None:
    """End the session and its processes; of no effect without one."""
    global _session
    if _session is not None:
        _session.close()
        _session = None


def _about(work: Work, text: str) -> Message:
    """A message about the objects of a source that are there; of no object if none is."""
    return Message(text, tuple(present_objects().intersection(work.source.objects)))


def _cancelled(click: Click, more: bool) -> Message:
    """What is said when a click was cancelled: which of several objects were done before.

    Parameters
    ----------
    more
        Whether there is more to say.
    """
    done = [work.source.name for work in click.work if work.job.state is JobState.DONE]
    count = len(click.work)
    text = "Cancelled."
    if done:
        text = f"Cancelled. Done before: {', '.join(done)}, {len(done)} of {count} objects."
    elif count > 1:
        text = f"Cancelled. None of the {count} objects was done."
    return Message(text, brief="Cancelled, see Report" if more or count > 1 else "Cancelled")


def _unanswered(work: Work) -> list[str]:
    """A sentence if there are vertices that the backend had no answer for."""
    smoothed = work.job.smoothed
    missing = smoothed.result.get("unanswered", 0) if smoothed is not None else 0
    if not missing:
        return []
    return [
        f"{work.source.name}: no answer at {missing} of {len(work.source.points)} vertices, for "
        "instance since they are inside other parts; these are grey in the overlay."
    ]


def _held(goal: Goal, source: Source) -> bool:
    """Whether a mode such as Edit Mode is in the way of writing a result."""
    if goal is Goal.EXTRACT:
        # New objects become the selection, which no other mode than Object Mode allows.
        return any(each.mode != "OBJECT" for each in bpy.data.objects)
    return any(
        each.mode in _HOLDING_MODES
        for each in bpy.data.objects
        if each.session_uid in source.objects
        or (each.type == "MESH" and each.data.session_uid == source.mesh)
    )
