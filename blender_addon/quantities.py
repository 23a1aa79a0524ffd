"""The quantities that Fairfield writes on meshes: their names, types and units.

The backend sends arrays under the same names as the attributes that hold them.
"""

from __future__ import annotations

from dataclasses import dataclass

COLOR = "curvature_color"
SMOOTH_NORMAL = "smooth_normal"
DIRECTIONS = (SMOOTH_NORMAL, "curvature_max_direction")


@dataclass(frozen=True)
class Quantity:
    """A number per vertex that the overlay can show.

    Parameters
    ----------
    name
        The attribute.
    label
        What the artist reads.
    signed
        Whether zero is the middle of the colours, or their beginning.
    length_power
        The power of length in its unit: -1 for a curvature, -2 for a Gaussian curvature.
    fixed_range
        The range that it always has, for those that have one.
    """

    name: str
    label: str
    signed: bool
    length_power: int
    fixed_range: tuple[float, float] | None = None


QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity("mean_curvature", "Mean Curvature", True, -1),
        Quantity("gaussian_curvature", "Gaussian Curvature", True, -2),
        Quantity("curvature_max", "Maximum Curvature", True, -1),
        Quantity("curvature_min", "Minimum Curvature", True, -1),
        Quantity("curvedness", "Curvedness", False, -1),
        Quantity("shape_index", "Shape Index", True, 0, (-1.0, 1.0)),
        Quantity("deviation", "Deviation", True, 1),
    )
}
SCALARS = tuple(QUANTITIES)


def unit_text(quantity: Quantity, length_unit: str) -> str:
    """Return the unit of a quantity, such as "1/m"; empty for those without one.

    Parameters
    ----------
    length_unit
        The name of the unit of length.
    """
    return {
        -2: f"1/{length_unit}²",
        -1: f"1/{length_unit}",
        0: "",
        1: length_unit,
    }[quantity.length_power]
