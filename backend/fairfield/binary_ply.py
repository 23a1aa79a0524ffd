"""Binary PLY files whose faces have any number of corners, as Blender writes them.

Where these numbers differ, trimesh refuses a file, or takes numbers of one face for those of
another; libigl reads triangles only. The format: Turk, "The PLY polygon file format" (1994).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

IS_BINARY = re.compile(rb"ply\r?\n(?:(?:comment|obj_info).*\n)*format binary_")
END = re.compile(rb"^end_header\r?\n", re.MULTILINE)
BYTE_ORDERS = {b"binary_little_endian": "<", b"binary_big_endian": ">"}
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


def is_binary_ply(content: bytes) -> bool:
    """Tell by the first lines."""
    return IS_BINARY.match(content) is not None


def read_binary_ply(content: bytes) -> tuple[NDArray[np.float64], Integers]:
    """Return vertices (V, 3) in the file's order and triangles (F, 3), polygons cut into fans.

    Raises
    ------
    ValueError, LookupError
        If the file is damaged.
    """
    header = END.search(content)
    if header is None:
        raise ValueError("The header has no end.")
    start = header.end()
    vertices, triangles = np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    for element in _elements(content[: header.start()]):
        if any(each.count for each in element.properties):
            lists, start = _lists(content, start, element)
            if element.name == b"face":
                (corners,) = (name for name in CORNERS if name in lists)
                triangles = _fans(content, *lists[corners])
        elif element.rows:
            record = np.dtype([(each.name.decode(), each.number) for each in element.properties])
            rows = np.frombuffer(content, record, element.rows, start)
            start += rows.nbytes
            if element.name == b"vertex":
                vertices = np.stack([rows[axis].astype(np.float64) for axis in "xyz"], axis=1)
    return vertices, triangles


def _elements(header: bytes) -> list[_Element]:
    order = ""
    elements: list[_Element] = []
    for line in header.splitlines():
        match line.split():
            case [b"format", kind, _]:
                order = BYTE_ORDERS[kind]
            case [b"element", name, rows] if rows.isdigit():
                elements.append(_Element(name, int(rows)))
            case [b"element", *_]:
                raise ValueError("An element has no number of rows.")
            case [b"property", b"list", count, number, name]:
                of_number, of_count = (np.dtype(order + TYPES[each]) for each in (number, count))
                elements[-1].properties.append(_Property(name, of_number, of_count))
            case [b"property", number, name]:
                elements[-1].properties.append(_Property(name, np.dtype(order + TYPES[number])))
    return elements


def _lists(
    content: bytes, start: int, element: _Element
) -> tuple[dict[bytes, tuple[np.dtype[Any], Integers]], int]:
    """Return the lists of an element, and where it ends.

    By name, the type of their numbers, and (rows, 2) where each begins and how long it is.
    """
    properties = [each for each in element.properties if each.count]
    table = np.zeros((0, len(properties), 2), np.int64)
    if element.rows:
        first, end = _row(content, start, element)
        stride = end - start
        if _are_alike(content, start, stride, element.rows, properties, first):
            # What begins at the same place in each row.
            steps = stride * np.arange(element.rows)[:, None, None] * np.array([1, 0])
            table, start = np.array(first) + steps, start + element.rows * stride
        else:
            rows = []
            for _ in range(element.rows):
                row, start = _row(content, start, element)
                rows.append(row)
            table = np.array(rows)
    names = zip(properties, table.transpose(1, 0, 2), strict=True)
    return {each.name: (each.number, lists) for each, lists in names}, start


def _row(content: bytes, start: int, element: _Element) -> tuple[list[tuple[int, int]], int]:
    """Where each list of a row begins, and how long it is; and where the row ends."""
    lists = []
    for each in element.properties:
        count = 1
        if each.count:
            digits = content[start : start + each.count.itemsize]
            start += each.count.itemsize
            count = int.from_bytes(digits, "big" if each.count.str[0] == ">" else "little")
            lists.append((start, count))
        start += count * each.number.itemsize
    if start > len(content):
        raise ValueError("The file ends early.")
    return lists, start


def _are_alike(
    content: bytes,
    start: int,
    stride: int,
    rows: int,
    properties: list[_Property],
    first: list[tuple[int, int]],
) -> bool:
    """Whether the lists of all rows are as long as those of the first."""
    if start + rows * stride > len(content):
        return False
    for each, (place, count) in zip(properties, first, strict=True):
        assert each.count
        counts = np.ndarray(rows, each.count, content, place - each.count.itemsize, (stride,))
        if (counts != count).any():
            return False
    return True


def _fans(content: bytes, number: np.dtype[Any], polygons: Integers) -> Integers:
    """The triangles (F, 3) of polygons that begin and are as long as a table (P, 2) says."""
    triangles = [np.zeros((0, 3), np.int64)]
    start, corners = polygons.T
    for count in np.unique(corners[corners >= 3]).tolist():
        # All places of the file as if a polygon of so many corners began there.
        size = count * number.itemsize
        places = np.ndarray(len(content) - size + 1, np.dtype((np.void, size)), content, 0, (1,))
        polygon = places[start[corners == count]].view(number).reshape(-1, count).astype(np.int64)
        fan = polygon[:, :1].repeat(count - 2, axis=1), polygon[:, 1:-1], polygon[:, 2:]
        triangles.append(np.stack(fan, axis=2).reshape(-1, 3))
    return np.concatenate(triangles)
