"""How far a field's normals and curvature are from the truth, and what the answer costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from ..evaluation import Evaluator
from ..field import Field
from ..jets import Jets
from ..operators import differentiate
from ..operators.differentiation import Scale
from .shapes import KnownShape

Array = NDArray[np.float64]

QUERIES = 4000
"""How many of a shape's points are asked."""


@dataclass(frozen=True)
class Accuracy:
    """Errors over all queries, in the terms of the paper (utils/eval_utils.py of its authors).

    Attributes
    ----------
    normal_l2
        Mean length of the difference of the unit normals.
    normal_mean, normal_median
        Angle in degrees.
    within_1, within_2
        Share of normals within 1 and 2 degrees.
    curvature_rms, curvature_median
        Of |dH| / max(|H|, 1), H in units of 1 / half-extent: root of the mean square, and median.
    unanswered
        Share of queries without an answer; the others count above.
    evaluations
        Field evaluations per query.
    """

    normal_l2: float
    normal_mean: float
    normal_median: float
    within_1: float
    within_2: float
    curvature_rms: float
    curvature_median: float
    unanswered: float
    evaluations: float


def measure(
    field: Field,
    shape: KnownShape,
    operator: str,
    scale: Scale = "auto",
    scale_factor: float = 1.0,
    queries: int = QUERIES,
) -> tuple[Accuracy, float]:
    """Return the accuracy at some of a shape's points, always the same, and seconds per query."""
    some = np.random.default_rng(0).permutation(len(shape.points))[:queries]
    points = shape.points[some]
    with counted(field) as count:
        start = time.perf_counter()
        jets = differentiate(
            field, points, scale=scale, scale_factor=scale_factor, operator=operator
        )
        seconds = time.perf_counter() - start
    half_extent = field.normalization.half_extent
    return (
        accuracy_of(jets, shape.normals[some], shape.mean_curvature[some], half_extent, count[0]),
        seconds / len(points),
    )


def accuracy_of(
    jets: Jets, normals: Array, mean_curvature: Array, half_extent: float, evaluations: int = 0
) -> Accuracy:
    """Compare jets with exact unit normals (N, d) and mean curvature (N,)."""
    answered = np.isfinite(jets.mean_curvature)
    if not answered.any():
        nan = float("nan")
        return Accuracy(nan, nan, nan, nan, nan, nan, nan, 1.0, evaluations / len(normals))
    chord = np.linalg.norm(jets.normals[answered] - normals[answered], axis=1)
    angle = np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1)))
    exact = mean_curvature[answered] * half_extent
    error = np.abs(jets.mean_curvature[answered] * half_extent - exact)
    rectified = error / np.maximum(np.abs(exact), 1)
    return Accuracy(
        normal_l2=float(chord.mean()),
        normal_mean=float(angle.mean()),
        normal_median=float(np.median(angle)),
        within_1=float((angle <= 1).mean()),
        within_2=float((angle <= 2).mean()),
        curvature_rms=float(np.sqrt((rectified**2).mean())),
        curvature_median=float(np.median(rectified)),
        unanswered=float(1 - answered.mean()),
        evaluations=evaluations / len(normals),
    )


@contextmanager
def counted(field: Field) -> Iterator[list[int]]:
    """Count the points that a field is evaluated at, into the one entry of the list.

    Whatever thread asks: each has an evaluator of its own.
    """
    count = [0]
    lock = Lock()
    plain, followed = Evaluator.field, field.evaluate_module

    def add(points: torch.Tensor) -> None:
        with lock:
            count[0] += len(points)

    def evaluate(evaluator: Evaluator, points: torch.Tensor) -> torch.Tensor:
        add(points)
        return plain(evaluator, points)

    def evaluate_module(points: torch.Tensor) -> torch.Tensor:
        add(points)
        return followed(points)

    with (
        patch.object(Evaluator, "field", evaluate),
        patch.object(field, "evaluate_module", evaluate_module),
    ):
        yield count
