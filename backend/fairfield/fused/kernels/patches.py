"""Patches of the smoothed surface, blended at points about on it and at the nodes of a lattice.

See `fairfield.surface_patches`. One point, or one patch, after the other, in double precision.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..layout import ENOUGH, BlendedJets, BlendedPatches, PatchArrays
from .options import Doubles, called, entry_point

AGREEING = 0.95
"""Least length of the mean of the patches' normals."""
DISAGREEING = 0.02
"""Largest standard deviation of their distances, in scales."""
STEEP, TOO_STEEP = 0.5, 0.75
"""Squared slope of a distance along its disk, from which on a patch counts less, and nothing. Over
an edge, or where another part of the surface is near, it is no distance: those have slopes below 1.
"""

_OnDisk = tuple[float, float, float, float, float, float]
_Matrix = tuple[float, float, float, float, float, float]  # symmetric: its upper triangle


@entry_point
def jets_in_middles(
    first: int,
    last: int,
    patches: PatchArrays,
    distance: Doubles,
    gradient: Doubles,
    hessian: Doubles,
) -> None:
    """Write distances (M,), gradients (M, 3) and Hessians (M, 3, 3) for a range of patches."""
    for patch in range(first, last):
        disk = on_disk(patches, patch, 0.0, 0.0)
        distance[patch], gradient[patch, 0], gradient[patch, 1], gradient[patch, 2] = (
            distance_above(patches, patch, disk, 0.0)
        )
        store_symmetric(hessian_above(patches, patch, disk, 0.0), hessian[patch])


@entry_point
def blend_patches(
    first: int,
    points: Doubles,
    nearest: NDArray[np.int64],
    away: Doubles,
    patches: BlendedPatches,
    noise: float,
    jets: BlendedJets,
) -> None:
    """Write what patches tell about points (P, 3) to the jets from the first on.

    Parameters
    ----------
    nearest, away
        (P, k) patches that each point may lie within, and how far it is from their middles.
    noise
        What distances may differ by beside `DISAGREEING`.
    """
    heights, bends = patches.heights, patches.bends
    for i in range(points.shape[0]):
        weights = sum_distance = sum_square = sum_slope = sum_scale = 0.0
        normal_x = normal_y = normal_z = 0.0
        xx = xy = xz = yy = yz = zz = 0.0
        for j in range(nearest.shape[1]):
            patch = nearest[i, j]
            share = (away[i, j] / patches.radius[patch]) ** 2
            if not share < 1:
                continue
            way_x = points[i, 0] - patches.middle[patch, 0]
            way_y = points[i, 1] - patches.middle[patch, 1]
            way_z = points[i, 2] - patches.middle[patch, 2]
            a, b, height = turned(heights, patch, way_x, way_y, way_z)
            disk = on_disk(heights, patch, a, b)
            told, x, y, z = distance_above(heights, patch, disk, height)
            lean = steepness(disk)
            if patches.is_bend_apart[patch]:
                a, b, height = turned(bends, patch, way_x, way_y, way_z)
                disk = on_disk(bends, patch, a, b)
                lean = max(lean, steepness(disk))
            bent = hessian_above(bends, patch, disk, height)
            upright = min(max((TOO_STEEP - lean) / (TOO_STEEP - STEEP), 0.0), 1.0)
            weight = (1 - share) ** 2 * upright
            told -= patches.offset[patch]
            weights += weight
            sum_distance += weight * told
            sum_square += weight * told * told
            sum_slope += weight * heights.slope[patch]
            sum_scale += weight * heights.scale[patch]
            normal_x += weight * x
            normal_y += weight * y
            normal_z += weight * z
            xx += weight * bent[0]
            xy += weight * bent[1]
            xz += weight * bent[2]
            yy += weight * bent[3]
            yz += weight * bent[4]
            zz += weight * bent[5]
        row = first + i
        jets.answered[row] = False
        if not weights > ENOUGH:
            continue
        mean, slope, width = sum_distance / weights, sum_slope / weights, sum_scale / weights
        length = math.sqrt(normal_x**2 + normal_y**2 + normal_z**2)
        spread = sum_square / weights - mean * mean
        if not (length > AGREEING * weights and spread < (DISAGREEING * width + noise) ** 2):
            continue
        jets.answered[row] = True
        jets.distance[row], jets.scale[row] = mean, width
        x, y, z = normal_x / length, normal_y / length, normal_z / length
        gradient = jets.gradient[row]
        gradient[0], gradient[1], gradient[2] = slope * x, slope * y, slope * z
        across = project_out((xx, xy, xz, yy, yz, zz), x, y, z, slope / weights)
        store_symmetric(across, jets.hessian[row])


@entry_point
def add_patches_to_nodes(
    first_plane: int,
    last_plane: int,
    row_of: NDArray[np.int32],
    cell: float,
    reach: float,
    middles: Doubles,
    radii: Doubles,
    distances: Doubles,
    normals: Doubles,
    hessians: Doubles,
    moved: Doubles,
    totals: Doubles,
) -> None:
    """Add up what patches tell about the nodes of a lattice, in a range of planes of it.

    Parameters
    ----------
    row_of
        (n, n, n) where nodes are in the totals, negative for those that are not asked for.
    cell, reach
        From node to node, and how far above and below its middle a patch counts.
    middles, radii, distances, normals, hessians, moved
        (M, 3), (M,), (M,), (M, 3), (M, 3, 3) and (M,) of the patches.
    totals
        (N, 4) sums of the weights, and of weights times distance, its square, and that of `moved`.
    """
    size = row_of.shape[0]
    for patch in range(middles.shape[0]):
        x, y, z = normals[patch, 0], normals[patch, 1], normals[patch, 2]
        radius = radii[patch]
        low_i, high_i = nodes_within(middles[patch, 0], radius, reach, x, cell, size)
        low_i, high_i = max(low_i, first_plane), min(high_i, last_plane)
        if low_i >= high_i:
            continue
        low_j, high_j = nodes_within(middles[patch, 1], radius, reach, y, cell, size)
        low_k, high_k = nodes_within(middles[patch, 2], radius, reach, z, cell, size)
        bend = hessians[patch]
        square_moved = moved[patch] * moved[patch]
        for i in range(low_i, high_i):
            way_x = i * cell - 1 - middles[patch, 0]
            for j in range(low_j, high_j):
                way_y = j * cell - 1 - middles[patch, 1]
                for k in range(low_k, high_k):
                    row = row_of[i, j, k]
                    if row < 0:
                        continue
                    way_z = k * cell - 1 - middles[patch, 2]
                    height = x * way_x + y * way_y + z * way_z
                    square = way_x * way_x + way_y * way_y + way_z * way_z - height * height
                    share = square / (radius * radius)
                    if not (share < 1 and abs(height) < reach):
                        continue
                    turn_x = bend[0, 0] * way_x + bend[0, 1] * way_y + bend[0, 2] * way_z
                    turn_y = bend[0, 1] * way_x + bend[1, 1] * way_y + bend[1, 2] * way_z
                    turn_z = bend[0, 2] * way_x + bend[1, 2] * way_y + bend[2, 2] * way_z
                    told = (
                        distances[patch]
                        + height
                        + (turn_x * way_x + turn_y * way_y + turn_z * way_z) / 2
                    )
                    weight = (1 - share) ** 2
                    totals[row, 0] += weight
                    totals[row, 1] += weight * told
                    totals[row, 2] += weight * told * told
                    totals[row, 3] += weight * square_moved


@called
def nodes_within(
    middle: float, radius: float, reach: float, normal: float, cell: float, size: int
) -> tuple[int, int]:
    """The range of nodes along an axis that a cylinder about a normal spans."""
    half = radius * math.sqrt(max(1 - normal * normal, 0.0)) + reach * abs(normal)
    low = math.ceil((middle - half + 1) / cell)
    high = math.floor((middle + half + 1) / cell) + 1
    return max(int(low), 0), min(int(high), size)


@called
def turned(
    patches: PatchArrays, patch: int, x: float, y: float, z: float
) -> tuple[float, float, float]:
    """Coordinates of a way along the axes of a disk and its normal."""
    axes = patches.frame[patch]
    return (
        axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z,
        axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z,
        axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z,
    )


@called
def on_disk(patches: PatchArrays, patch: int, x: float, y: float) -> _OnDisk:
    """The distance at a place on a disk, its slopes along x and y, and its second derivatives.

    Those are xx, xy, yy.
    """
    scale, c = patches.scale[patch], patches.polynomial[patch]
    u, v = x / scale, y / scale
    uu, uv, vv = u * u, u * v, v * v
    rise = c[0] + u * c[1] + v * c[2] + uu * c[3] + uv * c[4] + vv * c[5]
    rise += uu * (u * c[6] + v * c[7]) + vv * (u * c[8] + v * c[9])
    rise += uu * (uu * c[10] + uv * c[11] + vv * c[12]) + vv * (uv * c[13] + vv * c[14])
    first = c[1] + 2 * u * c[3] + v * c[4] + 3 * uu * c[6] + 2 * uv * c[7] + vv * c[8]
    first += uu * (4 * u * c[10] + 3 * v * c[11]) + vv * (2 * u * c[12] + v * c[13])
    second = c[2] + u * c[4] + 2 * v * c[5] + uu * c[7] + 2 * uv * c[8] + 3 * vv * c[9]
    second += uu * (u * c[11] + 2 * v * c[12]) + vv * (3 * u * c[13] + 4 * v * c[14])
    bend_xx = 2 * c[3] + 6 * u * c[6] + 2 * v * c[7] + 12 * uu * c[10] + 6 * uv * c[11]
    bend_xx += 2 * vv * c[12]
    bend_xy = c[4] + 2 * u * c[7] + 2 * v * c[8] + 3 * uu * c[11] + 4 * uv * c[12]
    bend_xy += 3 * vv * c[13]
    bend_yy = 2 * c[5] + 2 * u * c[8] + 6 * v * c[9] + 2 * uu * c[12] + 6 * uv * c[13]
    bend_yy += 12 * vv * c[14]

    # The polynomial is e + k e^2 / 2 where e is what is wanted, and k = at^T K at / |at|^2.
    curvature = patches.curvature[patch]
    k_xx, k_xy, k_yy = curvature[0, 0], curvature[0, 1], curvature[1, 1]
    square = max(x * x + y * y, (0.1 * scale) ** 2)
    turn_x, turn_y = k_xx * x + k_xy * y, k_xy * x + k_yy * y
    towards = (turn_x * x + turn_y * y) / square
    change_x, change_y = 2 * (turn_x - towards * x) / square, 2 * (turn_y - towards * y) / square
    root = math.sqrt(max(1 + 2 * towards * rise, 0.25))
    e = 2 * rise / (1 + root)
    half = e * e / 2
    slope_x = (first / scale - change_x * half) / root
    slope_y = (second / scale - change_y * half) / root
    again_xx = 2 * (k_xx - towards - 2 * x * change_x) / square * half
    again_xy = 2 * (k_xy - x * change_y - y * change_x) / square * half
    again_yy = 2 * (k_yy - towards - 2 * y * change_y) / square * half
    unit = scale * scale
    xx = bend_xx / unit - towards * slope_x * slope_x - again_xx - 2 * e * change_x * slope_x
    xy = bend_xy / unit - towards * slope_x * slope_y - again_xy
    xy -= e * (change_x * slope_y + change_y * slope_x)
    yy = bend_yy / unit - towards * slope_y * slope_y - again_yy - 2 * e * change_y * slope_y
    return patches.middle[patch] + e, slope_x, slope_y, xx / root, xy / root, yy / root


@called
def steepness(disk: _OnDisk) -> float:
    """The squared slope of a distance along its disk."""
    return disk[1] * disk[1] + disk[2] * disk[2]


@called
def upward(patches: PatchArrays, disk: _OnDisk) -> float:
    """The slope along the normal that a distance has with such slopes along the disk."""
    return math.sqrt(max(1 - steepness(disk), patches.least_rise * patches.least_rise))


@called
def distance_above(
    patches: PatchArrays, patch: int, disk: _OnDisk, height: float
) -> tuple[float, float, float, float]:
    """The distance above a place on a disk, and its gradient, of unit length."""
    value, slope_x, slope_y = disk[0], disk[1], disk[2]
    curvature, axes = patches.curvature[patch], patches.frame[patch]
    rise = upward(patches, disk)
    turn_x = curvature[0, 0] * slope_x + curvature[0, 1] * slope_y
    turn_y = curvature[0, 1] * slope_x + curvature[1, 1] * slope_y
    bend = (turn_x * slope_x + turn_y * slope_y) / (rise * rise)
    along_x = slope_x - height * turn_x / rise
    along_y = slope_y - height * turn_y / rise
    along_z = rise + height * bend
    x = along_x * axes[0, 0] + along_y * axes[1, 0] + along_z * axes[2, 0]
    y = along_x * axes[0, 1] + along_y * axes[1, 1] + along_z * axes[2, 1]
    z = along_x * axes[0, 2] + along_y * axes[1, 2] + along_z * axes[2, 2]
    length = math.sqrt(x * x + y * y + z * z)
    return value + height * rise + height * height / 2 * bend, x / length, y / length, z / length


@called
def hessian_above(patches: PatchArrays, patch: int, disk: _OnDisk, height: float) -> _Matrix:
    """The Hessian of the distance above a place on a disk.

    A distance's Hessian maps its gradient to zero: so it goes on along the normal.
    """
    axes = patches.frame[patch]
    xx, xy, yy = disk[3], disk[4], disk[5]
    a = xx - height * (xx * xx + xy * xy)
    b = xy - height * xy * (xx + yy)
    c = yy - height * (xy * xy + yy * yy)
    rise = upward(patches, disk)
    down_x, down_y = disk[1] / rise, disk[2] / rise
    x0 = axes[0, 0] - down_x * axes[2, 0]
    x1 = axes[0, 1] - down_x * axes[2, 1]
    x2 = axes[0, 2] - down_x * axes[2, 2]
    y0 = axes[1, 0] - down_y * axes[2, 0]
    y1 = axes[1, 1] - down_y * axes[2, 1]
    y2 = axes[1, 2] - down_y * axes[2, 2]
    p0, p1, p2 = a * x0 + b * y0, a * x1 + b * y1, a * x2 + b * y2
    q0, q1, q2 = b * x0 + c * y0, b * x1 + c * y1, b * x2 + c * y2
    return (
        x0 * p0 + y0 * q0,
        x0 * p1 + y0 * q1,
        x0 * p2 + y0 * q2,
        x1 * p1 + y1 * q1,
        x1 * p2 + y1 * q2,
        x2 * p2 + y2 * q2,
    )


@called
def project_out(matrix: _Matrix, x: float, y: float, z: float, factor: float) -> _Matrix:
    """A matrix times a factor, without what it does along a unit vector (x, y, z)."""
    xx, xy, xz, yy, yz, zz = matrix
    to_x, to_y, to_z = xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z
    along = to_x * x + to_y * y + to_z * z
    return (
        factor * (xx - 2 * x * to_x + along * x * x),
        factor * (xy - x * to_y - y * to_x + along * x * y),
        factor * (xz - x * to_z - z * to_x + along * x * z),
        factor * (yy - 2 * y * to_y + along * y * y),
        factor * (yz - y * to_z - z * to_y + along * y * z),
        factor * (zz - 2 * z * to_z + along * z * z),
    )


@called
def store_symmetric(matrix: _Matrix, full: Doubles) -> None:
    """Write a matrix (3, 3) from its upper triangle."""
    full[0, 0], full[1, 1], full[2, 2] = matrix[0], matrix[3], matrix[5]
    full[0, 1] = full[1, 0] = matrix[1]
    full[0, 2] = full[2, 0] = matrix[2]
    full[1, 2] = full[2, 1] = matrix[4]
