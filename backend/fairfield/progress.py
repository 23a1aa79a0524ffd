"""Progress of long calls: what is reported, to whom, and how a call is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """One report from a long call.

    Attributes
    ----------
    fraction
        Share of the whole call that is done, 0 to 1.
    stage
        What is going on, as a few words for a user.
    loss
        Training loss: the mean relative error of a batch, where the stage has one.
    error
        Last estimate of the near-surface error, in half-extents, where the stage has one.
    seconds_left
        Estimate for the rest of the call, where there is one.
    """

    fraction: float
    stage: str
    loss: float | None = None
    error: float | None = None
    seconds_left: float | None = None


PREPARING = Progress(0.0, "Preparing for this computer (takes up to a minute the first time)")
"""While kernels compile, or are loaded."""

ProgressCallback = Callable[[Progress], None]
"""Called often, from the thread that works. Raise `fairfield.Cancelled` in it to stop the call."""


def silent(progress: Progress) -> None:
    """The callback of a caller that does not want to know."""


def part(callback: ProgressCallback, start: float, end: float) -> ProgressCallback:
    """Return a callback whose 0 to 1 is the range from `start` to `end` of the given one."""

    def report(progress: Progress) -> None:
        callback(replace(progress, fraction=start + (end - start) * progress.fraction))

    return report
