"""Writes constraints-hashed.txt: the pins of constraints.txt with the hashes of their files.

`make constraints-hashed.txt` runs it after a pin has changed. uv asks the package index that it is
configured for; nothing is downloaded.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "constraints.txt"
HASHED = ROOT / "constraints-hashed.txt"
# Its builds for a processor and for each generation of graphics cards come from indexes of their
# own, under one version: no list of hashes would be complete.
UNHASHED = "torch"
HEADER = """\
# The pins of constraints.txt with the hashes of their files, for the managed environment.
# Made by scripts/hash_constraints.py. A file with another hash is not installed. torch has none:
# its builds for the CPU and for each kind of graphics card come from indexes of their own.
"""


def main() -> int:
    """Write the file; return the exit code."""
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "compile", "--quiet", "--no-deps", "--generate-hashes", "--universal"]
    command += ["--no-header", "--no-annotate", "--no-config", PINS]
    compiled = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # An entry goes on after a backslash; its first word is the pin, the others are hashes.
    entries = [entry.split() for entry in compiled.replace("\\\n", " ").splitlines()]
    lines = [
        " \\\n    ".join([pin] if pin.startswith(UNHASHED + "==") else [pin, *hashes])
        for pin, *hashes in entries
    ]
    HASHED.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{HASHED.name}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
