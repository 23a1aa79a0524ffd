"""Tables, in Markdown, of what the contestants scored: by noise, averaged over the shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairfield.study.tables import CASES

MEASURES = {
    "normal": "Normals: mean error in degrees",
    "curvature": "Mean curvature: rectified RMS",
    "distance": "Corrected surface: Chamfer distance, percent of the diagonal",
    "seconds": "Seconds of one core",
}


def tables(scores: dict[str, Any], usual: dict[str, float]) -> str:
    """Return one table per measure.

    Parameters
    ----------
    scores
        By shape, contestant and parameter: the measures.
    usual
        By contestant: the usual parameter. The order is that of the rows.
    """
    levels = [level for level in CASES if any(_level(shape) == level for shape in scores)]
    parts = []
    for measure, title in MEASURES.items():
        lines = [
            f"**{title}**",
            "",
            "| | " + " | ".join(CASES[level] for level in levels) + " |",
            "|---" * (len(levels) + 1) + "|",
        ]
        for name in usual:
            cells = [_cell(scores, level, name, measure, usual[name]) for level in levels]
            if any(cells):
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(scores: dict[str, Any], level: str, name: str, measure: str, usual: float) -> str:
    """What the usual parameter gives, and where it differs the best of each shape in brackets.

    Empty where one of the level's shapes has not been measured: a mean over fewer says something
    else.
    """
    at_usual, at_best = [], []
    for shape in scores:
        if _level(shape) == level:
            values = {
                parameter: score[measure]
                for parameter, score in scores[shape].get(name, {}).items()
                if score[measure] is not None
            }
            if f"{usual:g}" not in values:
                return ""
            at_usual.append(values[f"{usual:g}"])
            at_best.append(min(values.values()))
    mean, best = (sum(each) / len(each) for each in (at_usual, at_best))
    text = _number(mean)
    return text if measure == "seconds" or best == mean else f"{text} [{_number(best)}]"


def better(scores: dict[str, Any], ours: str, usual: dict[str, float]) -> Iterator[tuple[str, ...]]:
    """Yield measure, shape, contestant and parameter wherever somebody's best beats ours."""
    for measure in ("normal", "curvature", "distance"):
        for shape, of_shape in scores.items():
            own = [score[measure] for score in of_shape.get(ours, {}).values()]
            for name in usual:
                for parameter, score in of_shape.get(name, {}).items():
                    if own and score[measure] is not None and score[measure] < own[0]:
                        yield measure, shape, name, parameter


def _level(shape: str) -> str:
    return shape.rpartition("_")[2]


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:.0e}".replace("e+0", "e")
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2g}" if value < 1 else f"{value:.3g}"
