"""Reads and writes on a child's pipes that never wait.

Blender's interface thread polls these, so each call returns at once with what is there. POSIX has
non-blocking file descriptors. Windows pipes are asked how much they hold before a read, and are
switched to PIPE_NOWAIT for writes: `os.set_blocking` knows no pipes there before Python 3.12.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys

# Linux lets a pipe hold more than its 64 kB, so that one tick of a timer can move a megabyte.
ROOMY_BYTES = 1 << 20

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _PIPE_NOWAIT = 0x00000001
    # A Windows pipe takes a write whole or not at all; what is too large is tried in pieces.
    _WRITE_SIZES = (4096, 512)

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.PeekNamedPipe.argtypes = [
        wintypes.HANDLE,
        wintypes.LPVOID,
        wintypes.DWORD,
        wintypes.LPDWORD,
        wintypes.LPDWORD,
        wintypes.LPDWORD,
    ]
    _kernel32.PeekNamedPipe.restype = wintypes.BOOL
    _kernel32.SetNamedPipeHandleState.argtypes = [
        wintypes.HANDLE,
        wintypes.LPDWORD,
        wintypes.LPDWORD,
        wintypes.LPDWORD,
    ]
    _kernel32.SetNamedPipeHandleState.restype = wintypes.BOOL

    def make_nonblocking(descriptor: int) -> None:
        """Make reads and writes on this pipe return at once.

        Raises
        ------
        OSError
            If the descriptor is not a pipe.
        """
        mode = wintypes.DWORD(_PIPE_NOWAIT)
        handle = msvcrt.get_osfhandle(descriptor)
        if not _kernel32.SetNamedPipeHandleState(handle, ctypes.byref(mode), None, None):
            raise ctypes.WinError(ctypes.get_last_error())

    def read_available(descriptor: int, max_bytes: int) -> bytes | None:
        """Return up to `max_bytes` that have arrived, None if there are none, b"" at the end."""
        held = wintypes.DWORD(0)
        handle = msvcrt.get_osfhandle(descriptor)
        if not _kernel32.PeekNamedPipe(handle, None, 0, None, ctypes.byref(held), None):
            return b""  # the writer is gone and the pipe is drained
        if held.value == 0:
            return None
        return os.read(descriptor, min(held.value, max_bytes))

    def write_available(descriptor: int, data: memoryview) -> int:
        """Write as much of `data` as the pipe takes now; return the number of bytes.

        Raises
        ------
        BrokenPipeError
            If the reader is gone.
        """
        for size in _WRITE_SIZES:
            try:
                written = os.write(descriptor, data[:size])
            except OSError as problem:
                if problem.errno in (errno.ENOSPC, errno.EAGAIN):
                    continue
                raise BrokenPipeError(problem.errno, problem.strerror) from None
            if written:
                return written
        return 0

else:
    import fcntl

    def make_nonblocking(descriptor: int) -> None:
        """Make reads and writes on this pipe return at once, and give it room where allowed."""
        os.set_blocking(descriptor, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # the system's limit may be lower
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, ROOMY_BYTES)

    def read_available(descriptor: int, max_bytes: int) -> bytes | None:
        """Return up to `max_bytes` that have arrived, None if there are none, b"" at the end."""
        try:
            return os.read(descriptor, max_bytes)
        except BlockingIOError:
            return None
        except OSError as problem:
            if problem.errno == errno.EIO:  # a closed terminal, where the command gives one
                return b""
            raise

    def write_available(descriptor: int, data: memoryview) -> int:
        """Write as much of `data` as the pipe takes now; return the number of bytes.

        Raises
        ------
        BrokenPipeError
            If the reader is gone.
        """
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            return 0
