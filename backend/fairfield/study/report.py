"""Runs the evaluation piece after piece, keeps what was found, and makes tables and figures."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from ..errors import FairfieldError
from ..fields import KINDS, check_kind
from ..progress import ProgressCallback, part, silent
from ..threads import thread_count
from ..whole_files import write_whole
from . import plots
from .circle import circle_experiment
from .fingerprint import fingerprint
from .shapes import load_shapes
from .tables import Whole, sections
from .units import Unit, measure_unit, plan

PARTS = ("operators", "scales", "weights", "spectrum", "circle")
RESULTS = "evaluation.json"
TABLES = "evaluation.md"
CIRCLE_COST = 1.0

Show = Callable[[str], None]


def run(
    data: Path,
    output: Path,
    *,
    quick: bool = False,
    parts: Sequence[str] = PARTS,
    kinds: Sequence[str] = KINDS,
    pattern: str | None = None,
    draw: bool = True,
    fresh: bool = False,
    show: Show = print,
    progress: ProgressCallback = silent,
) -> Whole:
    """Run parts of the evaluation; write `evaluation.json`, `.md` and the figures to a folder.

    What was found is written after every piece, and a run with the same settings and the same code
    goes on after the last one, unless it had reached the end.

    Parameters
    ----------
    data, pattern
        Folder of the shapes, and which of its files: by default all, or `*_clean` where it is to
        be quick.
    quick
        Use the preset `draft`, try weights on one shape, and fit the circle for a shorter time.
    parts, kinds
        Some of `PARTS`, and some kinds of field.
    draw
        Whether to make figures, which takes matplotlib.
    fresh
        Begin anew even where a run was cut short.

    Raises
    ------
    FairfieldError
        For an unknown part, a folder without shapes, or figures without matplotlib.
    """
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise FairfieldError(
            f"There is no part {unknown[0]!r} of the evaluation; choose from {', '.join(PARTS)}."
        )
    for kind in kinds:
        check_kind(kind)
    plt = plots.pyplot() if draw else None
    shapes = load_shapes(data, pattern or ("*_clean" if quick else "*"))
    parts = [name for name in PARTS if name in parts]
    units = plan(shapes, kinds, parts, quick)
    if not units and "circle" not in parts:
        raise FairfieldError(
            f"There is nothing to measure: {', '.join(parts) or 'no part'} of the evaluation with "
            f"{', '.join(kinds) or 'no field'} on {', '.join(s.name for s in shapes)}. Choose more "
            "parts, fields or shapes."
        )
    preset = "draft" if quick else "standard"
    output.mkdir(exist_ok=True)
    settings = {
        "preset": preset,
        "parts": parts,
        "kinds": list(kinds),
        "shapes": [shape.name for shape in shapes],
        "code": fingerprint(),
    }
    whole = None if fresh else _unfinished(output / RESULTS, settings)
    if whole is None:
        whole = {"settings": settings, "machine": _machine(), "results": {}, "seconds": {}}
    elif whole["results"]:
        show(f"Going on with {output / RESULTS}: {len(whole['results'])} pieces are there.")

    def keep(done: bool = False) -> None:
        whole["done"] = done
        write_whole(output / RESULTS, (json.dumps(whole, indent=1) + "\n").encode())

    total = sum(unit.cost for unit in units) + CIRCLE_COST * ("circle" in parts)
    spent = 0.0
    for unit in units:
        if unit.name not in whole["results"]:
            share = part(progress, spent / total, (spent + unit.cost) / total)
            found, seconds = measure_unit(unit, preset, share)
            whole["results"][unit.name], whole["seconds"][unit.name] = found, seconds
            keep()
            show(_line(unit, found))
        spent += unit.cost
    if "circle" in parts and "circle" not in whole["results"]:
        circle = circle_experiment(quick, part(progress, spent / total, 1))
        whole["results"]["circle"] = {name: asdict(one) for name, one in circle.items()}
    text = "\n\n".join(f"## {title}\n\n{body}" for _, title, body in sections(whole))
    show("\n" + text)
    write_whole(output / TABLES, (text + "\n").encode())
    if plt is not None:
        plots.draw(plt, whole["results"], output)
    keep(done=True)
    return whole


def _unfinished(path: Path, settings: dict[str, Any]) -> Whole | None:
    """What a run with the same settings left before it was cut short."""
    try:
        whole = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    fits = isinstance(whole, dict) and whole.get("settings") == settings
    return whole if fits and not whole.get("done", True) else None


def _machine() -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": thread_count(),
    }


def _line(unit: Unit, found: dict[str, Any]) -> str:
    line = f"{unit.name}: near-surface error {found['near_surface_error']:.1e}"
    if "operators" in found:
        autodiff, polynomial, tuned = (
            found["operators"][state][operator]["normal_mean"]
            for state, operator in (
                ("fitted", "autodiff"),
                ("fitted", "polynomial"),
                ("fine-tuned", "autodiff"),
            )
        )
        line += (
            f", normals by autodiff {autodiff:.3g}, by the operator {polynomial:.3g}, "
            f"fine-tuned {tuned:.3g} degrees"
        )
    return line
