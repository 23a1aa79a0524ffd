"""What must hold of a frame reader whatever bytes it is given, and streams that are nearly right.

Used by the tests, by the coverage-guided harness and by `benchmarks/reliability.py`.
"""

from __future__ import annotations

import json
import random
import struct
from dataclasses import dataclass

import numpy as np
from fairfield import wire

CAP = 1 << 20
"""Payload limit of the readers here: what they hold beyond it is a fault."""


@dataclass(frozen=True)
class Reading:
    """What became of a stream: its frames, and whether it was refused."""

    frames: list[wire.Frame]
    refused: bool


def read(stream: bytes, step: int, *, expect_magic: bool) -> Reading:
    """Feed a stream in pieces of `step` bytes.

    Raises
    ------
    AssertionError
        If the reader holds more than its cap.
    Exception
        Whatever the reader raises beside a WireError: a fault.
    """
    reader = wire.FrameReader(expect_magic=expect_magic, max_payload_bytes=CAP)
    frames: list[wire.Frame] = []
    try:
        for start in range(0, max(1, len(stream)), step):
            frames += reader.feed(stream[start : start + step])
            assert reader._payload.nbytes <= CAP
            assert len(reader._buffer) <= wire.MAX_HEADER_BYTES + 4
    except wire.WireError:
        return Reading(frames, refused=True)
    return Reading(frames, refused=False)


def check(stream: bytes, *, expect_magic: bool, step: int = 7) -> int:
    """Check everything that must hold of any stream; return the number of its frames.

    However a stream is cut, the same frames come out, and it is refused at the same place; what
    came out can be sent again and comes out the same.
    """
    whole = read(stream, max(1, len(stream)), expect_magic=expect_magic)
    pieces = read(stream, step, expect_magic=expect_magic)
    assert whole.refused == pieces.refused
    assert len(whole.frames) == len(pieces.frames)
    for one, other in zip(whole.frames, pieces.frames, strict=True):
        _assert_same(one, other)
        _assert_survives(one)
    return len(whole.frames)


def _assert_survives(frame: wire.Frame) -> None:
    try:
        sent = b"".join(bytes(piece) for piece in wire.encode(frame))
    except (ValueError, RecursionError):
        return  # a number such as 1e999, or a header at the very limit
    (again,) = wire.FrameReader(expect_magic=False).feed(sent)
    _assert_same(again, frame)


def _assert_same(one: wire.Frame, other: wire.Frame) -> None:
    assert one.header == other.header
    assert list(one.arrays) == list(other.arrays)
    for name, array in one.arrays.items():
        assert array.dtype == other.arrays[name].dtype
        assert array.shape == other.arrays[name].shape
        assert array.tobytes() == other.arrays[name].tobytes()


def valid_frames(generator: random.Random, count: int) -> list[bytes]:
    """Return encoded frames of the kinds that go over the pipe, with arrays of a few bytes."""
    return [_encoded(generator, number) for number in range(count)]


def _encoded(generator: random.Random, number: int) -> bytes:
    arrays = {}
    for name in generator.sample(["vertices", "triangles", "points", "é"], generator.randrange(3)):
        dtype = generator.choice(list(wire.DTYPES))
        shape = [generator.randrange(5) for _ in range(generator.randrange(3))]
        arrays[name] = np.zeros(shape, dtype)
    methods = ["hello", "ping", "fit", "smooth", "extract", "load", "save", "release", "cancel"]
    kinds = (
        wire.request(number, generator.choice(methods), {"field": "a", "scale": 0.1}, arrays),
        wire.response(number, {"report": {"seconds": {"fit": 1.5}}}, arrays),
        wire.error(number, wire.CANCELLED, "Cancelled."),
        wire.notification("progress", {"id": number, "fraction": 0.5, "stage": "Fitting"}),
    )
    return b"".join(bytes(piece) for piece in wire.encode(generator.choice(kinds)))


def spoil(generator: random.Random, frames: list[bytes]) -> bytes:
    """Return a stream of the frames with one fault of a kind that a pipe or an attacker causes."""
    kind = generator.randrange(9)
    if kind == 0:
        return b"".join(frames)[: generator.randrange(sum(map(len, frames)) + 1)]
    if kind == 1:
        generator.shuffle(frames)
    elif kind == 2:
        frames.insert(generator.randrange(len(frames) + 1), generator.choice(frames))
    elif kind == 3:
        frames[generator.randrange(len(frames))] = generator.randbytes(generator.randrange(40))
    stream = bytearray(b"".join(frames))
    if kind == 4:
        for _ in range(generator.randrange(1, 4)):
            stream[generator.randrange(len(stream))] ^= 1 << generator.randrange(8)
    elif kind == 5:
        start = generator.randrange(len(stream))
        del stream[start : start + generator.randrange(1, 20)]
    elif kind == 6:
        start = generator.randrange(len(stream))
        stream[start:start] = generator.randbytes(generator.randrange(1, 20))
    elif kind == 7:
        struct.pack_into("<I", stream, 0, generator.choice([0, 1, 2**20, 2**20 + 1, 2**32 - 1]))
    elif kind == 8:
        stream = bytearray(_with_hostile_header(generator)) + stream
    return bytes(stream)


_HOSTILE = [
    None,
    True,
    -1,
    0,
    1,
    2**40,
    2**63,
    1.5,
    "",
    "a" * 300,
    [],
    {},
    [[]],
    [2**40] * 8,
    "float32",
]


def _with_hostile_header(generator: random.Random) -> bytes:
    """A frame whose description of its arrays lies in one or several ways."""
    array = {"name": "a", "dtype": "float32", "shape": [2]}
    header = {"jsonrpc": "2.0", "id": 1, "method": "fit", "arrays": [array], "payload": 8}
    for _ in range(generator.randrange(1, 3)):
        target = generator.choice([array, header])
        target[generator.choice(list(target))] = generator.choice(_HOSTILE)
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + bytes(generator.randrange(12))
