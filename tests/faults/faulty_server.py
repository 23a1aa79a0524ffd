"""The real backend with one fault at one place: `faulty_server.py FAULT JOB STAGE`.

The stages of a job are numbered: 0 is before the backend says a word, then come the stages that the
job's progress names, in their order, and `answer` is the middle of the answer's bytes. The fault
strikes once, where the first job of the kind JOB reaches the stage. With the fault `none` this is
the backend as it is.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "backend"))

ENGINE_CALLS = {"fit": "fit", "smooth": "smooth", "extract": "extract_with_jets"}
ANSWER = "answer"


class Fault:
    """Strikes once; what it cannot undo ends the process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.armed = name != "none"

    def strike(self) -> None:
        """Let happen what the name says."""
        if not self.armed:
            return
        self.armed = False
        print(f"The fault {self.name!r} strikes.", file=sys.stderr, flush=True)
        getattr(self, "_" + self.name.replace("-", "_"))()

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _segfault(self) -> None:
        ctypes.string_at(0)

    def _abort(self) -> None:
        os.abort()

    def _exit(self) -> None:
        os._exit(3)

    def _stop(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def _hold_lock(self) -> None:
        """A native call that never returns and lets no other thread of Python run."""
        ctypes.PyDLL(None).sleep(600)

    def _loop(self) -> None:
        """A job that never ends, in a process that goes on answering."""
        time.sleep(600)

    def _no_memory(self) -> None:
        raise MemoryError

    def _little_memory(self) -> None:
        """Whatever asks the system for more memory from here on fails, in native code too."""
        with open("/proc/self/statm") as statm:
            held = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 20), resource.RLIM_INFINITY))

    def _error(self) -> None:
        raise RuntimeError("something that nobody foresaw")

    def _garbage(self) -> None:
        """Noise on the way to Blender."""
        os.write(FRAMES, b"\xff" * 100_000)

    def _hang_up(self) -> None:
        """The way to Blender closes while the process lives on."""
        os.close(FRAMES)
        time.sleep(600)

    def _chatter(self) -> None:
        """More on standard error than a pipe holds."""
        sys.stderr.write("What a long log.\n" * 300_000)
        sys.stderr.flush()


def main(fault_name: str, job: str, stage: str) -> int:
    """Serve until the client is gone."""
    global FRAMES
    fault = Fault(fault_name)
    if stage == "0":
        fault.strike()
    from fairfield import server

    # The next descriptor that `serve` will get for its private copy of standard output.
    FRAMES = os.dup(1)
    os.close(FRAMES)

    if job in ENGINE_CALLS:
        name = ENGINE_CALLS[job]
        if stage == ANSWER:
            _strike_in_answer(server, fault, job)
        else:
            setattr(server, name, _strike_in_stage(getattr(server, name), fault, int(stage)))
    return server.serve()


def _strike_in_stage(call: Callable[..., Any], fault: Fault, number: int) -> Callable[..., Any]:
    def wrapped(*arguments: Any, progress: Callable[[Any], None], **options: Any) -> Any:
        seen: list[str] = []

        def report(step: Any) -> None:
            if step.stage not in seen:
                seen.append(step.stage)
                print(f"stage {len(seen)}: {step.stage}", file=sys.stderr, flush=True)
                if len(seen) == number:
                    fault.strike()
            progress(step)

        try:
            return call(*arguments, progress=report, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

    return wrapped


def _strike_in_answer(server: Any, fault: Fault, job: str) -> None:
    send, run_job = server.Server._send_pieces, server.Server._run_job
    running: list[str] = []

    def remember(self: Any, frame: Any, cancelled: Any) -> None:
        running.append(frame.header["method"])
        run_job(self, frame, cancelled)
        running.pop()

    def send_half(self: Any, pieces: list[Any]) -> None:
        if fault.armed and running == [job] and b'"result"' in bytes(pieces[0]):
            whole = b"".join(bytes(piece) for piece in pieces)
            self._write(whole[: len(whole) // 2])
            fault.strike()
            self._write(whole[len(whole) // 2 :])
        else:
            send(self, pieces)

    server.Server._run_job, server.Server._send_pieces = remember, send_half


FRAMES = -1

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
