"""Builds the extension's zip with Blender's own tool, from an allow-list of files.

    python scripts/build_extension.py              stage, build and validate dist/fairfield.zip
    python scripts/build_extension.py --stage      only copy its files to build/
    python scripts/build_extension.py --validate   only validate the zip

Staging from a list (instead of excluding by patterns) keeps environments and outputs out.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build" / "fairfield_extension"
ZIP = ROOT / "dist" / "fairfield.zip"

FILES = (
    "__init__.py",
    "blender_manifest.toml",
    "constraints.txt",
    "constraints-hashed.txt",
    "LICENSE",
)
PACKAGES = ("blender_addon", "backend/fairfield")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stage", action="store_true", help="only copy the files to build/")
    parser.add_argument("--validate", action="store_true", help="only validate the zip")
    options = parser.parse_args()
    if not options.validate:
        stage(STAGE)
    if options.stage:
        return 0
    if not options.validate:
        ZIP.parent.mkdir(exist_ok=True)
        run_blender_tool("build", "--source-dir", STAGE, "--output-filepath", ZIP)
    run_blender_tool("validate", ZIP)
    return 0


def stage(target: Path) -> None:
    """Copy the extension's files, and no others, to a new folder."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(ROOT / name, target / name)
    for package in PACKAGES:
        for source in sorted((ROOT / package).rglob("*.py")):
            copy = target / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


def run_blender_tool(command: str, *arguments: str | Path) -> None:
    """Run Blender's extension tool, which is part of every bpy package."""
    pattern = ".blender/*/lib*/**/scripts/addons_core/bl_pkg/cli/blender_ext.py"
    tools = sorted(ROOT.glob(pattern))
    if not tools:
        raise SystemExit("No bpy under .blender/: `make extension` installs one.")
    subprocess.run([sys.executable, tools[-1], command, *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
