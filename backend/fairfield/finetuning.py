"""Fine-tuning: a field whose own derivatives, by autodiff, are as good as the operator's.

Chetan et al., "Accurate Differential Operators for Hybrid Neural Fields" (arXiv 2312.05984), train
a fitted field on with the loss

    mean ((f - f0) / length)^2 + weight * mean |unit(grad f) - unit(grad_operator f0)|^2,

f0 being the field as it was: keep the value, match the operator's direction. What differs here:

- A field is handed over to a finer base, if that keeps the surface: the operator's own values on a
  lattice (`smoothed_lattice`), interpolated by a spline. There the network, with the noise that it
  brings, has nothing left to add, and no training came as close to the operator.
- Where the surface has details or edges that such a base cannot hold, the field is trained with the
  loss above, so that the network keeps them; the direction counts only as far as the operator
  agrees with the field's value. The operator is asked once, beforehand, and grad f is taken by
  differences over a step so small that within it the field is nearly linear. So a training step
  needs first derivatives only, and runs in the fit's kernels. What is learned is taken back as far
  as it has moved the surface by more than a limit.
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
from scipy.spatial import cKDTree
from torch import Tensor

from .errors import FairfieldError, SettingError
from .evaluation import Evaluator
from .extraction import extract
from .field import Field
from .fields import NeuralField
from .mesh import TriangleMesh
from .normalization import HALF_EXTENT_IN_CUBE
from .operators import differentiate
from .operators.differentiation import Scale
from .operators.tangent import REACH
from .progress import Progress, ProgressCallback, part, silent
from .repair import repair
from .sampling import as_seed, surface_points
from .smoothed_lattice import STEEPEST, smoothed_lattice, upsampled
from .surface_comparison import (
    Reference,
    SurfaceComparison,
    cube_values,
    largest_distance,
    pieces_and_handles,
)
from .training import choose_trainer

Floats = NDArray[np.float32]
State = dict[str, Tensor]

POINTS = 1 << 15
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
"""Step of the differences (cube units): a fortieth of the finest cell of "standard"."""
VALUE_LENGTH = 0.004
"""An error of the value by this length (cube units) costs as much as a radian of direction."""
JUMP_STEP = 0.02
"""Half of the way (cube units) that a jump of the value is looked for on."""
SURFACE_RESOLUTION = 96

LARGEST_DISTANCE = 0.1
"""Mean distance, in half-extents, of a mesh that a field can have been fitted to from it."""
MOST_RELATIVE_DISTANCE = 1.05
"""What the distance to a given mesh may grow by."""
MOST_SHIFT = 0.3
"""Without a mesh: what the values near the surface may change by in training, in units of their
error. Errors of independent origin add in squares: 1 + 0.3^2 is 1.044^2."""
LARGEST_MOVE = 0.045
"""What any part of the surface may move by, in half-extents, besides what noise accounts for: two
cells of those that it is looked at in."""
USUAL_DEVIATION, LARGE_DEVIATION = 1.0, 4.0
"""What the mean and the 99th percentile may grow by on a rough mesh, in units of its roughness."""
MOST_UNEVEN = 7.0
"""What the 99th percentile of the operator's changes may be, in medians. Measured: 4 to 5 on smooth
shapes, clean or noisy; 10 and more where edges would be rounded off."""
SHARES = (1.0, 0.85, 0.7, 0.5, 0.35, 0.25, 0.15, 0.0)
"""Of what was learned; the first that keeps the limits is kept."""
BASE_RESOLUTION = 160
"""Of the base that a field is handed over to, at least."""

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
        Whether the operator's values were handed over to a finer base, instead of training.
    steps, kept_share
        Training steps done, and the share of what was learned that was kept.
    unchanged
        Whether nothing could be gained within the limits, so that the field is as it was.
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
    unchanged: bool
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
        (N,) weight of the normals, 0 to 1; 0 at and beside what closes a hole.
    change
        (N,) what the operator's values differ by from the field's.
    scale
        The operator's median scale.
    """

    points: Floats
    values: Floats
    normals: Floats
    trust: Floats
    change: Floats
    scale: float

    def rows(self, rows: slice | NDArray[np.bool_]) -> Lesson:
        """Some of the points."""
        return Lesson(
            self.points[rows],
            self.values[rows],
            self.normals[rows],
            self.trust[rows],
            self.change[rows],
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
        What the field was fitted to. With it the distance to the mesh is measured, and limited;
        without it the surface is compared with that of the field as it was. See `Limits`.
    scale, operator
        Of the operator that teaches; see `fairfield.differentiate`.
    normal_weight
        Weight of the direction against the value; 0 trains on the value alone.
    value_length
        The length, in the mesh's own units, whose error in the value costs as much as a radian of
        direction.
    hand_over
        Whether the field may be handed over to a finer base; without it, or with another operator
        than "polynomial", it is trained.
    seed
        Of the points that it is trained and measured at. The same seed gives the same field.

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
    seed = as_seed(seed)
    unit = field.normalization.unit
    length = VALUE_LENGTH if value_length is None else value_length / unit
    random = np.random.default_rng(seed)
    clock = [time.perf_counter()]

    progress(Progress(0.0, "Looking at the surface"))
    surface = _zero_set(field)
    reference = _reference(field, mesh, surface, random, part(progress, 0.02, 0.1))
    before = reference.compare(field, surface)
    # Not from the field's surface to the mesh: over the rim of an open mesh it closes the hole.
    from_mesh = reference.values_at_samples(field).mean()
    if from_mesh > LARGEST_DISTANCE:
        raise FairfieldError(
            f"The mesh is {from_mesh:.2g} half-extents from the field's surface on average: the "
            "field was fitted to another mesh. Choose that one, or none."
        )
    clock.append(time.perf_counter())

    held_out = _ask(field, surface, HELD_OUT, scale, operator, random, part(progress, 0.1, 0.2))
    held_out = held_out.rows(held_out.trust > 0)
    limits = Limits(field, surface, mesh is not None, reference, held_out.points)
    clock.append(time.perf_counter())

    steps, kept_share = 0, 1.0
    error_before = _normal_error(field, held_out)
    tuned = None
    if hand_over and operator == "polynomial" and limits.may_be_kept(held_out.change):
        tuned = _handed_over(field, scale, part(progress, 0.2, 0.5))
        error_after = _normal_error(tuned, held_out)
        if error_after > error_before or not limits.kept_by_smoothed(tuned):
            tuned = None
    handed_over = tuned is not None
    if tuned is None:
        taught = _ask(field, surface, POINTS, scale, operator, random, part(progress, 0.5, 0.7))
        module = copy.deepcopy(field.module)
        tuned = field.with_module(module)
        steps = _train(module, taught, held_out, normal_weight, length, part(progress, 0.7, 0.9))
        kept_share = _take_back(
            module, field.module.state_dict(), partial(limits.kept_by_trained, tuned)
        )
        error_after = _normal_error(tuned, held_out)
    clock.append(time.perf_counter())

    progress(Progress(0.92, "Measuring what was kept"))
    after = reference.compare(tuned, _zero_set(tuned))
    report = FinetuneReport(
        scale=held_out.scale * unit,
        handed_over=handed_over,
        steps=steps,
        kept_share=kept_share,
        unchanged=not handed_over and _same(field.module.state_dict(), tuned.module.state_dict()),
        normal_error_before=error_before,
        normal_error_after=error_after,
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

    No smooth surface is nearer to a mesh than the mesh's facets are deep and its vertices noisy. So
    what is handed over may in any case move away by the roughness of the mesh in the mean, and by
    four times that in the 99th percentile. But noise and facets are everywhere, and lost edges are
    few: where the values change very unevenly, nothing is handed over.

    Nor may any part of the `surface` as it was move far, or, of what is handed over, pieces or
    handles be added: both happen off the mesh, where it closes a hole, and no distance to it tells.
    """

    def __init__(
        self,
        field: Field,
        surface: TriangleMesh,
        mesh_given: bool,
        reference: Reference,
        points: Floats,
    ) -> None:
        self._surface = surface
        farthest = LARGEST_MOVE + LARGE_DEVIATION * field.report.noise
        self._farthest = HALF_EXTENT_IN_CUBE * farthest
        self._mesh_given = mesh_given
        self._reference = reference
        self._points = points.astype(np.float64)
        self._values = cube_values(field, self._points)
        if mesh_given:
            before = _mean_and_99(reference.values_at_samples(field))
            self._trained = self._smoothed = MOST_RELATIVE_DISTANCE * before
        else:
            before = np.array([field.report.near_surface_error])
            self._trained = self._smoothed = MOST_SHIFT * before
        self._before = before
        rough = np.array([USUAL_DEVIATION, LARGE_DEVIATION])[: len(before)] * roughness(field)
        self._smoothed = np.maximum(self._smoothed, before + rough)

    def may_be_kept(self, change: Floats) -> bool:
        """Whether the operator's values can keep them, if they change a field's values by this.

        What is near the reference before and after has moved by no more than both together.
        """
        sizes = np.abs(change.astype(np.float64)) / HALF_EXTENT_IN_CUBE
        moved = _mean_and_99(sizes)
        return bool(
            (moved[: len(self._before)] <= self._before + self._smoothed).all()
            and moved[1] <= MOST_UNEVEN * np.median(sizes)
        )

    def kept_by_trained(self, tuned: Field) -> bool:
        """Whether a field that was trained keeps them."""
        return bool((self._departure(tuned) <= self._trained).all()) and self._is_near(
            _zero_set(tuned)
        )

    def kept_by_smoothed(self, tuned: Field) -> bool:
        """Whether a field that was handed over to the operator's values keeps them."""
        if not (self._departure(tuned) <= self._smoothed).all():
            return False
        surface = _zero_set(tuned)
        before, after = pieces_and_handles(self._surface), pieces_and_handles(surface)
        return bool((after <= before).all()) and self._is_near(surface)

    def _is_near(self, surface: TriangleMesh) -> bool:
        """Whether no part of the surface is far from that before, nor the other way round."""
        return largest_distance(surface, self._surface) <= self._farthest

    def _departure(self, tuned: Field) -> NDArray[np.float64]:
        """In half-extents."""
        if self._mesh_given:
            return _mean_and_99(self._reference.values_at_samples(tuned))
        shift = np.abs(cube_values(tuned, self._points) - self._values)
        return np.array([shift.mean() / HALF_EXTENT_IN_CUBE])


def roughness(field: Field) -> float:
    """Return how far the mesh's vertices lie from the operator's surface, in half-extents.

    By their noise, and because the corners of facets stand out.
    """
    offset = np.median(np.abs(field.scale_map.offset)) / HALF_EXTENT_IN_CUBE
    return float(np.hypot(field.report.noise, offset))


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
    beside_hole = _beside_hole(field, points, REACH * jets.scale / unit)
    if 2 * answered.sum() < count:
        raise FairfieldError(
            f"The operator {operator!r} has an answer at only {answered.sum()} of {count} points "
            "of this field's surface; choose another scale."
        )
    error = HALF_EXTENT_IN_CUBE * field.report.near_surface_error
    trust = np.where(beside_hole, 0.0, 1 / (1 + (change / error) ** 2))
    return Lesson(
        points[answered].astype(np.float32),
        values[answered].astype(np.float32),
        jets.normals[answered].astype(np.float32),
        trust[answered].astype(np.float32),
        change[answered].astype(np.float32),
        float(np.median(jets.scale[answered])) / unit,
    )


def _beside_hole(
    field: Field, points: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether (N, 3) points of a field's surface have what closes a hole of the mesh in reach (N,).

    There the value jumps from the distance to the rim to minus that, and no operator has a normal.
    """
    around = points[:, None] + JUMP_STEP * np.concatenate([np.eye(3), -np.eye(3)])
    ahead, behind = np.split(cube_values(field, around.reshape(-1, 3)).reshape(-1, 6), 2, axis=1)
    over_hole = np.abs(ahead - behind).max(axis=1) > STEEPEST * 2 * JUMP_STEP
    if not over_hole.any():
        return over_hole
    distance, _ = cKDTree(points[over_hole]).query(points)
    beside = distance <= reach
    # At a scale as large as the shape, nothing else would be left.
    return beside if beside.mean() < 0.5 else over_hole & (over_hole.mean() < 0.5)


def _handed_over(field: Field, scale: Scale, progress: ProgressCallback) -> Field:
    """A field of the operator's values, in a base of its own; its network adds nothing."""
    config = field.module.config
    resolution = max(BASE_RESOLUTION, config.base_resolution)
    with torch.random.fork_rng(devices=[]):
        module = NeuralField(replace(config, base_resolution=resolution))
    module.encoding.load_state_dict(field.module.encoding.state_dict())
    module.decoder.load_state_dict(field.module.decoder.state_dict())
    *_, output = module.decoder.layers
    for parameter in output.parameters():
        torch.nn.init.zeros_(parameter)
    lattice = smoothed_lattice(field, scale, progress)
    module.base.values.copy_(torch.from_numpy(upsampled(lattice, resolution)))
    tuned = field.with_module(module.to(field.device))
    # What is smoothed already has less noise: corrections that took it away would go too far.
    tuned.scale_map = field.scale_map.without_corrections()
    return tuned


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


def _same(before: State, after: State) -> bool:
    return all(torch.equal(old, after[name]) for name, old in before.items())


def _normal_error(field: Field, held_out: Lesson) -> float:
    """Mean angle in degrees between autodiff's normals and the operator's."""
    points = field.tensor(held_out.points).requires_grad_()
    (gradient,) = torch.autograd.grad(field.evaluate_module(points).sum(), points)
    normals = torch.nn.functional.normalize(gradient, dim=1).cpu().double().numpy()
    chord = np.linalg.norm(normals - held_out.normals, axis=1)
    return float(np.degrees((2 * np.arcsin(np.clip(chord / 2, 0, 1))).mean()))
