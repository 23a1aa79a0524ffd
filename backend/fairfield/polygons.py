"""Polygons cut into triangles.

As fans where that is right. Other polygons lose one ear after the other: a corner whose triangle
with both neighbours lies within the polygon (Eberly, "Triangulation by ear clipping", 2002).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**15
"""Polygons at a time, so that the memory stays small."""

NO_AREA = 1e-12
"""Twice the area of a triangle without any, for a polygon as large as 1."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def triangulate(vertices: Floats, corners: Integers, counts: Integers) -> Integers:
    """Return triangles (F, 3) with the polygons' orientation, polygon by polygon.

    Those of a simple polygon do not overlap, seen along its normal, and have an area where that is
    possible. Polygons that cross themselves, or refer to vertices that are missing or not finite,
    give as many triangles too. The time grows with the square of the number of corners.

    Parameters
    ----------
    vertices
        (V, 3)
    corners
        (C,) vertices of all polygons, one polygon after the other.
    counts
        (P,) number of corners of each; what has fewer than 3 is left out.
    """
    sizes = np.maximum(counts - 2, 0)
    first_corner, first_triangle = np.cumsum(counts) - counts, np.cumsum(sizes) - sizes
    triangles = np.zeros((int(sizes.sum()), 3), np.int64)
    for count in np.unique(counts[counts >= 3]).tolist():
        alike = np.flatnonzero(counts == count)
        for chosen in np.split(alike, range(BLOCK, len(alike), BLOCK)):
            polygons = corners[first_corner[chosen, None] + np.arange(count)]
            # A vertex that is missing is told of later.
            cuts = _cut(vertices.take(polygons, axis=0, mode="clip"))
            rows = np.arange(len(polygons))[:, None, None]
            triangles[first_triangle[chosen, None] + np.arange(count - 2)] = polygons[rows, cuts]
    return triangles


def _cut(points: Floats) -> Integers:
    """Cut polygons (P, n, 3) into triangles (P, n - 2, 3) of corners from 0 to n - 1.

    All triangles of a fan cover each point as often as the polygon winds around it, those that
    are turned over counted negative. So the fan of a simple polygon is right if none is.
    """
    count = points.shape[1]
    second = np.arange(1, count - 1)
    fan = np.stack([np.zeros_like(second), second, second + 1], axis=1)
    cuts = np.tile(fan, (len(points), 1, 1))
    if count == 3:
        return cuts
    # What is not finite or has no normal becomes a fan at last: no comparison with NaN holds.
    with np.errstate(all="ignore"):
        flat = _flattened(points)
        undecided = np.arange(len(points))
        # One of these two is right for each simple quadrilateral.
        for apex in (0, 1):
            turned = (fan + apex) % count
            a, b, c = np.moveaxis(flat[undecided][:, turned], 2, 0)
            is_right = (_double_area(a, b, c) > NO_AREA).all(axis=1)
            cuts[undecided[is_right]] = turned
            undecided = undecided[~is_right]
        if len(undecided):
            cuts[undecided] = _clip_ears(flat[undecided])
    return cuts


def _flattened(points: Floats) -> Floats:
    """Polygons (P, n, 2), of size 1, seen against the normal of Newell's method."""
    points = points - points[:, :1]
    points /= np.abs(points).max(axis=(1, 2), keepdims=True)
    normals = np.cross(points[:, 1:-1], points[:, 2:]).sum(axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    across = np.cross(np.eye(3)[np.abs(normals).argmin(axis=1)], normals)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    axes = np.stack([across, np.cross(normals, across)], axis=2)
    return points @ axes


def _clip_ears(flat: Floats) -> Integers:
    """Cut polygons (P, n, 2) into triangles (P, n - 2, 3), the best ears first."""
    rows = np.arange(len(flat))
    count = flat.shape[1]
    left = np.tile(np.arange(count), (len(flat), 1))
    qualities = np.stack([_quality(flat, np.full(len(flat), tip)) for tip in range(count)], axis=1)
    cuts = []
    for size in range(count, 3, -1):
        # Where there is no ear this is corner 0, again and again: a fan.
        tip = qualities.argmax(axis=1)
        cuts.append(left[rows[:, None], (tip[:, None] + [-1, 0, 1]) % size])
        others = np.arange(size) != tip[:, None]
        left, qualities = (each[others].reshape(-1, size - 1) for each in (left, qualities))
        flat = flat[others].reshape(-1, size - 1, 2)
        # An ear less changes nothing but at its neighbours.
        for neighbour in ((tip - 1) % (size - 1), tip % (size - 1)):
            qualities[rows, neighbour] = _quality(flat, neighbour)
    return np.stack([*cuts, left], axis=1)


def _quality(flat: Floats, tip: Integers) -> Floats:
    """Area by squared edges of the triangle at a corner of each polygon; -1 if it is no ear."""
    rows = np.arange(len(flat))
    a, b, c = (flat[rows, (tip + step) % flat.shape[1]][:, None] for step in (-1, 0, 1))
    sides = ((a, b), (b, c), (c, a))
    area = _double_area(a, b, c)[:, 0]
    # A corner on the edge counts: to cut there would leave a triangle without area.
    within = np.logical_and.reduce([_double_area(p, q, flat) > -NO_AREA for p, q in sides])
    # Polygons with holes come twice to the same corner.
    same = np.logical_or.reduce([(flat == each).all(axis=2) for each in (a, b, c)])
    is_ear = (area > NO_AREA) & ~(within & ~same).any(axis=1)
    squares = sum(np.square(p - q).sum(axis=(1, 2)) for p, q in sides)
    return np.where(is_ear, area / squares, -1.0)


def _double_area(a: Floats, b: Floats, c: Floats) -> Floats:
    """Of triangles in the plane (..., 2), negative where they run clockwise."""
    u, v = b - a, c - a
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
