"""The add-on's side of an installation: starts the installer program and follows it.

Like everything in this package it never waits: `poll` reads what has arrived and returns.
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from .environment import MODULES, ManagedEnvironment, child_environment
from .install_advice import advise
from .install_request import InstallEvent, InstallOptions, InstallRequest, Step
from .pipes import make_nonblocking, read_available

_PROGRAM = Path(__file__).with_name("install.py")
_READ_BYTES = 1 << 16
_KILL_AFTER_SECONDS = 2.0
_LOG_TAIL_BYTES = 20_000


class InstallationState(enum.Enum):
    """What an installation is doing."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Installation:
    """One run of the installer, to be polled from a timer.

    Parameters
    ----------
    environment
        What to install into.
    options
        Where packages come from.
    remove
        Remove the managed environment and all that belongs to it, instead of installing it.
    modules
        The modules that must import before the environment counts as complete.

    Attributes
    ----------
    state
        Changes in `start`, `poll` and `cancel` only.
    fraction
        How much is done, 0 to 1.
    stage
        The present step, in words.
    message
        What is being done within the step, or the result of one that is done; may be empty.
    error
        After a failure: one sentence with the remedy. Otherwise empty.
    """

    def __init__(
        self,
        environment: ManagedEnvironment,
        options: InstallOptions | None = None,
        *,
        remove: bool = False,
        modules: tuple[str, ...] = MODULES,
    ) -> None:
        self.environment = environment
        self.state = InstallationState.IDLE
        self.fraction = 0.0
        self.stage = ""
        self.message = ""
        self.error = ""
        self._options = options or InstallOptions()
        self._request = InstallRequest(
            root=str(environment.root.absolute()),
            environment=str(environment.folder.absolute()),
            constraints=str(environment.constraints.absolute()),
            log=str(environment.log.absolute()),
            modules=modules,
            options=self._options,
            remove=remove,
        )
        self._step = Step.REMOVE if remove else Step.CHECK
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._last_event: InstallEvent | None = None
        self._kill_at: float | None = None

    def start(self) -> None:
        """Start the installer; a problem with that shows as the state FAILED.

        Raises
        ------
        RuntimeError
            If it was started before.
        """
        if self.state is not InstallationState.IDLE:
            raise RuntimeError("an Installation can be started once; make a new one")
        try:
            self.environment.root.mkdir(parents=True, exist_ok=True)
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_PROGRAM)],
                cwd=self.environment.root,
                env=child_environment(managed=True),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Its own session, so that the whole tree can be ended at once.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
            assert self._process.stdin
            assert self._process.stdout
            # The request is far smaller than any pipe's buffer, so this does not wait.
            self._process.stdin.write(self._request.to_json().encode() + b"\n")
            self._process.stdin.flush()
            make_nonblocking(self._process.stdout.fileno())
        except OSError as problem:
            self._end(InstallationState.FAILED, self._advice(str(problem)))
            self.close()
            return
        self.state = InstallationState.RUNNING
        self.stage = self._step.value

    def poll(self) -> InstallationState:
        """Take in what the installer has reported; return the state."""
        if self.state is not InstallationState.RUNNING:
            self._reap()
            return self.state
        assert self._process
        assert self._process.stdout
        # The exit is looked up before the last read, so that nothing written before it is missed.
        exit_code = self._process.poll()
        descriptor = self._process.stdout.fileno()
        while data := read_available(descriptor, _READ_BYTES):
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                self._take(line)
        if exit_code is not None:
            self._conclude(exit_code)
            self.close()
        return self.state

    def cancel(self) -> None:
        """End the installation and everything that it started; the next one begins anew.

        The state is CANCELLED at once. Go on polling until `finished`, or call `close`.
        """
        if self.state is InstallationState.RUNNING:
            self._end(InstallationState.CANCELLED, "")
            self._stop()
            self._reap()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to poll for."""
        return self.state is not InstallationState.RUNNING and self._process is None

    def close(self) -> None:
        """End it now, for Blender's exit; waits for at most a second."""
        if self.state is InstallationState.RUNNING:
            self._end(InstallationState.CANCELLED, "")
        process = self._process
        if process is None:
            return
        self._stop()
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0)
        if process.stdout:
            process.stdout.close()
        self._process = None

    def log_tail(self, lines: int = 20) -> list[str]:
        """Return the last lines of the installation's log."""
        try:
            with self.environment.log.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return list(deque(text.splitlines(), lines))

    def _take(self, line: bytes) -> None:
        try:
            event = InstallEvent.from_json(line)
        except (ValueError, TypeError, KeyError):
            return  # not ours: something that the interpreter printed
        self._last_event = event
        self._step = event.step
        self.stage = event.step.value
        self.fraction = event.fraction
        self.message = event.message

    def _conclude(self, exit_code: int) -> None:
        event = self._last_event
        if event and event.done:
            self._end(InstallationState.DONE, "")
        elif event and event.error is not None:
            self._end(InstallationState.FAILED, event.error or self._advice(event.output))
        else:
            output = "\n".join([*self.log_tail(), f"exit code {exit_code}"])
            self._end(InstallationState.FAILED, self._advice(output))

    def _advice(self, output: str) -> str:
        request = self._request
        return advise(self._step, output, self._options, request.root, request.log)

    def _end(self, state: InstallationState, error: str) -> None:
        self.state = state
        self.error = error

    def _stop(self) -> None:
        """Ask the tree to end: by signal where there are process groups, by end of input."""
        assert self._process
        assert self._process.stdin
        if sys.platform != "win32":
            # Also where the program itself has gone: what it started may be there still.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if self._kill_at is None:
            self._kill_at = time.monotonic() + _KILL_AFTER_SECONDS

    def _reap(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is not None:
            self.close()
        elif self._kill_at is not None and time.monotonic() > self._kill_at:
            self._process.kill()
