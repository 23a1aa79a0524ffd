"""Curvature to colour, without Blender."""

from __future__ import annotations

import numpy as np
import pytest
from fairfield_extension.blender_addon.colormap import (
    UNANSWERED_COLOR,
    automatic_range,
    colors,
)
from fairfield_extension.blender_addon.quantities import QUANTITIES, unit_text


def test_the_range_of_a_signed_quantity_is_symmetric_and_ignores_tails():
    values = np.concatenate([np.linspace(-1, 2, 1000), [np.nan, 1e6, -1e6]])
    low, high = automatic_range(values, QUANTITIES["mean_curvature"])
    assert low == -high
    assert high == pytest.approx(2, rel=0.1)


def test_the_range_of_an_unsigned_quantity_follows_the_values():
    low, high = automatic_range(np.linspace(3, 5, 1000), QUANTITIES["curvedness"])
    assert 3 <= low < high <= 5


@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize("values", [np.zeros(4), np.full(4, np.nan), np.empty(0), np.full(4, 7.0)])
def test_every_range_has_a_width(name, values):
    low, high = automatic_range(values, QUANTITIES[name])
    assert low < high


@pytest.mark.parametrize("half_size", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("name", ["mean_curvature", "gaussian_curvature", "curvedness"])
def test_what_is_flat_for_its_size_is_not_colored_and_what_bends_is(name, half_size):
    quantity = QUANTITIES[name]
    at_rest = colors(np.zeros(1), *((-1, 1) if quantity.signed else (0, 1)), signed=quantity.signed)
    for bend, colored in ((0.005, False), (0.5, True)):
        curvature = np.linspace(0, bend / half_size, 100)
        values = curvature**-quantity.length_power
        shown = automatic_range(values, quantity, half_size)
        departure = np.abs(colors(values, *shown, signed=quantity.signed) - at_rest).max()
        assert (departure > 0.3) == colored
        assert colored or departure < 0.1


def test_shape_index_has_the_range_that_it_always_has():
    assert automatic_range(np.zeros(3), QUANTITIES["shape_index"]) == (-1.0, 1.0)


def test_hollows_are_blue_ridges_red_zero_light_and_no_answer_grey():
    hollow, flat, ridge, unanswered = colors(np.array([-9.0, 0, 9, np.nan]), -1, 1, signed=True)
    assert hollow[2] > hollow[0]
    assert ridge[0] > ridge[2]
    assert flat[:3].min() > 0.8
    assert unanswered[:3] == pytest.approx(UNANSWERED_COLOR)
    assert hollow[3] == flat[3] == unanswered[3] == 1


def test_lightness_rises_along_the_sequential_colors():
    ramp = colors(np.linspace(0, 1, 32), 0, 1, signed=False)
    luminance = ramp[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) > 0).all()


def test_units_are_named_by_their_power_of_length():
    assert unit_text(QUANTITIES["mean_curvature"], "m") == "1/m"
    assert unit_text(QUANTITIES["gaussian_curvature"], "m") == "1/m²"
    assert unit_text(QUANTITIES["deviation"], "unit") == "unit"
    assert unit_text(QUANTITIES["shape_index"], "m") == ""
