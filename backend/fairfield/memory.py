"""What to do when memory runs out: work on fewer rows at a time, then say so in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from .errors import OutOfMemoryError

Result = TypeVar("Result")

FEWEST_ROWS = 256
"""With so few rows at a time the rest of the field is what does not fit."""


class RowLimit:
    """How many rows are worked on at a time; halved whenever memory runs out.

    Parameters
    ----------
    rows
        At most, to start with.
    """

    def __init__(self, rows: int = sys.maxsize) -> None:
        self._rows = rows

    def __call__(self, work: Callable[[int], Result], total: int) -> Result:
        """Return work(rows), tried again with half the rows as long as memory runs out.

        Parameters
        ----------
        work
            Does all of its rows, so many at a time; may be begun several times.
        total
            Number of its rows.

        Raises
        ------
        OutOfMemoryError
            If even `FEWEST_ROWS` are too many.
        """
        while True:
            rows = min(self._rows, total)
            try:
                return work(rows)
            except (MemoryError, RuntimeError) as problem:
                if not is_out_of_memory(problem):
                    raise
            # Outside the except clause, whose exception keeps the failed attempt's memory.
            if rows <= FEWEST_ROWS:
                raise OutOfMemoryError(
                    f"There is not enough memory for {rows} points at a time. "
                    'Close other programs, or choose the preset "draft" or the device "cpu".'
                )
            self._rows = rows // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


@contextmanager
def memory_needed_for(what: str) -> Iterator[None]:
    """Turn any library's way to say that memory ran out into an OutOfMemoryError."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except (MemoryError, RuntimeError) as problem:
        if not is_out_of_memory(problem):
            raise
        raise OutOfMemoryError(
            f"There is not enough memory to {what}. "
            'Close other programs, choose the preset "draft", or decimate the mesh.'
        ) from None


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether Python, numpy, libigl or torch, on any device, ran out of memory."""
    if isinstance(problem, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(problem)
    return isinstance(problem, RuntimeError) and any(
        sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )
