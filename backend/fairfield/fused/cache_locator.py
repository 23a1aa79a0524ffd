"""Where numba looks for compiled kernels: in one folder, wherever their sources lie.

numba's own rule takes the path of the sources into account, so that every place that the extension
is installed to would compile them anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numba.core.caching import UserProvidedCacheLocator


class KernelCacheLocator(UserProvidedCacheLocator):
    """Named to numba by `fairfield.fused.loading`, which also sets the folder."""

    def __init__(self, function: Any, source_path: str) -> None:
        super().__init__(function, source_path)
        # What numba adds to the folder is a hash of the sources' path.
        self._cache_path = str(Path(self._cache_path).parent)
