"""The operator whose points share patches, against exact truth and against each point alone."""

from __future__ import annotations

import tracemalloc
from dataclasses import fields

import fairfield
import numpy as np
import pytest
from conftest import SPHERE_CENTER
from fairfield import surface_patches
from fairfield.jets import Jets
from fairfield.memory import SMOOTH_BASE, smooth_need
from fairfield.study.accuracy import counted
from shapes import icosphere

RADIUS = 3.0


def _on_sphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    directions, _ = icosphere(subdivisions=subdivisions)
    return SPHERE_CENTER + RADIUS * directions, directions


def test_many_points_are_answered_as_well_as_each_alone(sphere_field: fairfield.Field) -> None:
    points, directions = _on_sphere(6)
    errors = []
    for operator in ("polynomial-lattice", "polynomial-volume", "polynomial"):
        jets = fairfield.differentiate(sphere_field, points, operator=operator)
        turned = np.linalg.norm(jets.normals - directions, axis=1).mean()
        bent = np.sqrt(((jets.mean_curvature * RADIUS - 1) ** 2).mean())
        errors.append([turned, bent, np.abs(jets.value).mean()])
    shared, stencil, alone = np.array(errors)
    assert (shared[:2] <= stencil[:2]).all()
    assert (shared <= 1.05 * alone).all()


def test_few_values_are_asked_for_where_points_are_many(sphere_field: fairfield.Field) -> None:
    points, _ = _on_sphere(6)
    asked = []
    for operator, step in (("polynomial-lattice", 1), ("polynomial", 64)):
        with counted(sphere_field) as count:
            fairfield.differentiate(sphere_field, points[::step], operator=operator, scale=0.3)
        asked.append(count[0] / len(points[::step]))
    assert asked[0] < asked[1] / 3


def test_points_that_nothing_is_shared_with_are_answered_alone(
    sphere_field: fairfield.Field,
) -> None:
    points, directions = _on_sphere(1)
    points = SPHERE_CENTER + directions * np.linspace(2.9, 300, len(points))[:, None]
    points[0] = np.nan
    shared, alone = (
        fairfield.differentiate(sphere_field, points, operator=operator)
        for operator in ("polynomial-lattice", "polynomial")
    )
    np.testing.assert_array_equal(shared.value, alone.value)
    np.testing.assert_array_equal(shared.hessian, alone.hessian)
    assert np.isnan(shared.value[0])
    assert np.isfinite(shared.value[1:]).all()


def test_the_answers_do_not_depend_on_how_points_are_split_up(
    sphere_field: fairfield.Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, directions = _on_sphere(6)
    points[::5] += 0.3 * directions[::5]  # which are answered alone, between the others
    ways = {"at once": (1, 1 << 20), "three threads": (3, 1 << 20), "in pieces": (2, 5000)}
    answers = {}
    for name, (threads, at_once) in ways.items():
        monkeypatch.setattr("fairfield.threads._count", threads)
        monkeypatch.setattr(surface_patches, "POINTS_AT_ONCE", at_once)
        told: list[float] = []
        answers[name] = fairfield.differentiate(
            sphere_field,
            points,
            operator="polynomial-lattice",
            progress=lambda each, told=told: told.append(each.fraction),
        )
        assert told == sorted(told)
    for jets in answers.values():
        for entry in fields(Jets):
            table, expected = (getattr(each, entry.name) for each in (jets, answers["at once"]))
            np.testing.assert_array_equal(table, expected)


def test_many_points_take_no_more_memory_than_is_estimated(sphere_field: fairfield.Field) -> None:
    points, _ = _on_sphere(7)
    tracemalloc.start()
    try:
        fairfield.differentiate(sphere_field, points, operator="polynomial-lattice")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < smooth_need(len(points)).nbytes - SMOOTH_BASE
