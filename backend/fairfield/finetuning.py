"""Fine-tuning: a field whose own derivatives, by autodiff, are as good as the operator's.

Chetan et al., "Accurate Differential Operators for Hybrid Neural Fields" (arXiv 2312.05984), train
a fitted field on with the loss

    mean ((f - f0) / length)^2 + weight * mean |unit(grad f) - unit(grad_operator f0)|^2,

f0 being the field as it was: keep the value, match the operator's direction. What differs here:

- A field that is smooth to within its own error, which is measured, is handed over to a base of
  twice the resolution: its smoothed values, interpolated by a spline. There the network, with the
  noise that it brings, has nothing left to add, and no training came as close to the operator.
- Any other field is trained with the loss above, so that the network keeps the details; the
  direction counts only as far as the operator agrees with the field's value. The operator is asked
  once, beforehand, and grad f is taken by differences over a step so small that within it the field
  is nearly linear. So a training step needs first derivatives only, and runs in the fit's kernels.
- The result is compared with the field as it was, and taken back as far as it has moved the surface
  by more than a limit.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve1d
from torch import Tensor

from .errors import FairfieldError, SettingError
from .evaluation import Evaluator
from .extraction import extract
from .field import Field
from .fields import NeuralField
from .mesh import TriangleMesh, repair
from .normalization import HALF_EXTENT_IN_CUBE
from .operators import differentiate
from .operators.differentiation import Scale
from .progress import Progress, ProgressCallback, part, silent
from .sampling import surface_points
from .surface_comparison import Reference, SurfaceComparison, cube_values
from .training import choose_trainer

Floats = NDArray[np.float32]
State = dict[str, Tensor]

POINTS = 1 << 16
"""Where the operator is asked."""
HELD_OUT = 1 << 12
BATCH = 1 << 12
"""Points of a training step; with their differences as many values as in a step of the fit."""
STEPS = 150
CHECK_EVERY = 25
PATIENCE = 3
"""Checks in a row without an improvement by `IMPROVEMENT` after which training stops."""
IMPROVEMENT = 0.01
LEARNING_RATE = 5e-4
FINAL_LEARNING_RATE = 0.02
"""Share of the learning rate that is left at the last step (cosine decay)."""
DEVIATION = 0.004
"""Standard deviation of the points from the surface, per axis (cube units)."""
DIFFERENCE = 2e-4
"""Step of the differences (cube units): a twentieth of the finest cell of "standard"."""
VALUE_LENGTH = 0.004
"""An error of the value by this length (cube units) costs as much as a radian of direction."""
SURFACE_RESOLUTION = 96

SMOOTH_SHARE = 0.3
"""A field is smooth if, once smoothed, it changes by less than this share of its near-surface error
when it is smoothed again: what went the first time was noise. Measured on four kinds of field: 0.09
to 0.19 for sphere, torus and metaballs, 0.8 to 1.2 for scans and shapes with edges."""
MOST_NOISE = 1.0
"""What the values of a smooth field may change by, as a share of its near-surface error: all of
it."""
MOST_SHIFT = 0.3
"""The same for another field: errors of independent origin add in squares, and 1 + 0.3^2 is
1.044^2."""
MOST_RELATIVE_DISTANCE = 1.05
"""What the distance to a given mesh may grow by."""
SHARES = (1.0, 0.85, 0.7, 0.5, 0.35, 0.25, 0.15, 0.0)
"""Of the change; the first that keeps the limits is kept."""
LEAST_SMOOTHING = 0.5
"""Share of the smoothing below which a field is trained instead."""

LARGEST_BASE = 192
SMOOTHING_REACH = 2
"""Nodes of the lattice on each side that the values are smoothed over."""

# Four differences along the diagonals of a cube give the gradient of a linear function exactly.
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)
OFFSETS = (DIFFERENCE * TETRAHEDRON).astype(np.float32)
GRADIENT_WEIGHTS = (3 / (4 * DIFFERENCE) * TETRAHEDRON).astype(np.float32)


@dataclass(frozen=True)
class FinetuneReport:
    """What fine-tuning kept and what it gained.

    Attributes
    ----------
    scale
        Median scale of the operator, in the mesh's own units.
    handed_over
        Whether the field was smooth enough for its values to be handed over to a finer base.
    steps, kept_share
        Training steps done, and the share of the change, by training or smoothing, that was kept.
    normal_error_before, normal_error_after
        Mean angle in degrees between autodiff's normals and the operator's on the field as it was,
        at points that were not trained on.
    reference
        What the surface was compared with: "mesh", or "field" for the field as it was.
    before, after
        See `SurfaceComparison`.
    seconds
        By stage, in order.
    """

    scale: float
    handed_over: bool
    steps: int
    kept_share: float
    normal_error_before: float
    normal_error_after: float
    reference: str
    before: SurfaceComparison
    after: SurfaceComparison
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Lesson:
    """What a field is taught at N points near its surface, in units of the cube.

    Attributes
    ----------
    points, values, normals
        (N, 3), (N,) and (N, 3).
    trust
        (N,) weight of the normals, 0 to 1.
    scale
        The operator's median scale.
    """

    points: Floats
    values: Floats
    normals: Floats
    trust: Floats
    scale: float

    def rows(self, rows: slice) -> Lesson:
        """Some of the points."""
        return Lesson(
            self.points[rows],
            self.values[rows],
            self.normals[rows],
            self.trust[rows],
            self.scale,
        )

    @property
    def stencil(self) -> Floats:
        """The (4 N, 3) places that the differences are taken between."""
        return (self.points[:, None] + OFFSETS).reshape(-1, 3)


def finetune(
    field: Field,
    mesh: TriangleMesh | None = None,
    *,
    scale: Scale = "auto",
    operator: str = "polynomial",
    normal_weight: float = 1.0,
    value_length: float | None = None,
    hand_over: bool = True,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> Field:
    """Return a field close to the given one, whose normals by autodiff are close to the operator's.

    The given field stays as it is. The new one's `report.finetuning` is a `FinetuneReport`.

    Parameters
    ----------
    mesh
        What the field was fitted to. With it the distance to the mesh is measured, and grows by no
        more than 5 %; without it the surface is compared with that of the field as it was.
    scale, operator
        Of the operator that teaches; see `fairfield.differentiate`.
    normal_weight
        Weight of the direction against the value; 0 trains on the value alone.
    value_length
        The length, in the mesh's own units, whose error in the value costs as much as a radian of
        direction.
    hand_over
        Whether a smooth field may be handed over to a finer base; without it, it is trained.
    seed
        Of the points. The same seed gives the same field.

    Raises
    ------
    SettingError
        For a setting out of range.
    FairfieldError
        If the field has no surface.
    Cancelled
        Whenever `progress` raises it.
    """
    if not 0 <= normal_weight < math.inf:
        raise SettingError(f"The weight of the normals is {normal_weight}; it must be 0 or more.")
    if value_length is not None and not 0 < value_length < math.inf:
        raise SettingError(f"The value's length is {value_length}; it must be positive.")
    if not 0 <= seed < 2**63:
        raise SettingError(f"The seed is {seed}; it must be 0 to 2^63 - 1.")
    unit = field.normalization.unit
    length = VALUE_LENGTH if value_length is None else value_length / unit
    random = np.random.default_rng(seed)
    clock = [time.perf_counter()]

    progress(Progress(0.0, "Looking at the surface"))
    surface = _zero_set(field)
    reference = _reference(field, mesh, surface, random, part(progress, 0.02, 0.1))
    before = reference.compare(field, surface)
    clock.append(time.perf_counter())

    held_out = _ask(field, surface, HELD_OUT, scale, operator, random, part(progress, 0.1, 0.2))
    limits = Limits(field, mesh is not None, reference, held_out.points)
    clock.append(time.perf_counter())

    progress(Progress(0.2, "Smoothing"))
    steps, kept_share, handed_over = 0, 1.0, False
    successor = _successor(field, limits.error) if hand_over else None
    if successor is not None:
        module, unsmoothed = successor
        tuned = Field(module, field.normalization, field.report, field.scale_map)
        kept_share = _take_back(module, unsmoothed, partial(limits.kept_by, tuned, MOST_NOISE))
        handed_over = kept_share >= LEAST_SMOOTHING
    if not handed_over:
        taught = _ask(field, surface, POINTS, scale, operator, random, part(progress, 0.25, 0.5))
        module = copy.deepcopy(field.module)
        tuned = Field(module, field.normalization, field.report, field.scale_map)
        steps = _train(module, taught, held_out, normal_weight, length, part(progress, 0.5, 0.9))
        kept_share = _take_back(
            module, field.module.state_dict(), partial(limits.kept_by, tuned, MOST_SHIFT)
        )
    clock.append(time.perf_counter())

    progress(Progress(0.92, "Measuring what was kept"))
    after = reference.compare(tuned, _zero_set(tuned))
    report = FinetuneReport(
        scale=held_out.scale * unit,
        handed_over=handed_over,
        steps=steps,
        kept_share=kept_share,
        normal_error_before=_normal_error(field, held_out),
        normal_error_after=_normal_error(tuned, held_out),
        reference="field" if mesh is None else "mesh",
        before=before,
        after=after,
        seconds={},
    )
    clock.append(time.perf_counter())
    seconds = dict(
        zip(("surface", "operator", "training", "check"), np.diff(clock).tolist(), strict=True)
    )
    tuned.report = replace(field.report, finetuning=replace(report, seconds=seconds).to_dict())
    return tuned


class Limits:
    """How far a tuned field may be from the field as it was.

    With the mesh at hand: the distance to it, mean and 99th percentile, at most 1.05 times that
    before. Without: the mean change of the value near the surface, against the field's own error.
    """

    def __init__(
        self, field: Field, mesh_given: bool, reference: Reference, points: Floats
    ) -> None:
        self.error = HALF_EXTENT_IN_CUBE * field.report.near_surface_error
        self._mesh_given = mesh_given
        self._reference = reference
        self._points = points.astype(np.float64)
        self._values = cube_values(field, self._points)
        self._distances = _mean_and_99(reference.values_at_samples(field))

    def kept_by(self, tuned: Field, most_shift: float) -> bool:
        """Whether a tuned field keeps them."""
        if self._mesh_given:
            distances = _mean_and_99(self._reference.values_at_samples(tuned))
            return bool((distances <= MOST_RELATIVE_DISTANCE * self._distances).all())
        shift = np.abs(cube_values(tuned, self._points) - self._values).mean()
        return bool(shift <= most_shift * self.error)


def _mean_and_99(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([distances.mean(), np.quantile(distances, 0.99)])


def _zero_set(field: Field) -> TriangleMesh:
    """The field's surface, coarsely, in the cube."""
    mesh = extract(field, SURFACE_RESOLUTION)
    return TriangleMesh(field.normalization.to_cube(mesh.vertices), mesh.triangles)


def _reference(
    field: Field,
    mesh: TriangleMesh | None,
    surface: TriangleMesh,
    random: np.random.Generator,
    progress: ProgressCallback,
) -> Reference:
    if mesh is None:
        return Reference.of_field(field, surface, random)
    repaired = repair(mesh).mesh
    in_cube = TriangleMesh(field.normalization.to_cube(repaired.vertices), repaired.triangles)
    return Reference.of_mesh(in_cube, random, progress)


def _ask(
    field: Field,
    surface: TriangleMesh,
    count: int,
    scale: Scale,
    operator: str,
    random: np.random.Generator,
    progress: ProgressCallback,
) -> Lesson:
    """What the operator says near the surface, at the points of `count` where it has an answer."""
    unit = field.normalization.unit
    points = surface_points(surface, count, random)
    points += random.normal(0, DEVIATION, points.shape)
    points = np.clip(points, -1 + DIFFERENCE, 1 - DIFFERENCE)
    jets = differentiate(
        field,
        field.normalization.from_cube(points),
        scale=scale,
        operator=operator,
        progress=progress,
    )
    values = cube_values(field, points)
    change = jets.value / unit - values
    answered = np.isfinite(change) & np.isfinite(jets.normals).all(axis=1)
    if 2 * answered.sum() < count:
        raise FairfieldError(
            f"The operator {operator!r} has an answer at only {answered.sum()} of {count} points "
            "of this field's surface; choose another scale."
        )
    error = HALF_EXTENT_IN_CUBE * field.report.near_surface_error
    return Lesson(
        points[answered].astype(np.float32),
        values[answered].astype(np.float32),
        jets.normals[answered].astype(np.float32),
        (1 / (1 + (change[answered] / error) ** 2)).astype(np.float32),
        float(np.median(jets.scale[answered])) / unit,
    )


def _successor(field: Field, error: float) -> tuple[NeuralField, State] | None:
    """A field with the given one's values, smoothed, in a base of twice the resolution.

    Its network adds nothing. The second part of the result is its state with the values as they
    are. What smooths is the constant term of a local quadratic
    fit on the lattice, axis by axis (Savitzky and Golay 1964).

    Returns None if smoothing once more changes the values near the surface by more than a share of
    the field's error: then there are details that would be lost.
    """
    config = field.module.config
    resolution = config.base_resolution
    if 2 * resolution - 1 <= LARGEST_BASE:
        resolution = 2 * resolution - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = NeuralField(replace(config, base_resolution=resolution))
    values = field.evaluate(module.base.nodes().float().to(field.device)).cpu().numpy()
    lattice = values.astype(np.float64).reshape([resolution] * 3)
    window = _quadratic_window(SMOOTHING_REACH)
    module.base.values.copy_(torch.from_numpy(lattice))
    lattice = _smoothed(lattice, window)
    near = np.abs(lattice) < 1.5 * module.base.cell
    if np.abs(_smoothed(lattice, window) - lattice)[near].mean() > SMOOTH_SHARE * error:
        return None
    module.encoding.load_state_dict(field.module.encoding.state_dict())
    module.decoder.load_state_dict(field.module.decoder.state_dict())
    with torch.no_grad():
        *_, output = module.decoder.layers
        for parameter in output.parameters():
            parameter.zero_()
    module.to(field.device)
    state = copy.deepcopy(module.state_dict())
    module.base.values.copy_(torch.from_numpy(lattice))
    return module, state


def _smoothed(lattice: NDArray[np.float64], window: NDArray[np.float64]) -> NDArray[np.float64]:
    for axis in range(lattice.ndim):
        lattice = convolve1d(lattice, window, axis=axis, mode="nearest")
    return lattice


def _quadratic_window(reach: int) -> NDArray[np.float64]:
    """Weights of 2 reach + 1 neighbours: the value in the middle of the quadratic through them."""
    along = np.arange(-reach, reach + 1)
    return np.linalg.pinv(np.vander(along, 3))[-1]


def _train(
    module: NeuralField,
    taught: Lesson,
    held_out: Lesson,
    normal_weight: float,
    length: float,
    progress: ProgressCallback,
) -> int:
    """Take steps until the loss at points held out stops falling; return how many."""
    trainer = choose_trainer(module)
    device = module.base.values.device
    cell = np.float32(module.base.cell)
    stencil = taught.stencil
    evaluator = Evaluator(module)
    base = evaluator.base(torch.from_numpy(stencil).to(device)).cpu().numpy().reshape(-1, 4)
    batches = max(1, len(taught.points) // BATCH)

    def loss_held_out() -> float:
        places = torch.from_numpy(held_out.stencil).to(device)
        values = evaluator.field(places).cpu().numpy().reshape(-1, 4)
        return direction_and_value_loss(values, held_out, normal_weight, length)[0]

    best, best_state, waited = loss_held_out(), copy.deepcopy(module.state_dict()), 0
    start = time.perf_counter()
    for step in range(STEPS):
        rows = slice(step % batches * BATCH, (step % batches + 1) * BATCH)
        lesson = taught.rows(rows)

        def loss(
            values: Floats, lesson: Lesson = lesson, base: Floats = base[rows]
        ) -> tuple[float, Floats]:
            whole = base + cell * values.reshape(-1, 4)
            value, slopes = direction_and_value_loss(whole, lesson, normal_weight, length)
            return value, (cell * slopes).reshape(-1)

        decay = (1 + math.cos(math.pi * step / STEPS)) / 2
        rate = LEARNING_RATE * (FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * decay)
        value = trainer.step_on(stencil[4 * rows.start : 4 * rows.stop], loss, rate, rate)
        done = step + 1
        left = (time.perf_counter() - start) / done * (STEPS - done)
        progress(Progress(done / STEPS, "Fine-tuning", loss=value, seconds_left=left))
        if done % CHECK_EVERY == 0:
            now = loss_held_out()
            waited = 0 if now < (1 - IMPROVEMENT) * best else waited + 1
            if now < best:
                best, best_state = now, copy.deepcopy(module.state_dict())
            if waited == PATIENCE:
                break
    module.load_state_dict(best_state)
    return done


def direction_and_value_loss(
    values: Floats, lesson: Lesson, normal_weight: float, length: float
) -> tuple[float, Floats]:
    """Return the loss and its gradient (N, 4) by the field's values (N, 4) at a lesson's stencil.

    The loss is mean ((f - value) / length)^2 + weight * mean trust * |unit(grad f) - normal|^2.
    """
    gradient = values @ GRADIENT_WEIGHTS
    norm = np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-6)
    direction = gradient / norm
    turn = direction - lesson.normals
    error = (values.mean(axis=1) - lesson.values) / np.float32(length)
    weight = np.float32(normal_weight) * lesson.trust
    loss = (error**2).mean() + (weight * (turn**2).sum(axis=1)).mean()
    # By the gradient: what turns it, and nothing along it.
    along = (direction * turn).sum(axis=1, keepdims=True)
    by_gradient = 2 * weight[:, None] * (turn - along * direction) / norm
    by_value = 2 * error / np.float32(4 * length)
    slopes = by_gradient @ GRADIENT_WEIGHTS.T + by_value[:, None]
    return float(loss), slopes / np.float32(len(values))


def _take_back(module: NeuralField, before: State, acceptable: Callable[[], bool]) -> float:
    """Take the change of a module back as far as needed; return the share that is kept.

    A share between moves every number that part of its way.
    """
    after = copy.deepcopy(module.state_dict())
    for share in SHARES:
        module.load_state_dict(
            {name: torch.lerp(old, after[name], share) for name, old in before.items()}
        )
        if acceptable():
            break
    return share


def _normal_error(field: Field, held_out: Lesson) -> float:
    """Mean angle in degrees between autodiff's normals and the operator's."""
    points = field.normalization.from_cube(held_out.points.astype(np.float64))
    normals = differentiate(field, points, operator="autodiff").normals
    chord = np.linalg.norm(normals - held_out.normals, axis=1)
    return float(np.degrees(np.nanmean(2 * np.arcsin(np.clip(chord / 2, 0, 1)))))
