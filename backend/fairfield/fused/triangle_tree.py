"""Nearest points of a triangle mesh, with the compiled kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..distance import morton_order
from ..threads import run_shares, share_bounds
from .loading import load_kernels

Array = NDArray[np.float64]

MIN_POINTS_PER_THREAD = 256  # below it, waking a thread costs more than it saves


class TriangleTree:
    """A tree of boxes over the triangles of a mesh, built once.

    Triangles are put in Morton order and cut into leaves of 16, these into nodes of 16, and so on.

    Parameters
    ----------
    vertices, triangles
        (V, 3) float64 and (F, 3) int32. Of a triangle without area, its edges count.
    threads
        At most so many threads. But for rounding, the answers do not depend on it.
    """

    def __init__(self, vertices: Array, triangles: NDArray[np.int32], threads: int) -> None:
        self._kernels = load_kernels()
        self._threads = threads
        width = self._kernels.WIDTH
        order = morton_order(vertices[triangles].mean(axis=1))
        self._leaves = np.empty((-(-len(order) // width), self._kernels.TRIANGLE, width))
        # Another layout in memory would be compiled for anew.
        tables = np.ascontiguousarray(vertices), np.ascontiguousarray(triangles)
        self._kernels.fill_leaves(*tables, order, self._leaves)
        corners = self._leaves[:, :3], self._leaves[:, 3:6], self._leaves[:, 6:9]
        ends = corners[0] + corners[1], corners[0] + corners[2]
        low = np.minimum(corners[0], np.minimum(*ends)).min(axis=2)
        high = np.maximum(corners[0], np.maximum(*ends)).max(axis=2)
        boxes: list[Array] = []
        first_child: list[NDArray[np.intp]] = []
        first = 0
        while not boxes or len(low) > 1:
            padding = np.full((-len(low) % width, 3), np.inf)
            children = np.concatenate(
                [np.concatenate([low, padding]), np.concatenate([high, -padding])], axis=1
            ).reshape(-1, width, 6)
            boxes.append(children.transpose(0, 2, 1))
            first_child.append(first + width * np.arange(len(children)))
            first += len(low)
            low, high = children[:, :, :3].min(axis=1), children[:, :, 3:].max(axis=1)
        self._boxes = np.ascontiguousarray(np.concatenate(boxes))
        self._first_child = np.concatenate(first_child)

    def nearest(self, points: Array) -> Array:
        """Return the nearest point of the surface for each of (N, 3) points.

        NaN for a point that is not finite, or too far to be measured. Several times as fast for
        points in Morton order.
        """
        points = np.ascontiguousarray(points, np.float64)
        result = np.empty_like(points)
        shares = max(1, min(self._threads, len(points) // MIN_POINTS_PER_THREAD))
        run_shares(
            shares,
            lambda share: self._kernels.nearest_points(
                *share_bounds(share, shares, len(points)),
                points,
                self._leaves,
                self._boxes,
                self._first_child,
                result,
            ),
        )
        return result
