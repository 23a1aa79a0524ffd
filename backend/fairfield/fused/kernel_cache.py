"""Where compiled kernels are kept between sessions, and the check that they are still intact.

numba trusts what it finds in its cache: a damaged file can raise any exception, or crash the
process with damaged machine code. So every file is listed with its checksum once it has been
written, and what does not match is deleted before numba sees it; numba then compiles it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CHECKSUMS = "checksums.json"


def kernel_folder() -> Path | None:
    """Return the folder of this version's compiled kernels, made if need be.

    It lies in `NUMBA_CACHE_DIR` where that is set, else in the user's cache folder. Its name
    depends on the sources of the kernels, since numba watches only the file of the function called,
    not of those it calls. None if there is no place to write to.
    """
    try:
        folder = _base_folder() / "fairfield" / f"kernels-{_source_digest()}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        return None


def discard_damaged(folder: Path) -> None:
    """Delete the files in the folder that are not as they were when `record` listed them."""
    try:
        known = json.loads((folder / _CHECKSUMS).read_text("utf-8"))
    except (OSError, ValueError):
        known = None
    if not isinstance(known, dict):
        known = {}
    for file in _compiled_files(folder):
        with suppress(OSError):
            if known.get(_name(folder, file)) != _checksum(file):
                file.unlink()


def record(folder: Path) -> None:
    """List the files in the folder as intact. A folder that cannot be written to stays unlisted."""
    with suppress(OSError):
        checksums = {_name(folder, file): _checksum(file) for file in _compiled_files(folder)}
        text = json.dumps(checksums, indent=1, sort_keys=True)
        listing = folder / _CHECKSUMS
        if not listing.exists() or listing.read_text("utf-8", "replace") != text:
            partial = folder / f"{_CHECKSUMS}.{os.getpid()}"
            partial.write_text(text, "utf-8")
            partial.replace(listing)


def _base_folder() -> Path:
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    cache = os.environ.get("XDG_CACHE_HOME")
    return Path(cache) if cache else Path.home() / ".cache"


def _source_digest() -> str:
    digest = hashlib.sha256(os.environ.get("FAIRFIELD_KERNELS", "").encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _compiled_files(folder: Path) -> Iterator[Path]:
    for suffix in ("*.nbi", "*.nbc"):
        yield from folder.rglob(suffix)


def _name(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
