"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write to a new name beside `path` and rename, so that no half file is ever seen.

    Raises
    ------
    OSError
        If the file cannot be written; what was there before is kept.
    """
    temporary = path.with_name(f".fairfield-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
