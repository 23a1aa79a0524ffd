"""How the kernels are compiled, and the constants that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import config, njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.uint32]
Shorts = NDArray[np.uint16]
Index = int | np.uint64  # in a kernel always unsigned
Function = TypeVar("Function", bound=Callable[..., Any])

BLOCK = 128
"""Points per block; a multiple of every SIMD width."""

CHUNK = 64
"""Blocks that are encoded together, level by level."""

POINTS_PER_CALL = 16
"""Points that `interpolate` handles in one call; one AVX-512 register, or two of AVX2."""

LANES = np.uint64(BLOCK)
ZERO, ONE, TWO, THREE, FOUR = (np.uint64(value) for value in range(5))

_settings: Any = config  # its names are made at run time, unknown to a type checker

# All of "fast" but the promises that no value is NaN or infinite: a point that is not finite gives
# NaN and must never become an index out of bounds.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
_OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": _FAST}


def called(function: Function) -> Function:
    """Decorate a function that only other kernels call; LLVM inlines the small ones."""
    return njit(**_OPTIONS)(function)


def inlined(function: Function) -> Function:
    """Decorate a function of arrays that other kernels call for each level, or more often.

    A call counts references to every array among its arguments, which costs as much as finding the
    corners of a block. Inlining everything would double the time that compiling takes.
    """
    return njit(forceinline=True, **_OPTIONS)(function)


def entry_point(function: Function) -> Function:
    """Decorate a function that Python calls; what it calls is stored with it in numba's cache.

    `fairfield.fused.loading` sets the folder of the cache, if there is one, while it imports the
    kernels.
    """
    return njit(cache=bool(_settings.CACHE_DIR), **_OPTIONS)(function)
