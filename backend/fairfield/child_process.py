"""What the backend owes the program that started it: to be the one that gives way."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

log = logging.getLogger("fairfield.child_process")

NICENESS = 10
HIGHEST_OOM_SCORE = 1000
_PR_SET_PDEATHSIG = 1


def give_way_to_parent() -> None:
    """Let the parent have the processor first, and be the one that goes where one has to.

    A lost field is fitted again, a lost scene is not. On Linux the kernel is told so: it kills this
    process first when memory runs out, and also when the parent dies while this one hangs and
    cannot notice the end of its input. Windows and macOS have no such settings; there the
    priority, and on Windows that is set by whoever starts this process, is all.
    """
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    if sys.platform == "linux":
        try:
            Path("/proc/self/oom_score_adj").write_text(str(HIGHEST_OOM_SCORE))
        except OSError as problem:
            log.info("The system decides what it kills when memory runs out: %s", problem)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
