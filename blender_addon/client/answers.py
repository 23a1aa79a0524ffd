"""What a backend's answers must look like before anything of them reaches a scene.

A backend may be another version's, or another computer's. Blender trusts what it is given: a
triangle that refers to a vertex that is not there would crash it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

MAX_WARNINGS = 100


class WrongAnswer(Exception):
    """An answer cannot be used; the message says what is wrong with it, for a sentence."""


def fit_report(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of a fit.

    Raises
    ------
    WrongAnswer
        If it lacks what the artist is told, or has it in another form.
    """
    report = result.get("report")
    if not isinstance(report, dict):
        raise WrongAnswer("it has no report")
    error = report.get("near_surface_error")
    if error is not None:
        _number(error, "near-surface error")
    _number(report.get("half_extent"), "half-extent")
    _number(report.get("noise"), "noise")
    seconds = report.get("seconds")
    if not isinstance(seconds, dict):
        raise WrongAnswer("its report names no seconds")
    for value in seconds.values():
        _number(value, "time")
    warnings = report.get("warnings")
    if not isinstance(warnings, list) or len(warnings) > MAX_WARNINGS:
        raise WrongAnswer(f"its report has no list of at most {MAX_WARNINGS} warnings")
    return report


def check_smoothed(
    result: Mapping[str, Any], arrays: Mapping[str, np.ndarray], points: int
) -> None:
    """Refuse an answer that has not one row of numbers for each point, or counts more than those.

    Raises
    ------
    WrongAnswer
        Naming the array or the count.
    """
    _check_count(result, points)
    for name, what in (("from_mesh", "that the mesh answers itself"), ("on_edges", "on edges")):
        number = result.get(name, 0)
        if type(number) is not int or not 0 <= number <= points:
            raise WrongAnswer(f"it counts {number!r} points {what}")
    if not arrays:
        raise WrongAnswer("it has no values")
    _check_rows(arrays, points)


def median_scale(result: Mapping[str, Any]) -> float | None:
    """Return the scale that half of the points were smoothed with more than; None if not told."""
    scale = result.get("scale")
    return float(scale) if isinstance(scale, (int, float)) and 0 < scale < 1e300 else None


def check_extracted(result: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse an answer that is not a mesh, or whose values are not one row for each vertex.

    Raises
    ------
    WrongAnswer
        Naming the array.
    """
    values = dict(arrays)
    vertices, triangles = values.pop("vertices", None), values.pop("triangles", None)
    if vertices is None or vertices.ndim != 2 or vertices.shape[1] != 3:
        raise WrongAnswer("it has no table of vertices")
    if vertices.dtype.kind != "f" or not np.isfinite(vertices).all():
        raise WrongAnswer("its vertices are not finite numbers")
    if triangles is None or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise WrongAnswer("it has no table of triangles")
    if triangles.dtype.kind not in "iu":
        raise WrongAnswer("its triangles are not whole numbers")
    if len(triangles) and not 0 <= triangles.min() <= triangles.max() < len(vertices):
        raise WrongAnswer("a triangle refers to a vertex that is not there")
    edges = values.pop("sharp_edges", None)
    if edges is None or edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise WrongAnswer("it has no table of sharp edges")
    if len(edges) and not 0 <= edges.min() <= edges.max() < len(vertices):
        raise WrongAnswer("a sharp edge refers to a vertex that is not there")
    _check_count(result, len(vertices))
    _number(result.get("cell", 0), "cell size")
    _check_rows(values, len(vertices))


def _check_rows(arrays: Mapping[str, np.ndarray], rows: int) -> None:
    for name, values in arrays.items():
        if values.ndim not in (1, 2) or len(values) != rows or values.shape[1:] not in ((), (3,)):
            raise WrongAnswer(f"{name!r} has shape {values.shape} for {rows} vertices")
        if values.dtype.kind != "f":
            raise WrongAnswer(f"{name!r} has values of type {values.dtype}")


def _check_count(result: Mapping[str, Any], limit: int) -> None:
    unanswered = result.get("unanswered", 0)
    if type(unanswered) is not int or not 0 <= unanswered <= limit:
        raise WrongAnswer(f"it counts {unanswered!r} points without an answer")


def _number(value: Any, what: str) -> None:
    # Infinities and NaN fail the comparison, and so do whole numbers too large for a float.
    if type(value) not in (int, float) or not 0 <= value < 1e300:
        raise WrongAnswer(f"its {what} is {value!r}")
