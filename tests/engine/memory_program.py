"""Prints the peak of memory that a job adds and its estimate, in bytes: for a process of its own.

    python memory_program.py fit PRESET SUBDIVISIONS | smooth POINTS | smooth-mesh SUBDIVISIONS
                             | extract RESOLUTION

The mesh is an icosphere. Linux alone tells the peak so.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import fairfield
from fairfield import memory
from fairfield.extraction import extract_with_jets
from shapes import icosphere


def peak(job: Callable[[], object]) -> int:
    """Return the bytes that a call added to the process at its peak."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    job()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def main(job: str, *options: str) -> None:
    """Measure one job, after a small fit has loaded everything."""
    small = fairfield.TriangleMesh(*icosphere(subdivisions=2))
    field = fairfield.fit(small, "draft", device="cpu")
    fairfield.smooth(field, small.vertices)
    if job == "fit":
        preset, subdivisions = options
        mesh = fairfield.TriangleMesh(*icosphere(subdivisions=int(subdivisions)))
        used = peak(lambda: fairfield.fit(mesh, preset, device="cpu"))
        need = memory.fit_need(mesh, preset, "hash-grid")
    elif job == "smooth":
        count = int(options[0])
        points = small.vertices[[number % len(small.vertices) for number in range(count)]]
        used = peak(lambda: fairfield.smooth(field, points))
        need = memory.smooth_need(count)
    elif job == "smooth-mesh":
        mesh = fairfield.TriangleMesh(*icosphere(subdivisions=int(options[0])))
        used = peak(lambda: fairfield.smooth(field, mesh))
        need = memory.smooth_need(len(mesh.vertices), of_mesh=True)
    else:
        resolution = int(options[0])
        used = peak(lambda: extract_with_jets(field, resolution, "auto"))
        need = memory.extract_need(resolution)
    print(used, need.nbytes)


if __name__ == "__main__":
    main(*sys.argv[1:])
