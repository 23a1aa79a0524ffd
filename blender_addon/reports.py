"""What the artist is told of an object: measured at a click, true of the object as it was then."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .client import answers
from .client.jobs import SCALE_AUTO
from .units import Placement

if TYPE_CHECKING:
    from .results import Work

WORTH_TELLING = 0.01
"""Share of vertices that the mesh itself answers for, from which on it is told."""
MANY = 0.5
"""Share of vertices on sharp edges from which on the overlay shows little else."""
CLEAN = 3e-4
"""Scatter of the vertices, as a part of the half-extent, below which a mesh counts as clean."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What all reports have.

    Parameters
    ----------
    digest
        Of the object's mesh; see `sources.mesh_digest`.
    modifiers
        Of what changes it; see `sources.modifiers_digest`.
    placement
        From local to fitted coordinates, and what lengths are told in.
    seconds
        What it took.
    warnings
        Sentences of the backend.
    """

    digest: bytes
    modifiers: bytes
    placement: Placement
    seconds: float
    warnings: list[str] = field(default_factory=list)

    # In one word, what was done to the object.
    done = ""

    def lines(self, name: str, length_unit: str) -> list[str]:
        """What is told of the object with this name, in short lines."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class FitReport(Report):
    """Of an object's field.

    Parameters
    ----------
    field_key
        The name of the field.
    preset
        The quality that it was fitted with.
    error
        The near-surface error, a length.
    relative_error
        The same as a part of the object's half-extent.
    noise
        How far the vertices scatter about the smooth surface, as a part of the half-extent.
    noise_before, noise_after
        For a refined field: how far its own normals are from the smooth ones, in degrees.
    nothing_gained
        Whether Refine kept the field as it was.
    from_mesh
        After Smooth: share of the vertices at which the mesh itself was the better source.
    on_edges
        After Smooth: share of the vertices that lie on sharp edges.
    scale
        After Smooth at automatic scale: the median scale. None where most of it is the mesh's own,
        whose neighbourhoods are far smaller than what smooths a field.
    """

    field_key: str
    preset: str
    error: float
    relative_error: float
    noise: float
    noise_before: float | None = None
    noise_after: float | None = None
    nothing_gained: bool = False
    from_mesh: float | None = None
    on_edges: float | None = None
    scale: float | None = None

    done = "fitted"

    @property
    def refined(self) -> bool:
        """Whether the field is one that Refine was at."""
        return self.nothing_gained or self.noise_before is not None

    def lines(self, name: str, length_unit: str) -> list[str]:
        """How the fit went, and what Refine and Smooth found."""
        lines = [
            f"{name}: fitted in {self.seconds:.1f} s",
            f"Near-surface error: {self.error:.2g} ({self.relative_error:.2%})",
            "Noise or facets: none"
            if self.noise < CLEAN
            else f"Noise or facets: {self.noise:.2%} of its half size",
        ]
        if self.from_mesh is not None and self.from_mesh >= WORTH_TELLING:
            lines.append(f"From the mesh's own vertices: {self.from_mesh:.0%}")
        # In noise edges are sharp anywhere.
        if self.on_edges is not None and self.on_edges >= MANY and self.noise < CLEAN:
            lines += [
                f"On sharp edges: {self.on_edges:.0%} of the vertices",
                "Extract shows the curvature of the faces",
            ]
        if self.nothing_gained:
            lines.append("Refined: nothing gained, kept as it was")
        elif self.noise_before is not None and self.noise_after is not None:
            lines.append(
                f"Refined: noise of normals {self.noise_before:.2g}° to {self.noise_after:.2g}°"
            )
        return lines


@dataclass(frozen=True, kw_only=True)
class ExtractReport(Report):
    """Of an object that Extract made.

    Parameters
    ----------
    triangles
        Their number.
    resolution
        The number of cells along a side of the cube around the source.
    cell
        The side of a cell; None from a backend that does not tell.
    smoothed
        Whether the surface is that of the smoothed field.
    """

    triangles: int
    resolution: int
    cell: float | None
    smoothed: bool

    done = "extracted"

    def lines(self, name: str, length_unit: str) -> list[str]:
        """What was made."""
        surface = "smoothed surface" if self.smoothed else "raw surface"
        lines = [
            f"{name}: extracted in {self.seconds:.1f} s",
            f"{self.triangles:,} triangles, {surface}",
        ]
        if self.cell is not None:
            lines.append(f"Cells: {self.cell:.3g} {length_unit} (resolution {self.resolution})")
        return lines


def of_field(work: Work, index: int, before: Report | None) -> FitReport:
    """The report on one of the source's objects after a finished job.

    Parameters
    ----------
    index
        Which of the source's objects.
    before
        Its last report: what Smooth found in the same field stays true.
    """
    job, source = work.job, work.source
    measured = job.report["near_surface_error"]
    relative_error = math.nan if measured is None else float(measured)
    tuning = job.report.get("finetuning") or {}
    report = FitReport(
        digest=source.digest,
        modifiers=source.modifiers[index],
        placement=source.placement,
        seconds=sum(float(each) for each in job.report["seconds"].values()),
        warnings=[str(each) for each in job.report["warnings"]],
        field_key=job.key,
        preset=job.fit.preset,
        error=relative_error * float(job.report["half_extent"]) * source.placement.unit,
        relative_error=relative_error,
        noise=float(job.report["noise"]),
        noise_before=tuning.get("normal_error_before"),
        noise_after=tuning.get("normal_error_after"),
        nothing_gained=bool(tuning.get("unchanged")),
    )
    if isinstance(before, FitReport) and before.field_key == report.field_key:
        scale = before.scale
        if scale is not None:  # the same field may have been asked for in other units
            scale *= report.placement.unit / before.placement.unit
        report = replace(report, from_mesh=before.from_mesh, on_edges=before.on_edges, scale=scale)
    if job.smoothed is not None:
        from_mesh, on_edges = (
            job.smoothed.result.get(name, 0) / max(1, len(source.points))
            for name in ("from_mesh", "on_edges")
        )
        report = replace(report, from_mesh=from_mesh, on_edges=on_edges)
        if job.smooth is not None and job.smooth.scale == SCALE_AUTO and from_mesh <= 0.5:
            scale = answers.median_scale(job.smoothed.result)
            report = replace(report, scale=scale and scale * source.placement.unit)
    return report


def of_surface(work: Work, digest: bytes, modifiers: bytes) -> ExtractReport:
    """The report on an object that was made of a finished Extract.

    Parameters
    ----------
    digest, modifiers
        Of the new object.
    """
    extracted, settings = work.job.extracted, work.job.extract
    assert extracted is not None
    assert settings is not None
    cell = extracted.result.get("cell")
    return ExtractReport(
        digest=digest,
        modifiers=modifiers,
        placement=work.source.placement,
        seconds=extracted.seconds,
        triangles=len(extracted.arrays["triangles"]),
        resolution=settings.resolution,
        cell=None if cell is None else float(cell) * work.source.placement.unit,
        smoothed=settings.scale is not None,
    )
