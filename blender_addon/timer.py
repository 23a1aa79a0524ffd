"""The clock that moves the session on in Blender's window.

One function is registered with `bpy.app.timers`, only while something is under way or a backend
lives. A tick moves bytes for a few milliseconds and returns, so the interface goes on answering.
Results are written by a short operator, so that undo takes them back under a name of their own.
"""

from __future__ import annotations

import time
import traceback

import bpy

from . import session
from .messages import Message
from .session import Goal

WORKING_SECONDS = 0.03
WAITING_SECONDS = 0.3
# A backend that nobody needs now is still looked at: if it ends, the panel says so and the system
# is rid of it.
IDLE_SECONDS = 2.0
REDRAW_SECONDS = 0.2

_OWN_ERROR = "Fairfield stopped because of an error of its own; the system console has the details."
_APPLY = {Goal.SMOOTH: "apply_smooth", Goal.EXTRACT: "apply_extract"}

_drawn: tuple[object, ...] = ()
_drawn_at = 0.0


def ensure() -> None:
    """Run the clock from now on, as long as there is something to do."""
    if not bpy.app.background:
        stop()  # it may be waiting for its next look at an idle backend
        # It outlives the file: the end of what a loaded file dropped is still to be followed.
        bpy.app.timers.register(_tick, persistent=True)


def stop() -> None:
    """Stop the clock; a timer that is registered at Blender's exit crashes it."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)


def _tick() -> float | None:
    """Move the session on; return the seconds until the next tick, or None to stop."""
    active = session.current()
    try:
        active.step()
        goal = active.writable_goal
        if goal is not None and not _artist_is_in_the_middle_of_something():
            _write(goal)
    except Exception:
        # An exception would silently end the timer and leave a session that is busy for ever.
        traceback.print_exc()
        active.forget_scene()
        active.tell([Message(_OWN_ERROR)])
    _redraw(active)
    if active.idle:
        return None if active.queue.backend is None else IDLE_SECONDS
    if active.queue.transferring:
        return 0.0
    return WORKING_SECONDS if active.queue.busy or active.installing else WAITING_SECONDS


def _artist_is_in_the_middle_of_something() -> bool:
    """Whether an operator with undo is running, such as a drag: a step now would cut it in two.

    Other modal operators, such as those that show pressed keys, may run all day.
    """
    return any(
        "UNDO" in operator.bl_options
        for window in bpy.context.window_manager.windows
        for operator in window.modal_operators
    )


def _write(goal: Goal) -> None:
    """Call the operator that writes results, as if the artist had: with an undo step."""
    windows = bpy.context.window_manager.windows
    if not windows:
        return
    with bpy.context.temp_override(window=windows[0]):
        getattr(bpy.ops.fairfield, _APPLY[goal])("EXEC_DEFAULT", True)


def _redraw(active: session.Session) -> None:
    """Redraw the panels that show the session, when what they show has changed."""
    global _drawn, _drawn_at
    progress = active.queue.progress
    installation = active.installation
    backend = active.queue.backend
    shown = (
        progress,
        tuple(active.messages),
        len(active.waiting),
        active.idle,
        None if backend is None else backend.state,
        installation and (installation.state, installation.fraction, installation.message),
    )
    now = time.monotonic()
    if shown == _drawn or (now - _drawn_at < REDRAW_SECONDS and not active.idle):
        return
    _drawn, _drawn_at = shown, now
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            for region in area.regions:
                if (area.type, region.type) in {("VIEW_3D", "UI"), ("PREFERENCES", "WINDOW")}:
                    region.tag_redraw()
