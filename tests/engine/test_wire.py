"""Frames survive any cutting, and nothing malformed gets past the reader."""

from __future__ import annotations

import contextlib
import json
import struct
import tracemalloc

import numpy as np
import pytest
from fairfield import wire
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def _bytes(frame: wire.Frame) -> bytes:
    return b"".join(bytes(piece) for piece in wire.encode(frame))


def _raw(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text


def _described(name="a", dtype="float32", shape=(2,), payload=8):
    array = {"name": name, "dtype": dtype, "shape": list(shape)}
    return {"jsonrpc": "2.0", "arrays": [array], "payload": payload}


def _read(data: bytes, **options) -> list[wire.Frame]:
    return list(wire.FrameReader(expect_magic=False, **options).feed(data))


FRAMES = [
    wire.request(1, "fit", {"preset": "draft"}, {"vertices": np.arange(12.0).reshape(4, 3)}),
    wire.notification("progress", {"fraction": 0.5}),
    wire.response(1, {}, {"odd": np.arange(3, dtype=np.uint8), "after": np.ones((2, 0, 3))}),
    wire.error(1, wire.CANCELLED, "Cancelled — über."),
]


def _assert_same(read: list[wire.Frame], sent: list[wire.Frame]) -> None:
    assert len(read) == len(sent)
    for got, expected in zip(read, sent, strict=True):
        assert got.header == expected.header
        assert list(got.arrays) == list(expected.arrays)
        for name, array in expected.arrays.items():
            assert got.arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(got.arrays[name], array)
            assert got.arrays[name].flags.aligned


def test_frames_cut_at_every_byte() -> None:
    stream = b"".join(map(_bytes, FRAMES))
    for cut in range(len(stream) + 1):
        reader = wire.FrameReader(expect_magic=False)
        _assert_same([*reader.feed(stream[:cut]), *reader.feed(stream[cut:])], FRAMES)
        assert not reader.mid_frame


def test_frames_one_byte_at_a_time() -> None:
    reader = wire.FrameReader(expect_magic=False)
    stream = b"".join(map(_bytes, FRAMES))
    read = [frame for byte in stream for frame in reader.feed(bytes([byte]))]
    _assert_same(read, FRAMES)


@pytest.mark.parametrize(
    "noise", [b"", b"Last login: today\n\x00\xff", wire.MAGIC[:-1] + b" not quite\n"]
)
def test_noise_before_the_magic_line_is_skipped(noise: bytes) -> None:
    stream = noise + wire.MAGIC + _bytes(FRAMES[0])
    for step in (1, 7, len(stream)):
        reader = wire.FrameReader(expect_magic=True)
        read = []
        for start in range(0, len(stream), step):
            read += reader.feed(stream[start : start + step])
        _assert_same(read, FRAMES[:1])


def test_endless_noise_is_refused() -> None:
    reader = wire.FrameReader(expect_magic=True)
    with pytest.raises(wire.WireError, match="backend command"):
        for _ in range(20):
            list(reader.feed(b"x" * 100_000))


@pytest.mark.parametrize(
    "stream",
    [
        struct.pack("<I", 0),
        struct.pack("<I", wire.MAX_HEADER_BYTES + 1),
        _raw(b"not json"),
        _raw(b"[" * 100_000),
        _raw([1, 2]),
        _raw({"arrays": 1}),
        _raw({"arrays": [1]}),
        _raw(_described(dtype="object")),
        _raw(_described(dtype="float16")),
        _raw(_described(dtype=7)),
        _raw(_described(shape=(-2,))),
        _raw(_described(shape=(2.0,))),
        _raw(_described(shape=(True, 2))),
        _raw(_described(shape=[1] * 9)),
        _raw(_described(name=3)),
        _raw(_described(payload=9)),
        _raw(_described(payload="8")),
        _raw(_described(shape=(2**33, 2**33), payload=0)),
        _raw({"payload": 1}),
        _raw({"arrays": [{"name": "a", "dtype": "uint8", "shape": [0]}] * 2}),
        _raw({"arrays": [{"name": str(i), "dtype": "uint8", "shape": [0]} for i in range(257)]}),
    ],
)
def test_malformed_streams_are_refused(stream: bytes) -> None:
    with pytest.raises(wire.WireError):
        _read(stream)


def test_nothing_is_allocated_before_the_cap_is_checked() -> None:
    gigabyte = _raw(_described(dtype="uint8", shape=(1 << 30,), payload=1 << 30))
    tracemalloc.start()
    with pytest.raises(wire.WireError, match="limit"):
        _read(gigabyte, max_payload_bytes=1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_changed_byte_of_an_array_is_noticed() -> None:
    stream = bytearray(_bytes(FRAMES[0]))
    stream[-5] ^= 1
    with pytest.raises(wire.WireError, match="checksum"):
        _read(bytes(stream))


def test_a_frame_without_a_checksum_is_taken() -> None:
    (frame,) = _read(_raw(_described()) + bytes(8))
    np.testing.assert_array_equal(frame.arrays["a"], np.zeros(2, np.float32))


def test_foreign_dtypes_cannot_be_sent() -> None:
    with pytest.raises(wire.WireError, match="complex128"):
        wire.encode(wire.response(1, {}, {"a": np.zeros(2, complex)}))


@given(
    st.lists(
        st.sampled_from(list(wire.DTYPES)).flatmap(
            lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, max_side=4, min_side=0))
        ),
        max_size=4,
    ),
    st.integers(1, 64),
)
def test_any_arrays_come_back(arrays: list[np.ndarray], step: int) -> None:
    frame = wire.response(3, {"x": 1}, {str(i): array for i, array in enumerate(arrays)})
    stream = _bytes(frame)
    reader = wire.FrameReader(expect_magic=False)
    read = []
    for start in range(0, len(stream), step):
        read += reader.feed(stream[start : start + step])
    _assert_same(read, [frame])


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_refused(data: bytes) -> None:
    reader = wire.FrameReader(expect_magic=False)
    with contextlib.suppress(wire.WireError):
        list(reader.feed(data))
