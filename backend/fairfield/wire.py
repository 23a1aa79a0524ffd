"""Frames between Blender and the backend: JSON-RPC 2.0 headers followed by raw arrays.

This is the one place that knows the format. It needs only the standard library and numpy, so the
extension imports it inside Blender and the server imports it in the backend's own Python. Nothing
here reads or writes a pipe: `encode` returns bytes to send, `FrameReader` is fed the bytes that
arrived, and whoever owns the pipe decides how to wait.

A frame is::

    4 bytes   length of the header, unsigned, little-endian
    header    UTF-8 JSON: a JSON-RPC 2.0 message, plus
              "arrays": [{"name": str, "dtype": str, "shape": [int, ...]}, ...]
              "payload": number of bytes that follow the header
              "crc32": checksum of these bytes (zlib.crc32); without it they are taken as they are
    payload   the arrays' bytes, C order, little-endian, contiguous and in the order of "arrays"

The backend's stream starts with the line `MAGIC`; what a login shell prints before it is skipped.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PROTOCOL_VERSION = 1
MAGIC = b"fairfield-frames 1\n"

MAX_HEADER_BYTES = 1 << 20
MAX_NOISE_BYTES = 1 << 20
DEFAULT_MAX_PAYLOAD_BYTES = 4 << 30
MAX_ARRAYS = 256
MAX_DIMENSIONS = 8
MAX_MESSAGE_LENGTH = 2000
# Only types of which every bit pattern is a value: there is no bool among them.
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("uint8", "int32", "uint32", "int64", "float32", "float64")
}

# JSON-RPC 2.0 reserves -32768 to -32000; the codes from -32000 down are ours.
INVALID_REQUEST = -32600
UNKNOWN_METHOD = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
BAD_INPUT = -32000
CANCELLED = -32001
UNKNOWN_FIELD = -32002
OUT_OF_MEMORY = -32003
VERSION_MISMATCH = -32004

_LENGTH = struct.Struct("<I")
_ANY_MAGIC = re.compile(rb"fairfield-frames (\d{1,9})\n")
_LONGEST_MAGIC = len(b"fairfield-frames ") + 9 + len(b"\n")


class WireError(ValueError):
    """The stream is not made of well-formed frames; it cannot be read any further."""


class VersionMismatch(WireError):
    """The other side speaks another version of the frames; the message has the remedy."""


@dataclass(frozen=True)
class Frame:
    """One message: its JSON-RPC header (without the array list) and its arrays by name."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def request(
    identifier: int,
    method: str,
    params: Mapping[str, Any] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Frame:
    """A call that expects an answer carrying the same identifier."""
    header = {
        "jsonrpc": "2.0",
        "id": identifier,
        "method": method,
        "params": dict(params or {}),
    }
    return Frame(header, dict(arrays or {}))


def notification(method: str, params: Mapping[str, Any]) -> Frame:
    """A message that expects no answer."""
    return Frame({"jsonrpc": "2.0", "method": method, "params": dict(params)})


def response(
    identifier: int,
    result: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Frame:
    """The answer to the request with this identifier."""
    header = {"jsonrpc": "2.0", "id": identifier, "result": dict(result)}
    return Frame(header, dict(arrays or {}))


def error(identifier: int | None, code: int, message: str) -> Frame:
    """The refusal of a request; `message` is one sentence that a user can read.

    It may quote what the request said, so it is cut to `MAX_MESSAGE_LENGTH` characters.
    """
    if len(message) > MAX_MESSAGE_LENGTH:
        message = message[: MAX_MESSAGE_LENGTH - 1] + "…"
    return Frame(
        {
            "jsonrpc": "2.0",
            "id": identifier,
            "error": {"code": code, "message": message},
        }
    )


def encode(frame: Frame) -> list[bytes | memoryview]:
    """Return the pieces of a frame, to be sent one after another.

    Arrays are not copied unless they are not C-contiguous or not little-endian.

    Raises
    ------
    WireError
        If a dtype is not in `DTYPES` or the header exceeds `MAX_HEADER_BYTES`.
    """
    described = []
    pieces: list[bytes | memoryview] = []
    for name, array in frame.arrays.items():
        dtype_name = array.dtype.name
        if dtype_name not in DTYPES:
            raise WireError(
                f"array {name!r} has dtype {dtype_name}; a frame carries only {', '.join(DTYPES)}"
            )
        described.append({"name": name, "dtype": dtype_name, "shape": list(array.shape)})
        contiguous = np.ascontiguousarray(array, dtype=DTYPES[dtype_name])
        if contiguous.size:
            pieces.append(contiguous.reshape(-1).view(np.uint8).data)
    payload = sum(len(piece) for piece in pieces)
    # A pipe loses nothing, but a stray print of a library in the middle of an array would be taken
    # for numbers.
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    description = {"arrays": described, "payload": payload, "crc32": checksum}
    header = json.dumps({**frame.header, **description}, allow_nan=False).encode()
    if len(header) > MAX_HEADER_BYTES:
        raise WireError(f"header of {len(header)} bytes; the limit is {MAX_HEADER_BYTES}")
    return [_LENGTH.pack(len(header)) + header, *pieces]


class FrameReader:
    """Turns the bytes of a stream into frames, however they are cut.

    Parameters
    ----------
    expect_magic
        Skip everything up to and including the line `MAGIC` first.
    max_payload_bytes
        Refuse frames whose arrays are larger than this.
    """

    def __init__(
        self, *, expect_magic: bool, max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES
    ) -> None:
        self._max_payload_bytes = max_payload_bytes
        self._waiting_for_magic = expect_magic
        self._noise_bytes = 0
        self._buffer = bytearray()
        self._header: dict[str, Any] | None = None
        self._layout: list[tuple[str, np.dtype, tuple[int, ...], int]] = []
        self._payload = np.empty(0, np.uint8)
        self._received = 0
        self._announced_checksum: int | None = None
        self._checksum = 0

    @property
    def mid_frame(self) -> bool:
        """Whether the stream would end inside a frame if it ended now."""
        return bool(self._buffer) or self._header is not None

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Frame]:
        """Take the next bytes of the stream and yield every frame that they complete.

        Raises
        ------
        WireError
            If the stream is malformed or over a limit. The reader is of no use afterwards.
        """
        view = memoryview(data)
        if self._waiting_for_magic:
            view = self._skip_to_magic(view)
            if self._waiting_for_magic:
                return
        while True:
            if self._header is None:
                view = self._take_header(view)
            if self._header is None:
                return
            taken = min(len(view), len(self._payload) - self._received)
            self._payload[self._received : self._received + taken] = view[:taken]
            self._received += taken
            self._checksum = zlib.crc32(view[:taken], self._checksum)
            view = view[taken:]
            if self._received < len(self._payload):
                return
            yield self._finish()

    def _skip_to_magic(self, view: memoryview) -> memoryview:
        """Wait for the magic line; return the bytes that follow it."""
        self._buffer += view
        found = _ANY_MAGIC.search(self._buffer)
        if found is None:
            surplus = max(0, len(self._buffer) - _LONGEST_MAGIC + 1)
            self._noise_bytes += surplus
            del self._buffer[:surplus]
            if self._noise_bytes > MAX_NOISE_BYTES:
                raise WireError(
                    f"more than {MAX_NOISE_BYTES} bytes without a sign of a Fairfield backend; "
                    "is the backend command right?"
                )
            return memoryview(b"")
        if int(found[1]) != PROTOCOL_VERSION:
            raise VersionMismatch(
                f"The backend speaks protocol {int(found[1])} and this extension speaks "
                f"{PROTOCOL_VERSION}; install the same version of Fairfield on both sides."
            )
        self._waiting_for_magic = False
        rest = bytes(self._buffer[found.end() :])
        self._buffer.clear()
        return memoryview(rest)

    def _take_header(self, view: memoryview) -> memoryview:
        """Begin a frame if its header is complete; return the bytes that follow what was taken."""
        view = self._fill_buffer(view, _LENGTH.size)
        if len(self._buffer) < _LENGTH.size:
            return view
        (header_bytes,) = _LENGTH.unpack_from(self._buffer)
        if not 0 < header_bytes <= MAX_HEADER_BYTES:
            raise WireError(
                f"header of {header_bytes} bytes announced; the limit is {MAX_HEADER_BYTES}"
            )
        end = _LENGTH.size + header_bytes
        view = self._fill_buffer(view, end)
        if len(self._buffer) == end:
            self._start(bytes(self._buffer[_LENGTH.size :]))
            self._buffer.clear()
        return view

    def _fill_buffer(self, view: memoryview, size: int) -> memoryview:
        """Move bytes to the buffer until it holds `size`; return the others."""
        missing = max(0, size - len(self._buffer))
        self._buffer += view[:missing]
        return view[missing:]

    def _start(self, header_bytes: bytes) -> None:
        try:
            header = json.loads(header_bytes, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as problem:
            raise WireError(f"header is not JSON: {problem}") from None
        if not isinstance(header, dict):
            raise WireError(f"header is a JSON {type(header).__name__}, not an object")
        layout = _read_layout(header.pop("arrays", []))
        announced = header.pop("payload", 0)
        checksum = header.pop("crc32", None)
        if checksum is not None and type(checksum) is not int:
            raise WireError(f"checksum {str(checksum)[:100]!r} is not a whole number")
        total = sum(nbytes for _, _, _, nbytes in layout)
        if type(announced) is not int or announced != total:
            raise WireError(f"payload of {announced!r} bytes announced; its arrays need {total}")
        if total > self._max_payload_bytes:
            raise WireError(
                f"payload of {total} bytes announced; the limit is {self._max_payload_bytes}"
            )
        try:
            # Not filled: the system provides the memory page by page, as the bytes arrive.
            self._payload = np.empty(total, np.uint8)
        except MemoryError:
            raise WireError(
                f"payload of {total} bytes announced, for which this computer has no memory"
            ) from None
        self._layout = layout
        self._received = 0
        self._announced_checksum, self._checksum = checksum, 0
        self._header = header

    def _finish(self) -> Frame:
        header, self._header = self._header, None
        payload, self._payload = self._payload, np.empty(0, np.uint8)
        assert header is not None
        if self._announced_checksum not in (None, self._checksum):
            raise WireError("the bytes of a frame's arrays do not match their checksum")
        arrays = {}
        offset = 0
        for name, dtype, shape, nbytes in self._layout:
            flat = np.frombuffer(payload, dtype, count=nbytes // dtype.itemsize, offset=offset)
            # Arrays lie back to back; one that its neighbours pushed off alignment is copied.
            arrays[name] = np.require(flat, requirements="A").reshape(shape)
            offset += nbytes
        return Frame(header, arrays)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _read_layout(described: Any) -> list[tuple[str, np.dtype, tuple[int, ...], int]]:
    """Check the array list of a header; return (name, dtype, shape, bytes) for each array."""
    if not isinstance(described, list) or len(described) > MAX_ARRAYS:
        raise WireError(f"'arrays' must be a list of at most {MAX_ARRAYS} entries")
    layout: list[tuple[str, np.dtype, tuple[int, ...], int]] = []
    names = set()
    for entry in described:
        if not isinstance(entry, dict):
            raise WireError("an entry of 'arrays' is not an object")
        name, dtype_name, shape = (
            entry.get("name"),
            entry.get("dtype"),
            entry.get("shape"),
        )
        if not isinstance(name, str) or name in names:
            raise WireError(f"array name {name!r} is not a string or is used twice")
        if not isinstance(dtype_name, str) or dtype_name not in DTYPES:
            raise WireError(f"array {name!r} has dtype {dtype_name!r}; known: {', '.join(DTYPES)}")
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
            raise WireError(f"array {name!r} has no list of at most {MAX_DIMENSIONS} dimensions")
        dtype = DTYPES[dtype_name]
        nbytes = dtype.itemsize
        for length in shape:
            # Python's integers do not overflow; the bound keeps the product small all the same.
            if type(length) is not int or not 0 <= length < 1 << 40:
                raise WireError(f"array {name!r} has dimension {length!r}")
            nbytes *= length
        names.add(name)
        layout.append((name, dtype, tuple(shape), nbytes))
    return layout
