"""How many threads native code may use, set once for every library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_count: int | None = None


def usable_cores() -> int:
    """Number of processor cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def let_threads_sleep() -> None:
    """Ask OpenMP not to spin while it waits; to be called before torch is imported.

    Spinning threads keep the others from their cores: fits took eight times as long now and then.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def set_thread_count(count: int) -> None:
    """Bind torch and libigl (and whatever uses OpenMP) to this many threads.

    To be called before anything heavy is imported: libigl and OpenMP read it only once.
    """
    global _count
    _count = count
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "IGL_NUM_THREADS"):
        os.environ[variable] = str(count)
    let_threads_sleep()
    import torch

    torch.set_num_threads(count)


def thread_count() -> int:
    """The number of threads set, or one for each core."""
    return _count or usable_cores()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use the calling thread alone.

    For many operations on small tensors: its threads meet after each of them, and where another
    program holds a core, one always comes late. So smoothing took ten times as long.
    """
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
