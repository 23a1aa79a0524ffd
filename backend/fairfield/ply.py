"""PLY files: vertices, and faces of any number of corners, as Blender writes them.

Where these numbers differ, trimesh refuses a binary file, or takes numbers of one face for those
of another; all polygons become fans, in another order. libigl reads triangles only. The format:
Turk, "The PLY polygon file format" (1994).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import MeshError
from .polygons import triangulate

HEADER = re.compile(rb"\Aply[ \t\r]*\n(.*?)^end_header[ \t\r]*\n", re.MULTILINE | re.DOTALL)
FORMAT = re.compile(rb"^format +(\w+)", re.MULTILINE)
BYTE_ORDERS = {b"ascii": "=", b"binary_little_endian": "<", b"binary_big_endian": ">"}
TYPES = {
    **dict.fromkeys((b"char", b"int8"), "i1"),
    **dict.fromkeys((b"uchar", b"uint8"), "u1"),
    **dict.fromkeys((b"short", b"int16"), "i2"),
    **dict.fromkeys((b"ushort", b"uint16"), "u2"),
    **dict.fromkeys((b"int", b"int32"), "i4"),
    **dict.fromkeys((b"uint", b"uint32"), "u4"),
    **dict.fromkeys((b"float", b"float32"), "f4"),
    **dict.fromkeys((b"double", b"float64"), "f8"),
}
CORNERS = (b"vertex_indices", b"vertex_index")

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Property:
    """A number in each row or, with a type of its count, a list of numbers."""

    name: bytes
    number: np.dtype[Any]
    count: np.dtype[Any] | None = None


@dataclass(frozen=True)
class _Element:
    name: bytes
    rows: int
    properties: list[_Property] = field(default_factory=list)

    @property
    def has_lists(self) -> bool:
        return any(each.count for each in self.properties)

    @property
    def corners(self) -> _Property:
        """The list of the vertices of a face."""
        (found,) = (each for each in self.properties if each.count and each.name in CORNERS)
        return found


def read_ply(content: bytes) -> tuple[NDArray[np.float64], Integers]:
    """Return vertices (V, 3) and triangles (F, 3) in the file's order, polygons cut.

    What follows the vertices and faces may be damaged.

    Raises
    ------
    MeshError
        If the numbers are of a kind that no mesh can be made of.
    ValueError, LookupError
        If the file is damaged.
    """
    header = HEADER.match(content)
    kind = FORMAT.search(header[1]) if header else None
    if header is None or kind is None:
        raise ValueError("This is no header.")
    elements = _elements(header[1], BYTE_ORDERS[kind[1]])
    for element in elements:
        if element.name == b"vertex" and element.has_lists:
            raise MeshError("its vertices have lists of numbers. Export it without them.")
        if element.name == b"face" and element.has_lists and element.corners.number.kind == "f":
            raise MeshError("its faces give vertices by numbers with a decimal point.")
    if kind[1] == b"ascii":
        vertices, corners, counts = _read_text(content[header.end() :].split(), elements)
    else:
        vertices, corners, counts = _read_binary(content, header.end(), elements)
    return vertices, triangulate(vertices, corners, counts)


def ply_content(columns: Mapping[str, NDArray[np.floating]], triangles: NDArray[Any]) -> bytes:
    """Return a binary file of the vertices' columns (V,) by name, and of triangles (F, 3).

    Columns of float64 are doubles in it, and all others floats.
    """
    kinds = {name: "f8" if each.dtype == np.float64 else "f4" for name, each in columns.items()}
    vertices = np.empty(len(columns["x"]), [(name, f"<{kind}") for name, kind in kinds.items()])
    for name, each in columns.items():
        vertices[name] = each
    faces = np.empty(len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(vertices)}",
        *(f"property {'double' if kinds[name] == 'f8' else 'float'} {name}" for name in kinds),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()


def _elements(header: bytes, order: str) -> list[_Element]:
    """All up to the one that completes the vertices and faces."""
    elements: list[_Element] = []
    for line in header.splitlines():
        match line.split():
            case [b"element", *_] if {b"vertex", b"face"} <= {each.name for each in elements}:
                break
            case [b"element", name, rows] if rows.isdigit():
                elements.append(_Element(name, int(rows)))
            case [b"element", *_]:
                raise ValueError("An element has no number of rows.")
            case [b"property", b"list", count, number, name]:
                of_number, of_count = (np.dtype(order + TYPES[each]) for each in (number, count))
                if of_count.kind == "f":
                    raise ValueError("A list has a length that is no whole number.")
                elements[-1].properties.append(_Property(name, of_number, of_count))
            case [b"property", number, name]:
                elements[-1].properties.append(_Property(name, np.dtype(order + TYPES[number])))
    return elements


def _read_text(
    words: list[bytes], elements: list[_Element]
) -> tuple[NDArray[np.float64], Integers, Integers]:
    """Vertices, the corners of all faces, and how many each has."""
    vertices = np.zeros((0, 3))
    corners: list[int] = []
    counts: list[int] = []
    start = 0
    for element in elements:
        names = [each.name for each in element.properties]
        if not element.has_lists:
            end = start + element.rows * len(names)
            if element.name == b"vertex":
                numbers = np.array(words[start:end], "S").astype(np.float64)
                rows = numbers.reshape(element.rows, len(names))
                vertices = rows[:, [names.index(axis) for axis in (b"x", b"y", b"z")]]
            start = end
            continue
        of_faces = element.corners if element.name == b"face" else None
        for _ in range(element.rows):
            for each in element.properties:
                count = 1
                if each.count:
                    count = int(words[start])
                    start += 1
                if count < 0 or start + count > len(words):
                    raise ValueError("The file ends early.")
                if each is of_faces:
                    corners += map(int, words[start : start + count])
                    counts.append(count)
                start += count
    return vertices, np.array(corners, np.int64), np.array(counts, np.int64)


def _read_binary(
    content: bytes, start: int, elements: list[_Element]
) -> tuple[NDArray[np.float64], Integers, Integers]:
    """Vertices, the corners of all faces, and how many each has."""
    vertices, corners, counts = np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros(0, np.int64)
    for element in elements:
        if element.has_lists:
            lists, start = _lists(content, start, element)
            if element.name == b"face":
                of_faces = element.corners
                corners, counts = _corners(content, of_faces.number, lists[of_faces.name])
        elif element.rows:
            record = np.dtype([(each.name.decode(), each.number) for each in element.properties])
            rows = np.frombuffer(content, record, element.rows, start)
            start += rows.nbytes
            if element.name == b"vertex":
                vertices = np.stack([rows[axis].astype(np.float64) for axis in "xyz"], axis=1)
    return vertices, corners, counts


def _lists(content: bytes, start: int, element: _Element) -> tuple[dict[bytes, Integers], int]:
    """The lists of an element by name, (rows, 2): where each begins and its length. And the end."""
    properties = [each for each in element.properties if each.count]
    if element.rows == 0:
        table = np.zeros((0, len(properties), 2), np.int64)
    else:
        first, end = _rows(content, start, element, 1)
        stride = end - start
        if _are_alike(content, start, stride, element.rows, properties, first[0]):
            # What begins at the same place in each row.
            steps = stride * np.arange(element.rows)[:, None, None] * np.array([1, 0])
            table, start = first + steps, start + element.rows * stride
        else:
            table, start = _rows(content, start, element, element.rows)
    names = zip(properties, table.transpose(1, 0, 2), strict=True)
    return {each.name: lists for each, lists in names}, start


def _rows(content: bytes, start: int, element: _Element, rows: int) -> tuple[Integers, int]:
    """Where each list of each row begins, and how long it is: (rows, lists, 2); and their end."""
    # This is the slow part of reading: bytes before a list's count, in the count, in a number.
    steps = []
    before = 0
    for each in element.properties:
        if each.count:
            steps.append((before, each.count.itemsize, each.number.itemsize))
        before = 0 if each.count else before + each.number.itemsize
    is_big = any(each.count and each.count.str[0] == ">" for each in element.properties)
    order: Literal["big", "little"] = "big" if is_big else "little"
    # Numbers in one list, not in pairs, which would make Python look for garbage.
    places: list[int] = []
    for _ in range(rows):
        for gap, width, size in steps:
            start += gap + width
            count = int.from_bytes(content[start - width : start], order)
            places += start, count
            start += count * size
        start += before
        if start > len(content):
            raise ValueError("The file ends early.")
    return np.array(places).reshape(rows, len(steps), 2), start


def _are_alike(
    content: bytes,
    start: int,
    stride: int,
    rows: int,
    properties: list[_Property],
    first: Integers,
) -> bool:
    """Whether the lists of all rows are as long as those of the first."""
    if start + rows * stride > len(content):
        return False
    for each, (place, count) in zip(properties, first.tolist(), strict=True):
        assert each.count
        counts = np.ndarray(rows, each.count, content, place - each.count.itemsize, (stride,))
        if (counts != count).any():
            return False
    return True


def _corners(
    content: bytes, number: np.dtype[Any], polygons: Integers
) -> tuple[Integers, Integers]:
    """Corners of all polygons that begin and are as long as a table (P, 2) says; and how many."""
    start, counts = polygons.T
    first = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(first, counts)
    places = np.repeat(start, counts) + within * number.itemsize
    # All places of the file as if a number began there.
    size = max(len(content) - number.itemsize + 1, 0)
    numbers = np.ndarray(size, np.dtype((np.void, number.itemsize)), content, 0, (1,))
    return numbers[places].view(number).astype(np.int64), counts
