"""How much memory a job will take, and whether it is there: refused before it starts, with numbers.

The estimates are upper bounds on the peaks that `benchmarks/reliability.py` measures and prints
beside them. They leave out what a process takes before its first job, and a graphics card's memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from .errors import NotEnoughMemory
from .extraction import RESOLUTION_LIMITS
from .fields import FieldConfig, NeuralField
from .fitting import BATCH, PRESETS
from .mesh import TriangleMesh

MEGABYTE = 1 << 20
# Bytes for each of a kind, found by measuring: copies, search trees, results of every stage.
FIT_BASE = 256 * MEGABYTE
PER_TRIANGLE = 900
PER_VERTEX = 300
PER_SAMPLE = 128
PER_WEIGHT_BYTE = 5
SMOOTH_BASE = 64 * MEGABYTE
PER_POINT = 1500  # a patch for every other point
PER_OWN_VERTEX = 2000
EXTRACT_BASE = 64 * MEGABYTE
PER_LATTICE_NODE = 10
PER_SURFACE_CELL = 6600


@dataclass(frozen=True)
class Need:
    """What a job will take.

    Attributes
    ----------
    nbytes
        Memory at its peak, beside what is in use.
    work
        The job, as the beginning of a sentence.
    remedy
        How to make it smaller, as the end of one.
    """

    nbytes: int
    work: str
    remedy: str

    def check(self, available: int) -> None:
        """Refuse the job if it does not fit.

        Raises
        ------
        NotEnoughMemory
            With both numbers and the remedy.
        """
        if self.nbytes > available:
            raise NotEnoughMemory(
                f"{self.work} needs about {_spoken(self.nbytes)} of memory, and "
                f"{_spoken(available)} are free. Close other programs, or {self.remedy}."
            )


def available_bytes() -> int:
    """Memory that can be had without swapping."""
    return psutil.virtual_memory().available


def fit_need(mesh: TriangleMesh, preset: str, kind: str) -> Need:
    """What `fairfield.fit` takes; nothing for a preset or kind that it will refuse."""
    plans = PRESETS[preset].plans if preset in PRESETS else {}
    nbytes = 0
    if kind in plans:
        config = plans[kind].config
        samples = PRESETS[preset].batches * BATCH + config.base_resolution**3
        nbytes = (
            FIT_BASE
            + PER_TRIANGLE * len(mesh.triangles)
            + PER_VERTEX * len(mesh.vertices)
            + PER_SAMPLE * samples
            + PER_WEIGHT_BYTE * _weight_bytes(config)
        )
    return Need(
        nbytes,
        f"Fitting {len(mesh.triangles)} triangles with the preset {preset!r}",
        "decimate the mesh or choose a smaller preset",
    )


def smooth_need(points: int, of_mesh: bool = False) -> Need:
    """What `fairfield.smooth` takes for so many points, or for a mesh of so many vertices."""
    each = PER_OWN_VERTEX if of_mesh else PER_POINT
    return Need(SMOOTH_BASE + each * points, f"Measuring {points} points", "decimate the mesh")


def extract_need(resolution: int) -> Need:
    """What `fairfield.extract` takes, at the vertices too; nothing where it will refuse."""
    low, high = RESOLUTION_LIMITS
    nbytes = 0
    if low <= resolution <= high:
        # A closed surface in the cube crosses a few times resolution^2 cells.
        nbytes = EXTRACT_BASE + PER_LATTICE_NODE * resolution**3 + PER_SURFACE_CELL * resolution**2
    return Need(
        nbytes, f"Extracting at a resolution of {resolution}", "choose a smaller resolution"
    )


def _weight_bytes(config: FieldConfig) -> int:
    """Bytes of a network's weights, counted without making them."""
    with torch.device("meta"):
        return sum(each.nbytes for each in NeuralField(config).state_dict().values())


def _spoken(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.0f} MB"
