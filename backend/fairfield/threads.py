"""How many threads native code may use, set once for every library, and work in shares on them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

_count: int | None = None
_pools: dict[int, ThreadPoolExecutor] = {}
_share = threading.local()

# A forked child has none of its parent's threads: it starts its own at first use.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


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


def run_shares(threads: int, work: Callable[[int], Result]) -> list[Result]:
    """Return [work(0), ..., work(threads - 1)]; the calling thread does the first share itself.

    The threads stay alive between calls. All shares have ended when this returns or raises. A share
    that calls this itself does all the work alone: the threads are busy, and would be waited for.
    """
    if threads == 1 or getattr(_share, "running", False):
        return [work(share) for share in range(threads)]
    pool = _pools.get(threads)
    if pool is None:
        pool = _pools[threads] = ThreadPoolExecutor(threads - 1, "fairfield-kernels")

    def run(share: int) -> Result:
        _share.running = True
        try:
            return work(share)
        finally:
            _share.running = False

    others = [pool.submit(run, share) for share in range(1, threads)]
    try:
        first = run(0)
    finally:
        wait(others)
    return [first, *(other.result() for other in others)]


def share_bounds(share: int, shares: int, count: int) -> tuple[int, int]:
    """Return the range of `count` items that belongs to one of so many nearly equal shares."""
    return share * count // shares, (share + 1) * count // shares
