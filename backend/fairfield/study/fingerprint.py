"""Whether the code is still the one that figures were measured with."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def fingerprint(*, study: bool = True) -> str:
    """Return a digest of the package's source, with or without that of the study."""
    digest = blake2b(digest_size=8)
    for path in sorted(PACKAGE.rglob("*.py")):
        if study or path.parent.name != "study":
            digest.update(path.read_bytes())
    return digest.hexdigest()
