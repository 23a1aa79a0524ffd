"""The evaluation's tables: Markdown, aligned so that it reads as plain text too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..operators import OPERATORS
from .spectrum import BANDS
from .units import SCALES, SWEPT_KIND, SWEPT_OPERATORS, kept

CASES = {
    "clean": "clean",
    "coarse": "coarse",
    "noise0p1": "0.1 % noise",
    "noise0p3": "0.3 % noise",
    "noise1p0": "1 % noise",
}
"""What the last part of a public shape's name means; others stand for themselves."""
ACCURACY = {
    "normal_l2": "L2",
    "normal_mean": "mean, deg",
    "normal_median": "median",
    "within_1": "<= 1 deg",
    "within_2": "<= 2 deg",
    "curvature_rms": "H, RMS",
    "curvature_median": "H, median",
    "unanswered": "unanswered",
    "evaluations": "evaluations",
}
STATES = ("fitted", "fine-tuned")

Whole = dict[str, Any]
Section = tuple[str, str, str]
"""A name without spaces, a title, and the text."""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under a head, numbers to the right with three digits, text to the left."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max(3, *(len(row[i]) for row in [list(head), *cells])) for i in range(len(head))]
    numeric = [bool(rows) and not isinstance(rows[0][i], str) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        aligned = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        return "| " + " | ".join(aligned) + " |"

    rule = ["-" * (width - 1) + ("-:"[right]) for width, right in zip(widths, numeric, strict=True)]
    return "\n".join([line(list(head)), line(rule), *(line(row) for row in cells)])


def _text(value: object) -> str:
    if isinstance(value, float):
        if value == 0:
            return "0"
        return f"{value:.3g}" if 1e-4 <= abs(value) < 1000 else f"{value:.1e}"
    return str(value)


def sections(whole: Whole) -> Iterator[Section]:
    """Yield a section for each part that has been measured."""
    parts: tuple[Callable[[Whole], Iterable[Section]], ...] = (
        _summary,
        _finetuning,
        _operators,
        _scales,
        _weights,
        _spectrum,
        _circle,
    )
    for each in parts:
        yield from each(whole)


def _units(whole: Whole, part: str, kind: str | None = None) -> dict[str, Whole]:
    """Results by unit, of those that have a part."""
    return {
        name: found
        for name, found in whole["results"].items()
        if part in found and (kind is None or name.split()[0] == kind)
    }


def _kinds(units: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.split()[0] for name in units))


def _cases(units: Iterable[str]) -> list[str]:
    """In the order of CASES, and then of others."""
    there = list(dict.fromkeys(name.rpartition("_")[2] for name in units))
    return sorted(there, key=lambda case: list(CASES).index(case) if case in CASES else len(CASES))


def _of_case(units: dict[str, Whole], case: str) -> dict[str, Whole]:
    return {name: found for name, found in units.items() if name.rpartition("_")[2] == case}


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _summary(whole: Whole) -> Iterator[Section]:
    """Normals and curvature by case and operator, on the first kind of field."""
    units = _units(whole, "operators")
    if not units:
        return
    kind = _kinds(units)[0]
    cases = _cases(_units(whole, "operators", kind))
    rows: list[list[object]] = []
    for operator in OPERATORS:
        row: list[object] = [f"{operator}, automatic scale" if "poly" in operator else operator]
        for case in cases:
            each = [
                found["operators"]["fitted"][operator]
                for found in _of_case(_units(whole, "operators", kind), case).values()
            ]
            row.append(_two(_mean(one["normal_mean"] for one in each), each))
        rows.append(row)
    swept = _units(whole, "scales", kind)
    if swept:
        for operator in SWEPT_OPERATORS:
            row = [f"{operator}, best single scale"]
            for case in cases:
                best = [
                    np.nanmin(np.array(found["scales"]["fixed"][operator])[:, 1:], axis=0)
                    for found in _of_case(swept, case).values()
                ]
                normal, curvature = np.mean(best, axis=0)
                row.append(f"{_text(float(normal))} / {_text(float(curvature))}")
            rows.append(row)
    text = (
        f"Fitted {kind}, mean over the shapes: mean error of normals in degrees / rectified RMS of "
        "mean curvature. Best scales are chosen with the truth, for each shape, and for normals "
        "and curvature each.\n\n"
        + table(["operator", *(CASES.get(case, case) for case in cases)], rows)
    )
    yield "summary", "Operators and noise", text


def _two(normal: float, each: Sequence[dict[str, float]]) -> str:
    return f"{_text(normal)} / {_text(_mean(one['curvature_rms'] for one in each))}"


def _finetuning(whole: Whole) -> Iterator[Section]:
    """What fine-tuning gains and keeps, by kind, over the clean shapes."""
    units = _of_case(_units(whole, "operators"), "clean")
    rows: list[list[object]] = []
    for kind in _kinds(units):
        of_kind = {name: found for name, found in units.items() if name.split()[0] == kind}
        measured = [found["operators"] for found in of_kind.values()]
        teacher, before, after = (
            [one[state][operator] for one in measured]
            for state, operator in (
                ("fitted", "polynomial"),
                ("fitted", "autodiff"),
                ("fine-tuned", "autodiff"),
            )
        )
        ratios = [kept(found["finetuning"]) for found in of_kind.values()]
        exact = [
            found["exact_distance"] / found["finetuning"]["before"]["distance_mean"]
            for found in of_kind.values()
        ]
        times = [
            sum(whole["seconds"][name][what] for name in of_kind) for what in ("fit", "finetune")
        ]
        normals = [_mean(one["normal_mean"] for one in each) for each in (teacher, before, after)]
        bends = [
            _mean(one["curvature_median"] for one in each) for each in (teacher, before, after)
        ]
        rows.append(
            [
                kind,
                *(
                    f"{_text(normal)} / {100 * bend:.2g} %"
                    for normal, bend in zip(normals, bends, strict=True)
                ),
                normals[2] / normals[0],
                normals[1] / normals[2],
                *(f"{np.mean(each):.3f}, at most {max(each):.3f}" for each in (ratios, exact)),
                f"{times[1] / times[0]:.2f}",
            ]
        )
    if rows:
        head = [
            "field",
            "polynomial, fitted",
            "autodiff, fitted",
            "autodiff, fine-tuned",
            "over the teacher's",
            "gain",
            "distance, after / before",
            "exact surface's / before",
            "time / fit's",
        ]
        text = (
            "Clean shapes, mean over them: mean error of normals in degrees / median rectified "
            "error of mean curvature; fine-tuned autodiff's error over that of the operator that "
            "teaches, and how many times it became smaller; distance to the mesh, and that of the "
            "exact surface where it is nearest, over that before; time.\n\n" + table(head, rows)
        )
        yield "finetuning", "Before and after fine-tuning", text


def _operators(whole: Whole) -> Iterator[Section]:
    """Everything, by kind and case."""
    units = _units(whole, "operators")
    for kind in _kinds(units):
        of_kind = _units(whole, "operators", kind)
        for case in _cases(of_kind):
            of_case = _of_case(of_kind, case)
            rows: list[list[object]] = []
            for state in STATES:
                for operator in OPERATORS:
                    each = [found["operators"][state][operator] for found in of_case.values()]
                    micro = np.median(
                        [1e6 * whole["seconds"][name][f"{state} {operator}"] for name in of_case]
                    )
                    means = [float(np.nanmean([one[key] for one in each])) for key in ACCURACY]
                    rows.append([state, operator, *means, float(micro)])
            head = ["state", "operator", *ACCURACY.values(), "us / query"]
            title = f"{kind}, {CASES.get(case, case)}: mean over {len(of_case)} shapes"
            yield f"operators-{kind}-{case}", title, table(head, rows)


def _scales(whole: Whole) -> Iterator[Section]:
    """By shape: normals over the fixed scale, and over multiples of the automatic one."""
    units = _units(whole, "scales")
    for name, found in units.items():
        fixed = found["scales"]["fixed"]
        rows = [
            [scale, *(fixed[operator][index][i] for operator in SWEPT_OPERATORS for i in (1, 2))]
            for index, scale in enumerate(SCALES)
        ]
        head = ["scale"]
        for operator in SWEPT_OPERATORS:
            head += [f"{operator}, deg", "H, RMS"]
        title = f"{name.split()[1]}: errors over the scale (half-extents), {SWEPT_KIND}"
        yield f"scales-{name.split()[1]}", title, table(head, rows)
    if units:
        factors = [row[0] for row in next(iter(units.values()))["scales"]["factors"]]
        rows = []
        for name, found in units.items():
            measured = np.array(found["scales"]["factors"])[:, 1:]
            own = measured[factors.index(1.0)]
            normals, bends = (measured / np.maximum(own, 1e-9)).T
            rows.append(
                [
                    name.split()[1],
                    *(f"{n:.2f} / {b:.2f}" for n, b in zip(normals, bends, strict=True)),
                ]
            )
        text = (
            "Errors of normals / curvature at multiples of the automatic scale, over those at the "
            "automatic scale itself (below 1: a better scale was there).\n\n"
            + table(["shape", *(f"x {factor:g}" for factor in factors)], rows)
        )
        yield "factors", "Around the automatic scale", text


def _weights(whole: Whole) -> Iterator[Section]:
    for name, found in _units(whole, "weights").items():
        head = ["field", "mean, deg", "H, median", "distance / before"]
        title = f"{name.split()[1]}: fine-tuning with other weights, {name.split()[0]}"
        yield f"weights-{name.split()[1]}", title, table(head, found["weights"])


def _spectrum(whole: Whole) -> Iterator[Section]:
    units = _units(whole, "spectrum")
    if not units:
        return
    bands = [
        f"{low:g} to {high:g}" if np.isfinite(high) else f"longer than {low:g}"
        for high, low in pairwise(BANDS)
    ]
    rows: dict[str, list[list[object]]] = {"value": [], "slope": [], "left": []}
    for name, found in units.items():
        for state in STATES:
            spectrum = found["spectrum"][state]
            label = f"{name.split()[0]}, {state}"
            rows["value"].append([label, spectrum["value_rms"], *_percent(spectrum["value_share"])])
            rows["slope"].append([label, spectrum["slope_rms"], *_percent(spectrum["slope_share"])])
            rows["left"].append([label, *_percent(spectrum["slope_left"])])
    text = "\n\n".join(
        [
            "Error of the value along great circles, and share of its power by wavelength (units "
            "of the mesh; radius 0.8):",
            table(["field", "RMS", *bands], rows["value"]),
            "The same of its slope along the circle, which is what turns the normal:",
            table(["field", "RMS", *bands], rows["slope"]),
            "What the polynomial operator at automatic scale leaves of the slope's error in each "
            "band (RMS over RMS):",
            table(["field", *bands], rows["left"]),
            *_answer(units),
        ]
    )
    yield "spectrum", "Where the noise sits: the sphere", text


def _percent(shares: Sequence[float]) -> list[str]:
    return [f"{100 * share:.1f} %" for share in shares]


def _answer(units: dict[str, Whole]) -> Iterator[str]:
    """Whether SIREN's errors are long ones, which no local operator takes out."""
    lines = []
    for name, found in units.items():
        spectrum = found["spectrum"]["fitted"]
        share, left = np.array(spectrum["slope_share"]), np.array(spectrum["slope_left"])
        whole = float(np.sqrt((share * left**2).sum()))
        lines.append(
            f"- {name.split()[0]}: {100 * share[:2].sum():.0f} % of the slope's error is in waves "
            f"longer than {BANDS[2]:g}; the operator divides all of it by "
            f"{1 / max(whole, 1e-9):.1f}"
        )
    if lines:
        yield "\n".join(lines)


def _circle(whole: Whole) -> Iterator[Section]:
    if "circle" in whole["results"]:
        found = whole["results"]["circle"]
        rows = [[name, *(one[key] for key in ACCURACY)] for name, one in found.items()]
        text = "Scales in units of the square from -1 to 1; the circle's radius is 0.5.\n\n"
        text += table(["operator", *ACCURACY.values()], rows)
        yield "circle", "The circle in the plane: a hash grid without a base", text
