"""What Fit, Refine, Smooth and Extract share: a button starts a job, a script waits for it."""

from __future__ import annotations

from collections.abc import Callable

import bpy

from .. import session, timer
from ..client.environment import BackendUnavailable
from ..session import Click, Goal
from ..sources import SceneError


class JobOperator:
    """Mixed into an operator: `goal` says what the job is for.

    None of them is modal, since a modal operator keeps autosave waiting and swallows keys, and none
    has an undo step: the results bring theirs.
    """

    goal: Goal
    report: Callable[[set[str], str], None]

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Start the job and return; the timer follows it."""
        if bpy.app.background:
            return self.execute(context)
        if self._start(context) is None:
            return {"CANCELLED"}
        timer.ensure()
        return {"FINISHED"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the job and wait until its results are written."""
        if self.goal.writes and context.mode != "OBJECT":
            mode = context.active_object.mode.replace("_", " ").title()
            self.report({"ERROR"}, f"Results are written in Object Mode; leave {mode} Mode first.")
            return {"CANCELLED"}
        click = self._start(context)
        if click is None:
            return {"CANCELLED"}
        try:
            session.current().finish(click, context)
        except SceneError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        for message in session.current().messages:
            self.report({"WARNING"}, message)
        return {"FINISHED"}

    def _start(self, context: bpy.types.Context) -> Click | None:
        try:
            click = session.current().start(self.goal, context)
        except (SceneError, BackendUnavailable) as problem:
            self.report({"ERROR"}, str(problem))
            return None
        for sentence in click.problems:
            self.report({"WARNING"}, sentence.text)
        return click
