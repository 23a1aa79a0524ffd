"""The backend process as an object with a `poll()`: started, spoken to in frames, and ended.

There are no threads: whoever owns a `Backend` calls `poll()` now and then, from a timer in a window
or from a loop in a script, and gets the events since the last call. Each poll moves only as many
bytes as fit in a few milliseconds.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ...backend.fairfield import wire
from . import pipes
from .environment import BackendUnavailable

READ_BYTES = 1 << 18
LOG_LINES = 200
# A cold disk takes its time to load torch; a process that says nothing for longer is no backend.
HELLO_SECONDS = 120.0
# How long a process may live on after it closed its standard output.
LINGER_SECONDS = 2.0
# The three steps of the end: asked, told, forced. Together they stay below half a second.
ASKED_SECONDS, TOLD_SECONDS, FORCED_SECONDS = 0.2, 0.15, 0.1


class _GreetingError(Exception):
    """The backend cannot be used; the message is the sentence that says why."""


class BackendState(Enum):
    """Where a process stands between its start and its end."""

    STARTING = "starting"
    READY = "ready"
    ENDED = "ended"


@dataclass(frozen=True)
class Ready:
    """The backend answered the greeting; it takes requests from now on."""


@dataclass(frozen=True)
class Answer:
    """The result of a request."""

    identifier: int
    result: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """A request failed; `message` is one sentence for the artist, `code` one of wire's."""

    identifier: int | None
    code: int
    message: str


@dataclass(frozen=True)
class StepProgress:
    """How far a request has come; what is not known is None."""

    identifier: int
    fraction: float
    stage: str
    seconds_left: float | None


@dataclass(frozen=True)
class Ended:
    """The process is gone; `reason` is one sentence that says why."""

    reason: str


Event = Ready | Answer | Refusal | StepProgress | Ended


class Backend:
    """One backend process.

    Parameters
    ----------
    command
        The program and its arguments.
    environment
        The child's environment variables; None for this process's own.
    folder
        The child's working folder; None for this process's own.
    client
        Who is calling, for the backend's log.

    Raises
    ------
    BackendUnavailable
        If the program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        client: str = "Fairfield",
    ) -> None:
        self.command = tuple(command)
        self.state = BackendState.STARTING
        self.greeting: dict[str, Any] = {}
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self._process = _start(self.command, environment, folder)
        self._stdin, self._stdout, self._stderr = (
            pipe.fileno()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr)
            if pipe is not None
        )
        for descriptor in (self._stdin, self._stdout, self._stderr):
            pipes.make_nonblocking(descriptor)
        self._reader = wire.FrameReader(expect_magic=True)
        self._outgoing: deque[memoryview] = deque()
        self._log_rest = b""
        self._stdout_ended_at: float | None = None
        self._started_at = time.monotonic()
        self._next_identifier = 1
        self._hello = self._enqueue(
            "hello", {"protocol": wire.PROTOCOL_VERSION, "client": client}, None
        )

    @property
    def pid(self) -> int:
        """The process's number in the operating system."""
        return self._process.pid

    @property
    def transferring(self) -> bool:
        """Whether bytes are on their way, so that the next poll should come soon."""
        return bool(self._outgoing) or self._reader.mid_frame

    def send(
        self,
        method: str,
        params: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> int:
        """Queue a request and return its identifier, which its answer will carry.

        Raises
        ------
        RuntimeError
            If the backend is not ready.
        """
        if self.state is not BackendState.READY:
            raise RuntimeError(f"the backend is {self.state.value}; a request needs a ready one")
        return self._enqueue(method, params, arrays)

    def cancel(self, identifier: int) -> None:
        """Ask the backend to stop working on a request; it still answers it, as cancelled."""
        self.send("cancel", {"id": identifier})

    def poll(self, budget_seconds: float = 0.004) -> list[Event]:
        """Move bytes for at most about `budget_seconds` and return what happened.

        `Ended` is the last event of a process and is returned once.
        """
        if self.state is BackendState.ENDED:
            return []
        events: list[Event] = []
        deadline = time.perf_counter() + budget_seconds
        # Asked before the pipes are read: what a process wrote before it ended is then all read.
        exited = self._process.poll() is not None
        try:
            moved = True
            while moved and time.perf_counter() < deadline:
                moved = self._write() | self._read_frames(events) | self._read_log()
        except wire.WireError as problem:
            self._end(events, f"The backend sent what is not a Fairfield frame: {problem}.")
            return events
        except _GreetingError as problem:
            self._end(events, str(problem))
            return events
        if exited and not moved:
            self._end(events, explain_exit(self._process.returncode, list(self.log)))
        else:
            self._check_silence(events)
        return events

    def shutdown(self) -> None:
        """End the process: asked first, then told, then forced; takes half a second at most."""
        if self._process.poll() is None:
            self._ask_to_end()
            for seconds, harder in (
                (ASKED_SECONDS, self._process.terminate),
                (TOLD_SECONDS, self._process.kill),
            ):
                try:
                    self._process.wait(seconds)
                    break
                except subprocess.TimeoutExpired:
                    harder()
            else:
                try:
                    self._process.wait(FORCED_SECONDS)
                except subprocess.TimeoutExpired:
                    self.log.append(f"The process {self.pid} does not end.")
        self._close()

    def _enqueue(
        self,
        method: str,
        params: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray] | None,
    ) -> int:
        identifier = self._next_identifier
        self._next_identifier += 1
        pieces = wire.encode(wire.request(identifier, method, params, arrays))
        self._outgoing.extend(memoryview(piece) for piece in pieces)
        return identifier

    def _write(self) -> bool:
        if not self._outgoing:
            return False
        piece = self._outgoing[0]
        try:
            written = pipes.write_available(self._stdin, piece)
        except BrokenPipeError:
            self._outgoing.clear()  # the exit that caused it is noticed and explained by poll()
            return False
        if written == len(piece):
            self._outgoing.popleft()
        else:
            self._outgoing[0] = piece[written:]
        return written > 0

    def _read_frames(self, events: list[Event]) -> bool:
        if self._stdout_ended_at is not None:
            return False
        data = pipes.read_available(self._stdout, READ_BYTES)
        if data is None:
            return False
        if not data:
            self._stdout_ended_at = time.monotonic()
            return False
        for frame in self._reader.feed(data):
            event = self._understand(frame)
            if event is not None:
                events.append(event)
        return True

    def _understand(self, frame: wire.Frame) -> Event | None:
        """Turn a frame into an event; None for the answers that nobody waits for."""
        header = frame.header
        identifier = header.get("id")
        if header.get("method") == "progress":
            return _progress(header.get("params"))
        if identifier == self._hello and self.state is BackendState.STARTING:
            return self._greet(header)
        problem = header.get("error")
        if isinstance(problem, dict):
            code, message = problem.get("code"), problem.get("message")
            return Refusal(identifier, code if isinstance(code, int) else 0, str(message))
        if isinstance(identifier, int) and isinstance(header.get("result"), dict):
            return Answer(identifier, header["result"], frame.arrays)
        return None

    def _greet(self, header: Mapping[str, Any]) -> Event:
        problem, greeting = header.get("error"), header.get("result")
        if isinstance(problem, dict):
            raise _GreetingError(str(problem.get("message")))
        protocol = greeting.get("protocol") if isinstance(greeting, dict) else None
        if not isinstance(greeting, dict) or protocol != wire.PROTOCOL_VERSION:
            raise _GreetingError(
                f"The backend speaks protocol {protocol!r} and this extension speaks "
                f"{wire.PROTOCOL_VERSION}; install the same version of Fairfield on both sides."
            )
        self.greeting = greeting
        self.state = BackendState.READY
        return Ready()

    def _read_log(self) -> bool:
        data = pipes.read_available(self._stderr, READ_BYTES)
        if not data:
            return False
        *lines, self._log_rest = (self._log_rest + data).split(b"\n")
        self.log.extend(line.decode(errors="replace").rstrip() for line in lines)
        return True

    def _check_silence(self, events: list[Event]) -> None:
        now = time.monotonic()
        ended_at = self._stdout_ended_at
        if ended_at is not None and now - ended_at > LINGER_SECONDS:
            self._end(events, "The backend closed its output; click again to start a new one.")
        elif self.state is BackendState.STARTING and now - self._started_at > HELLO_SECONDS:
            self._end(
                events,
                f"The backend did not answer within {HELLO_SECONDS:.0f} s; check the backend's "
                "command in Fairfield's preferences.",
            )

    def _end(self, events: list[Event], reason: str) -> None:
        self.shutdown()
        events.append(Ended(reason))

    def _ask_to_end(self) -> None:
        # The end of standard input means exit to the backend; the request lets it say goodbye
        # to whatever carries the pipe. In the middle of a frame there is no room for one.
        if self.state is BackendState.READY and not self._outgoing:
            self._enqueue("shutdown", {}, None)
            self._write()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._outgoing.clear()

    def _close(self) -> None:
        if self.state is BackendState.ENDED:
            return
        self._read_log()
        if self._log_rest:
            self.log.append(self._log_rest.decode(errors="replace").rstrip())
        self.state = BackendState.ENDED
        self._outgoing.clear()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def explain_exit(code: int, log: Sequence[str]) -> str:
    """Say in one sentence why a backend process ended.

    Parameters
    ----------
    code
        The exit code, negative for the number of a signal, as in `subprocess`.
    log
        The lines that the process wrote to standard error, oldest first.
    """
    lines = [line for line in log if line.strip()]
    last = lines[-1].strip().rstrip(".") if lines else ""
    if code in (-9, 137):
        return (
            "The backend was killed (signal 9), most often because memory ran out; close other "
            "programs or choose a coarser preset, and click again."
        )
    missing = re.search(r"No module named '([^']+)'", last)
    if missing:
        package = missing[1]
        return (
            f"The backend's Python lacks the package {package!r}; install the backend in "
            "Fairfield's preferences."
        )
    if "MemoryError" in last or "out of memory" in last.lower():
        return (
            f"The backend ran out of memory ({last}); close other programs or choose a coarser "
            "preset, and click again."
        )
    end = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    said = f"; its last words were: {last}" if last else " and said nothing"
    return f"The backend {end}{said}."


def _start(
    command: tuple[str, ...], environment: Mapping[str, str] | None, folder: Path | None
) -> subprocess.Popen[bytes]:
    flags = 0
    if sys.platform == "win32":  # elsewhere the backend lowers its own priority
        flags = subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=None if environment is None else dict(environment),
            cwd=folder,
            creationflags=flags,
        )
    except (OSError, ValueError) as problem:
        program = command[0] if command else ""
        raise BackendUnavailable(
            f"The backend cannot be started with {program!r} ({problem}); choose another one in "
            "Fairfield's preferences."
        ) from None


def _progress(params: Any) -> StepProgress | None:
    if not isinstance(params, dict) or not isinstance(params.get("id"), int):
        return None

    def number(name: str) -> float | None:
        value = params.get(name)
        return float(value) if isinstance(value, (int, float)) else None

    return StepProgress(
        identifier=params["id"],
        fraction=min(1.0, max(0.0, number("fraction") or 0.0)),
        stage=str(params.get("stage") or ""),
        seconds_left=number("seconds_left"),
    )
