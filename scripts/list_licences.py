"""Writes docs/licences.md: the licence of every package of the managed environment.

The packages are those of constraints.txt; what they say of themselves is read from the installed
ones. `make docs/licences.md` runs it after a pin has changed.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "constraints.txt"
DOCUMENT = ROOT / "docs" / "licences.md"

# Free licences whose works may be combined with one under the GPL, version 3, as the Free Software
# Foundation and the Open Source Initiative list them.
COMPATIBLE = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "MIT",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "Zlib",
}
# Packages of before the standard names say it in a classifier.
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
HEADER = """\
# Licences

Fairfield is under the GPL, version 3 or later. It does not contain other packages: the managed
environment is installed on the artist's computer, from these. `scripts/list_licences.py` wrote the
table from what the packages say of themselves, and a test holds it against the licences whose works
may be combined with a work under the GPL.

Of libigl only the core module is used, not the modules `copyleft` and `restricted_triangle` beside
it. Where uv chooses a build of torch for a graphics card, NVIDIA's or AMD's own libraries come with
it, under the licences of these companies; Fairfield neither needs nor distributes them.

| package | version | licence |
|---|---|---|
"""


def licence_of(package: str) -> str:
    """Return the licence of an installed package, as an SPDX expression where it has one.

    Raises
    ------
    ValueError
        If the package does not say.
    """
    described = metadata(package)
    expression = described.get("License-Expression")
    if expression:
        return expression
    named = described.get("License") or ""
    if named in COMPATIBLE - {"BSD"}:
        return named
    for classifier in described.get_all("Classifier") or []:
        kind, _, last = classifier.rpartition(" :: ")
        if kind.startswith("License") and last in CLASSIFIERS:
            return CLASSIFIERS[last]
    raise ValueError(f"{package} does not name a licence that is known here: {named[:80]!r}")


def incompatible(expression: str) -> list[str]:
    """Return the licences of an expression that are not known to be compatible with the GPL.

    Of alternatives all must be: which one is chosen would have to be said somewhere.
    """
    parts = re.split(r"\s+(?:AND|OR)\s+|[()]", expression)
    return [part for part in parts if part and part not in COMPATIBLE]


def pins() -> list[tuple[str, str]]:
    """Return the names and versions of constraints.txt."""
    lines = PINS.read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("==")) for line in lines if line and not line.startswith("#")]  # type: ignore[misc]


def document() -> str:
    """Return the text of the document."""
    rows = [f"| {name} | {version} | {licence_of(name)} |" for name, version in pins()]
    return HEADER + "\n".join(rows) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
    sys.exit(0)
