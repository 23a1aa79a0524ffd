"""What else a user has, beside Fairfield at its default, on shapes with exact truth.

    python benchmarks/rivals [--shapes "torus_*"] [--only APSS jet] [--fresh]

Each rival with its usual parameter and with others around it, from which the tables take the best
for each shape and measure, which nobody knows without the truth. What was measured is kept in
build/rivals.json and not measured again, Fairfield itself as long as its code is the same. So a run
that was cut short goes on where it was. All of it takes about 15 minutes on two quiet cores,
`--shapes "torus_noise0p3"` one.

Blender is the module in .blender/4.5.15 (`make .blender/4.5.15/installed`), MeshLab that of
PyMeshLab (`make .venv/benchmarks-installed`); what is missing is left out.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import blender
from contestants import CONTESTANTS, OURS
from fairfield.study.fingerprint import fingerprint
from fairfield.study.shapes import load_shapes
from fairfield.threads import usable_cores
from measuring import measure
from report import better, tables

RESULTS = Path(__file__).resolve().parents[2] / "build" / "rivals.json"


def available(name: str) -> bool:
    """Whether a contestant's program is there."""
    if name.startswith("Blender"):
        return blender.PYTHON.exists()
    return not name.startswith("MeshLab") or find_spec("pymeshlab") is not None


def tasks(
    shapes: list[str], names: list[str], scores: dict[str, Any], code: str
) -> Iterator[tuple[str, str, float]]:
    """Yield shape, contestant and parameter of what has to be measured."""
    for shape in shapes:
        for name in names:
            for parameter in CONTESTANTS[name].choices:
                known = scores.get(shape, {}).get(name, {}).get(f"{parameter:g}")
                if known is None or (name == OURS and known.get("code") != code):
                    yield shape, name, parameter


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(os.environ.get("FAIRFIELD_SHARED") or "../shared")
    parser.add_argument("--data", type=Path, default=shared / "data" / "analytic")
    parser.add_argument("--shapes", default="*", help="a pattern of names")
    parser.add_argument("--only", nargs="+", help="contestants whose name has one of these words")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    options = parser.parse_args()

    names = [
        name
        for name in CONTESTANTS
        if not options.only or any(word.lower() in name.lower() for word in options.only)
    ]
    for name in names:
        if not available(name):
            print(f"left out, since it is not installed: {name}")
    names = [name for name in names if available(name)]
    shapes = [shape.name for shape in load_shapes(options.data, options.shapes)]
    found: dict[str, Any] = {"scores": {}}
    if RESULTS.exists() and not options.fresh:
        found = json.loads(RESULTS.read_text())
    found |= {"date": date.today().isoformat(), "cores": usable_cores()}
    code = fingerprint(study=False)
    found["usual"] = {name: contestant.usual for name, contestant in CONTESTANTS.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    with ProcessPoolExecutor(usable_cores(), get_context("spawn")) as pool:
        running = {
            pool.submit(measure, options.data, *task): task
            for task in tasks(shapes, names, found["scores"], code)
        }
        for count, done in enumerate(as_completed(running), 1):
            shape, name, parameter = running[done]
            of_shape = found["scores"].setdefault(shape, {}).setdefault(name, {})
            of_shape[f"{parameter:g}"] = {**done.result(), "code": code}
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{count} of {len(running)}: {shape}, {name} {parameter:g}", flush=True)
    scores = {name: of_shape for name, of_shape in found["scores"].items() if name in shapes}
    print("\n" + tables(scores, found["usual"]))
    print("\nWhere somebody's best is better than Fairfield:")
    for each in better(scores, OURS, found["usual"]):
        print("  " + ", ".join(each))


if __name__ == "__main__":
    main()
