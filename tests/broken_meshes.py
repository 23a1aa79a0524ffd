"""Meshes that are not as they should be, and what must become of each: one table for every way in.

Used by the tests of the command, of Python and of Blender. Needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
FACE = np.array([[0, 1, 2]], np.int32)


@dataclass(frozen=True)
class Expectation:
    """What must become of a mesh.

    Attributes
    ----------
    refused
        Words of the one sentence that refuses it; empty for a mesh that is answered.
    warned
        Words of a warning with the answer.
    repaired
        A kind of repair that is reported.
    unanswered
        Whether vertices may have no answer, for want of a surface near them; they are counted.
    in_blender
        Whether Blender can hold such a mesh.
    """

    refused: str = ""
    warned: str = ""
    repaired: str = ""
    unanswered: bool = False
    in_blender: bool = True


OUTCOMES = {
    # In the shared data.
    "all_inward": Expectation(warned="point inward"),
    "degenerate_triangles": Expectation(repaired="degenerate triangles"),
    "duplicate_vertices": Expectation(),
    "empty": Expectation(refused="no vertices"),
    "flipped_faces": Expectation(repaired="turned triangles"),
    "holes": Expectation(repaired="unused vertices", unanswered=True),
    "isolated_vertex": Expectation(repaired="unused vertices"),
    "nan_vertex": Expectation(refused="not finite numbers"),
    "nonmanifold_edge_fan": Expectation(warned="open sheet"),
    "offset_1e6": Expectation(),
    "open_plane": Expectation(warned="open sheet"),
    "single_triangle": Expectation(warned="open sheet"),
    "two_overlapping_shells": Expectation(unanswered=True),
    # Made here.
    "no_faces": Expectation(refused="no faces"),
    "infinite_vertex": Expectation(refused="not finite numbers"),
    "index_too_large": Expectation(refused="refers to vertices", in_blender=False),
    "index_negative": Expectation(refused="refers to vertices", in_blender=False),
    "one_point": Expectation(refused="no"),
    "no_area": Expectation(refused="no area"),
    "too_large": Expectation(refused="cannot be computed with", in_blender=False),
    "too_small": Expectation(refused="no", in_blender=False),
    "tiny": Expectation(),
    "huge": Expectation(),
}


def broken_meshes(shared_data: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, vertices (V, 3) and triangles (F, 3) of every mesh of the table."""
    files = {path.stem: path for path in (shared_data / "broken").glob("*.npz")}
    assert files.keys() <= OUTCOMES.keys(), "a mesh has no expected outcome"
    for name, path in sorted(files.items()):
        with np.load(path) as arrays:
            yield name, arrays["vertices"], arrays["faces"]
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    faces = [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
    octahedron = np.array(faces, np.int32)
    infinite = corners.copy()
    infinite[2, 1] = np.inf
    line = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    yield "no_faces", corners, octahedron[:0]
    yield "infinite_vertex", infinite, octahedron
    yield "index_too_large", TRIANGLE, FACE + 1
    yield "index_negative", TRIANGLE, FACE - 1
    yield "one_point", TRIANGLE * 0 + 5, FACE
    yield "no_area", line, FACE
    yield "too_large", corners * 1e200, octahedron
    yield "too_small", corners * 1e-200, octahedron
    yield "tiny", corners * 1e-6, octahedron
    yield "huge", corners * 1e9, octahedron
