"""Running the installer's commands: their output to a log, their progress to Blender.

Threads are used freely here: this runs in a process of its own, never in Blender.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from .install_request import InstallEvent, Step

# The share of the whole run that is done when a step begins.
_STARTS = {
    Step.CHECK: 0.0,
    Step.TOOL: 0.01,
    Step.PYTHON: 0.08,
    Step.PACKAGES: 0.14,
    Step.VERIFY: 0.85,
    Step.COMPILE: 0.90,
    Step.FINISH: 0.98,
    Step.REMOVE: 0.0,
}
_KEPT_LINES = 40
_TICK_SECONDS = 0.5
_PASSWORD = re.compile(r"(//)[^/@\s]+@")


class InstallationError(Exception):
    """An installation cannot go on.

    `sentence` says why where that is known; otherwise `output` holds the last lines that the
    failed command printed.
    """

    def __init__(self, sentence: str = "", output: str = "") -> None:
        super().__init__(sentence or output)
        self.sentence = sentence
        self.output = output


class Progress:
    """Writes events to `stream`, one line each, and log lines to the log once there is one.

    Passwords in addresses are masked in both.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._log: IO[str] | None = None
        self.step = Step.CHECK
        self._fraction = 0.0

    def log_to(self, log: IO[str]) -> None:
        """Write log lines to this file from now on."""
        self._log = log

    def begin(self, step: Step, message: str = "") -> None:
        """Report that a step starts."""
        self.step = step
        self.log(f"== {step.value}")
        self.advance(0.0, message)

    def advance(self, share: float, message: str = "") -> None:
        """Report that `share` of the present step, 0 to 1, is done."""
        start = _STARTS[self.step]
        end = min((later for later in _STARTS.values() if later > start), default=1.0)
        self._fraction = max(self._fraction, start + min(max(share, 0.0), 1.0) * (end - start))
        self._send(InstallEvent(self.step, round(self._fraction, 4), _masked(message)))

    def finish(self, message: str) -> None:
        """Report success; the last event."""
        self._send(InstallEvent(self.step, 1.0, message, done=True))

    def fail(self, failure: InstallationError) -> None:
        """Report failure; the last event."""
        self._send(
            InstallEvent(
                self.step,
                round(self._fraction, 4),
                error=_masked(failure.sentence),
                output=_masked(failure.output),
            )
        )

    def log(self, line: str) -> None:
        """Add a line to the log."""
        if self._log:
            self._log.write(_masked(line) + "\n")
            self._log.flush()

    def _send(self, event: InstallEvent) -> None:
        self._stream.write(event.to_json() + "\n")
        self._stream.flush()


class Commands:
    """Runs one command at a time and can end it from another thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._child: subprocess.Popen[bytes] | None = None

    def run(
        self,
        command: Sequence[str | Path],
        variables: Mapping[str, str],
        folder: str,
        on_line: Callable[[str], None] | None = None,
        on_tick: Callable[[], None] | None = None,
    ) -> str:
        """Run a command to its end and return what it printed, both streams together.

        Parameters
        ----------
        command
            Program and arguments.
        variables
            The command's environment variables.
        folder
            The command's working folder.
        on_line
            Called with each line as it is printed.
        on_tick
            Called about twice a second meanwhile.

        Raises
        ------
        InstallationError
            If it cannot be started or its exit code is not 0; `output` holds its last lines.
        """
        words = [str(word) for word in command]
        self._progress.log("$ " + " ".join(words))
        try:
            child = subprocess.Popen(
                words,
                env=dict(variables),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as problem:
            raise InstallationError(output=f"{words[0]} cannot be started: {problem}") from None
        self._child = child
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=_read_lines, args=(child.stdout, lines), daemon=True).start()

        printed = []
        while True:
            if on_tick:
                on_tick()
            try:
                raw = lines.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                continue
            if raw is None:
                break
            line = raw.decode("utf-8", "replace").rstrip()
            printed.append(line)
            self._progress.log(line)
            if on_line:
                on_line(line)
        code = child.wait()
        self._child = None
        assert child.stdout
        child.stdout.close()
        if code:
            last = deque(printed, _KEPT_LINES)
            last.append(f"exit code {code}")
            raise InstallationError(output="\n".join(last))
        return "\n".join(printed)

    def end_with_input(self) -> None:
        """End this program and the running command when standard input ends.

        It ends when Blender closes it to cancel, and also when Blender dies.
        """
        threading.Thread(target=self._watch_input, daemon=True).start()

    def _watch_input(self) -> None:
        while sys.stdin.buffer.read(4096):
            pass
        if sys.platform != "win32" and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        child = self._child
        if child is not None:
            child.kill()
        os._exit(1)


def _read_lines(stream: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _masked(text: str) -> str:
    return _PASSWORD.sub(r"\1***@", text)
