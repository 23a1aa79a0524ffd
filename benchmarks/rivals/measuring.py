"""One measurement, as a worker process makes it."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from fairfield.threads import set_thread_count

# The workers share the cores; the libraries read the number when they are imported.
set_thread_count(1)

from contestants import CONTESTANTS  # noqa: E402
from fairfield.study.shapes import KnownShape, load_shapes  # noqa: E402
from judging import Judge  # noqa: E402
from known_surfaces import KNOWN_SURFACES  # noqa: E402


def measure(data: Path, shape_name: str, name: str, parameter: float) -> dict[str, Any]:
    """Score one contestant with one parameter on one shape."""
    shape, judge = _judge(data, shape_name)
    begin = _processor_seconds()
    answer = CONTESTANTS[name].answer(shape.mesh, parameter)
    seconds = _processor_seconds() - begin
    return {**asdict(judge.score(answer)), "seconds": seconds}


def _processor_seconds() -> float:
    """Of this process and its children: other work on the machine does not count."""
    return sum(os.times()[:4])


@cache
def _judge(data: Path, shape_name: str) -> tuple[KnownShape, Judge]:
    shape = load_shapes(data, shape_name)[0]
    return shape, Judge(shape, KNOWN_SURFACES[shape_name.partition("_")[0]])
