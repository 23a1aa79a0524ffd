"""OBJ files: the vertices and faces, as they are in the file.

trimesh cuts all polygons into fans, and where faces have several materials it gives them one after
the other, each with all the vertices. The format: Wavefront, "Advanced Visualizer", appendix B1.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from .polygons import triangulate

COMMENT = re.compile(rb"#.*")


def read_obj(content: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return vertices (V, 3) and triangles (F, 3) in the file's order, polygons cut.

    Raises
    ------
    ValueError, LookupError
        If the file is damaged.
    """
    coordinates: list[float] = []
    corners: list[int] = []
    counts: list[int] = []
    content = COMMENT.sub(b"", content.replace(b"\r\n", b"\n")).replace(b"\\\n", b" ")
    for line in content.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == b"v":
            x, y, z = words[1:4]
            coordinates += float(x), float(y), float(z)
        elif words[0] == b"f":
            # From 1, or backwards from the last vertex so far.
            numbers = [int(word.partition(b"/")[0]) for word in words[1:]]
            end = len(coordinates) // 3
            corners += [number - 1 if number >= 0 else end + number for number in numbers]
            counts.append(len(numbers))
    vertices = np.array(coordinates).reshape(-1, 3)
    return vertices, triangulate(vertices, np.array(corners, np.int64), np.array(counts, np.int64))
