"""What installing and removing the backend have in common."""

from __future__ import annotations

import time
from collections.abc import Callable

import bpy

from .. import launch, session, timer
from ..client.environment import BackendUnavailable
from ..client.installation import Installation, InstallationState


class InstallationOperator:
    """Mixed into an operator: `remove` says which of the two it is."""

    remove: bool
    report: Callable[[set[str], str], None]

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Start it and return; the timer follows it."""
        if bpy.app.background:
            return self.execute(context)
        if not self._start():
            return {"CANCELLED"}
        timer.ensure()
        return {"FINISHED"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start it and wait for its end; an interrupt from the keyboard cancels."""
        if not self._start():
            return {"CANCELLED"}
        active = session.current()
        installation = active.installation
        assert installation is not None
        while active.installing:
            try:
                active.step()
                time.sleep(0.05)
            except KeyboardInterrupt:
                installation.cancel()
        if installation.state is not InstallationState.DONE:
            self.report({"ERROR"}, installation.error or "The installation was cancelled.")
            return {"CANCELLED"}
        return {"FINISHED"}

    def _start(self) -> bool:
        active = session.current()
        options = launch.preferences().install_options()
        if active.installing:
            self.report({"ERROR"}, "An installation is under way; wait for it or cancel it first.")
            return False
        if not (self.remove or options.wheelhouse or bpy.app.online_access):
            self.report(
                {"ERROR"},
                "Blender may not go online; allow it in Preferences > System, or set a wheelhouse.",
            )
            return False
        try:
            environment = launch.managed_environment()
        except BackendUnavailable as problem:
            self.report({"ERROR"}, str(problem))
            return False
        # A running backend would keep files of the environment open.
        active.forget_jobs()
        active.queue.stop_backend()
        active.installation = Installation(environment, options, remove=self.remove)
        active.installation.start()
        return True
