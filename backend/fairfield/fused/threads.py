"""Running shares of one piece of work on a few threads that stay alive between calls."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

Result = TypeVar("Result")

_pools: dict[int, ThreadPoolExecutor] = {}

# A forked child has none of its parent's threads: it starts its own at first use.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


def run_shares(threads: int, work: Callable[[int], Result]) -> list[Result]:
    """Return [work(0), ..., work(threads - 1)]; the calling thread does the first share itself.

    All shares have ended when this returns or raises.
    """
    if threads == 1:
        return [work(0)]
    pool = _pools.get(threads)
    if pool is None:
        pool = _pools[threads] = ThreadPoolExecutor(threads - 1, "fairfield-kernels")
    others = [pool.submit(work, share) for share in range(1, threads)]
    try:
        first = work(0)
    finally:
        wait(others)
    return [first, *(other.result() for other in others)]


def share_bounds(share: int, shares: int, count: int) -> tuple[int, int]:
    """Return the range of `count` items that belongs to one of so many nearly equal shares."""
    return share * count // shares, (share + 1) * count // shares
