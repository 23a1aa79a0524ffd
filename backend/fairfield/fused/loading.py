"""Importing the kernels with numba's cache in the user's cache folder.

Nothing outside `fairfield.fused.kernels` imports numba when it is itself imported, so that the
engine works, with plain torch, where numba is missing.
"""

from __future__ import annotations

import functools
from importlib import import_module
from types import ModuleType
from typing import Any

from . import kernel_cache


class KernelsUnavailableError(RuntimeError):
    """The kernels cannot be used on this machine; the message is one sentence with the reason."""


@functools.cache
def load_kernels() -> ModuleType:
    """Import `fairfield.fused.kernels`; each kernel compiles, or is loaded, at its first use.

    Raises
    ------
    KernelsUnavailableError
        If numba is missing or the kernels cannot be imported.
    """
    try:
        settings: Any = import_module("numba").config
    except Exception as problem:  # also a numba that does not get along with this numpy
        raise KernelsUnavailableError(f"The package numba does not load: {problem}") from problem
    folder = kernel_cache.kernel_folder()
    if folder is not None:
        kernel_cache.discard_damaged(folder)
    # numba reads the settings when a function is decorated; other users of numba keep their own.
    before = settings.CACHE_DIR, settings.CACHE_LOCATOR_CLASSES
    settings.CACHE_DIR = "" if folder is None else str(folder)
    settings.CACHE_LOCATOR_CLASSES = f"{__package__}.cache_locator.KernelCacheLocator"
    try:
        return import_module(".kernels", __package__)
    except Exception as problem:
        raise KernelsUnavailableError(f"The fused kernels do not load: {problem}") from problem
    finally:
        settings.CACHE_DIR, settings.CACHE_LOCATOR_CLASSES = before


def keep_compiled() -> None:
    """Record the kernels compiled so far as intact, so that later sessions load them."""
    folder = kernel_cache.kernel_folder()
    if folder is not None:
        kernel_cache.record(folder)


def stop_caching() -> None:
    """Compile from now on without reading or writing the cache."""
    for kernel in load_kernels().ENTRY_POINTS:
        kernel._cache.disable()  # numba has no public way to do this after the decoration
