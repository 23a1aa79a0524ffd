"""The backend process as an object with a `poll()`: started, spoken to in frames, and ended.

There are no threads: whoever owns a `Backend` calls `poll()` now and then, from a timer in a window
or from a loop in a script, and gets the events since the last call. Each poll moves only as many
bytes as fit in a few milliseconds.
"""

from __future__ import annotations

import os
import re
import signal
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
MAX_LOG_LINE = 4096
MAX_STAGE_LENGTH = 200
# A cold disk takes its time to load torch; a process that says nothing for longer is no backend.
HELLO_SECONDS = 120.0
# How long a process may live on after it closed its standard output.
LINGER_SECONDS = 2.0
# The three steps of the end: asked, told, forced. Together they stay below half a second.
ASKED_SECONDS, TOLD_SECONDS, FORCED_SECONDS = 0.2, 0.15, 0.1
# The heartbeat: a backend that owes an answer and is silent is asked whether it lives; after a
# while the artist is told that it is silent, and at last it is ended. Its reader thread answers at
# once, except while a native call holds Python's lock: under 0.2 s a call as a rule, but libigl
# orients a whole mesh and builds its trees in one call each, 4 s for 1.3 million triangles on two
# busy cores, and a computer that swaps needs several times as long. A minute lets those live that
# come back. A job that never ends in a process that answers is for the artist's Cancel.
PING_SECONDS, QUIET_SECONDS, HUNG_SECONDS = 3.0, 10.0, 60.0
# What counts of the time between two polls: while Blender rendered or the computer slept, the
# backend had no chance to be heard.
LONGEST_GAP_SECONDS = 1.0
OUT_OF_MEMORY = re.compile("MemoryError|out of memory|Thread creation failed", re.IGNORECASE)
"""What Python, torch and the threads of its kernels say when there is no memory."""


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
        self._started_at = self._polled_at = time.monotonic()
        self._silent_seconds = 0.0
        self._awaited: set[int] = set()
        self._ping: int | None = None
        self._next_identifier = 1
        self._hello = self._enqueue(
            "hello", {"protocol": wire.PROTOCOL_VERSION, "client": client}, None
        )

    @property
    def pid(self) -> int:
        """The process's number in the operating system."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether the process has ended and the system has forgotten it."""
        return self._process.poll() is not None

    @property
    def greeted(self) -> bool:
        """Whether it has ever answered the greeting, whatever became of it since."""
        return bool(self.greeting)

    @property
    def transferring(self) -> bool:
        """Whether bytes are on their way, so that the next poll should come soon."""
        return bool(self._outgoing) or self._reader.mid_frame

    @property
    def quiet_seconds(self) -> float:
        """For how long the backend has owed an answer in silence, once that is worth a word."""
        return self._silent_seconds if self._silent_seconds > QUIET_SECONDS else 0.0

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
            moved, alive = True, False
            while moved and time.perf_counter() < deadline:
                moved = self._write() | self._read_frames(events) | self._read_log()
                alive |= moved
        except (_GreetingError, wire.VersionMismatch) as problem:
            self._end(events, str(problem))
            return events
        except wire.WireError as problem:
            self._end(events, f"The backend sent what is not a Fairfield frame: {problem}.")
            return events
        if exited and not moved:
            self._end(events, explain_exit(self._process.returncode, list(self.log)))
        else:
            self._check_silence(events, alive)
        return events

    def kill(self) -> None:
        """End the process at once, without a word: for one that hangs or talks nonsense."""
        if self._process.poll() is None:
            _kill_group(self._process)
            self._wait_for_killed()
        self._close()

    def shutdown(self) -> None:
        """End the process: asked first, then told, then forced; takes half a second at most."""
        if self._process.poll() is None:
            self._ask_to_end()
            for seconds, harder in (
                (ASKED_SECONDS, self._process.terminate),
                (TOLD_SECONDS, lambda: _kill_group(self._process)),
            ):
                try:
                    self._process.wait(seconds)
                    break
                except subprocess.TimeoutExpired:
                    harder()
            else:
                self._wait_for_killed()
        self._close()

    def _wait_for_killed(self) -> None:
        try:
            self._process.wait(FORCED_SECONDS)
        except subprocess.TimeoutExpired:
            # It is freeing its memory; whoever asks whether it is `gone` takes the rest away.
            self.log.append(f"The process {self.pid} takes its time to end.")

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
        self._awaited.add(identifier)
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
        """Turn a frame into an event; None for what nobody waits for, such as a second answer."""
        header = frame.header
        identifier = header.get("id")
        if header.get("method") == "progress":
            return _progress(header.get("params"))
        if type(identifier) is not int or identifier not in self._awaited:
            return None
        problem, result = header.get("error"), header.get("result")
        if not isinstance(problem, dict) and not isinstance(result, dict):
            return None
        self._awaited.discard(identifier)
        if identifier == self._hello:
            return self._greet(header)
        if identifier == self._ping:
            self._ping = None
            return None
        if isinstance(problem, dict):
            code = problem.get("code")
            return Refusal(identifier, code if isinstance(code, int) else 0, _sentence(problem))
        return Answer(identifier, header["result"], frame.arrays)

    def _greet(self, header: Mapping[str, Any]) -> Event:
        problem, greeting = header.get("error"), header.get("result")
        if isinstance(problem, dict):
            raise _GreetingError(_sentence(problem))
        protocol = greeting.get("protocol") if isinstance(greeting, dict) else None
        if not isinstance(greeting, dict) or protocol != wire.PROTOCOL_VERSION:
            raise _GreetingError(
                f"The backend speaks protocol {protocol!r} and this extension speaks "
                f"{wire.PROTOCOL_VERSION}; install the same version of Fairfield on both sides."
            )
        devices = greeting.get("devices")
        if not isinstance(devices, list) or not all(isinstance(each, str) for each in devices):
            raise _GreetingError(
                f"The backend's greeting names no devices ({devices!r}); install the same version "
                "of Fairfield on both sides."
            )
        self.greeting = greeting
        self.state = BackendState.READY
        return Ready()

    def _read_log(self) -> bool:
        data = pipes.read_available(self._stderr, READ_BYTES)
        if not data:
            return False
        *lines, rest = (self._log_rest + data).split(b"\n")
        self._log_rest = rest[-MAX_LOG_LINE:]
        self.log.extend(
            line[-MAX_LOG_LINE:].decode(errors="replace").rstrip() for line in lines[-LOG_LINES:]
        )
        return True

    def _check_silence(self, events: list[Event], alive: bool) -> None:
        now = time.monotonic()
        gap, self._polled_at = min(now - self._polled_at, LONGEST_GAP_SECONDS), now
        owes_answer = self.state is BackendState.READY and bool(self._awaited)
        self._silent_seconds = 0.0 if alive or not owes_answer else self._silent_seconds + gap
        ended_at = self._stdout_ended_at
        if ended_at is not None and now - ended_at > LINGER_SECONDS:
            self._end(events, "The backend closed its output; click again to start a new one.")
        elif self.state is BackendState.STARTING and now - self._started_at > HELLO_SECONDS:
            self._end(
                events,
                f"The backend did not answer within {HELLO_SECONDS:.0f} s; check the backend's "
                "command in Fairfield's preferences.",
            )
        elif self._silent_seconds > HUNG_SECONDS:
            self._end(
                events,
                f"The backend gave no sign of life for {HUNG_SECONDS:.0f} s and was ended; close "
                "other programs if the computer is short of memory, and click again.",
            )
        elif self._silent_seconds > PING_SECONDS and self._ping is None:
            self._ping = self._enqueue("ping", {}, None)

    def _end(self, events: list[Event], reason: str) -> None:
        self.kill()
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
    if OUT_OF_MEMORY.search(last):
        return (
            f"The backend ran out of memory ({last}); close other programs or choose a coarser "
            "preset, and click again."
        )
    said = f"; its last words were: {last}" if last else " and said nothing"
    if code < 0:
        return f"The backend crashed (signal {-code}){said}; click again to start a new one."
    return f"The backend ended with exit code {code}{said}."


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
            # Its own session: an interrupt at Blender's terminal is not meant for the backend, and
            # what a wrapper such as a shell starts can be ended together with it.
            start_new_session=True,
        )
    except (OSError, ValueError) as problem:
        program = command[0] if command else ""
        raise BackendUnavailable(
            f"The backend cannot be started with {program!r} ({problem}); choose another one in "
            "Fairfield's preferences."
        ) from None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it started."""
    if sys.platform == "win32":
        process.kill()
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()


def _sentence(problem: Mapping[str, Any]) -> str:
    """The message of an error, on one line; there may be none, or anything in its place."""
    message = problem.get("message")
    words = message.split() if isinstance(message, str) else []
    return " ".join(words)[: wire.MAX_MESSAGE_LENGTH] or "The backend refused without a reason."


def _progress(params: Any) -> StepProgress | None:
    if not isinstance(params, dict) or type(params.get("id")) is not int:
        return None

    def number(name: str) -> float | None:
        value = params.get(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e9:
            return None
        return float(value)

    return StepProgress(
        identifier=params["id"],
        fraction=min(1.0, number("fraction") or 0.0),
        stage=str(params.get("stage") or "")[:MAX_STAGE_LENGTH],
        seconds_left=number("seconds_left"),
    )
