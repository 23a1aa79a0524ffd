"""Puts the figures of `fairfield evaluate` and of benchmarks/rivals into docs/evaluation.md.

    python scripts/write_evaluation.py [--evaluation FOLDER] [--rivals FILE]

Each table replaces what stands between its name, as a comment, and the comment "end"; the text
around stays. A figure that the document shows is copied beside it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "evaluation.md"
FIGURE = re.compile(r"\]\(evaluation-([a-z0-9-]+\.png)\)")
sys.path.insert(0, str(ROOT / "benchmarks" / "rivals"))

from fairfield.study.tables import sections  # noqa: E402
from report import tables  # noqa: E402


def evaluation(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and text of what `fairfield evaluate` left."""
    whole = json.loads((folder / "evaluation.json").read_text())
    machine, settings = whole["machine"], whole["settings"]
    unfinished = "" if whole["done"] else " The run was not finished."
    yield (
        "measured",
        f"Measured on {machine['date']}, {machine['threads']} cores of a shared server "
        f"({machine['system']}), preset `{settings['preset']}`, {len(settings['shapes'])} "
        f"shapes.{unfinished}",
    )
    for name, _, text in sections(whole):
        yield name, text


def rivals(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and text of what benchmarks/rivals left."""
    found = json.loads(path.read_text())
    yield (
        "rivals",
        f"Measured on {found['date']}, each on one of {found['cores']} cores of a shared server."
        "\n\n" + tables(found["scores"], found["usual"]),
    )


def pasted(document: str, name: str, text: str) -> str:
    """Return the document with the text at its place, if it has one."""
    begin, end = f"<!-- {name} -->\n", "<!-- end -->\n"
    before, found, rest = document.partition(begin)
    if not found:
        return document
    _, closed, after = rest.partition(end)
    if not closed:
        raise SystemExit(f"{DOCUMENT} has no {end.strip()} after {begin.strip()}.")
    return f"{before}{begin}\n{text}\n\n{end}{after}"


def main() -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--evaluation", type=Path, default=ROOT / "evaluation", metavar="FOLDER")
    parser.add_argument("--rivals", type=Path, default=ROOT / "build/rivals.json", metavar="FILE")
    options = parser.parse_args()
    document = DOCUMENT.read_text(encoding="utf-8")
    for path, read in (
        (options.evaluation / "evaluation.json", lambda: evaluation(options.evaluation)),
        (options.rivals, lambda: rivals(options.rivals)),
    ):
        if not path.exists():
            print(f"There is no {path}: its tables stay as they are.")
            continue
        for name, text in read():
            document = pasted(document, name, text)
    DOCUMENT.write_text(document, encoding="utf-8")
    for name in FIGURE.findall(document):
        if (options.evaluation / name).exists():
            shutil.copy(options.evaluation / name, DOCUMENT.with_name(f"evaluation-{name}"))


if __name__ == "__main__":
    main()
