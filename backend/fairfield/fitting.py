"""Fitting a neural signed distance field to a mesh."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .creases import Creases
from .devices import choose_device
from .distance import NearestPoints, SignedDistance
from .errors import SettingError
from .evaluation import Evaluator
from .field import Field, FitReport
from .fields import (
    DecoderConfig,
    FieldConfig,
    HashGridConfig,
    NeuralField,
    SirenConfig,
    TriPlaneConfig,
    check_kind,
)
from .fit_warnings import fit_warnings
from .lattice_distance import lattice_distance
from .mesh import TriangleMesh
from .normalization import HALF_EXTENT_IN_CUBE, Normalization
from .operators.automatic_scale import choose_scales
from .out_of_memory import memory_needed_for
from .outer_surface import HIDDEN
from .progress import Progress, ProgressCallback, part, silent
from .repair import repair
from .sampling import (
    Float32,
    TrainingSamples,
    as_seed,
    near_points,
    near_surface_points,
)
from .training import choose_trainer
from .vertex_evidence import with_vertex_evidence

Float64 = NDArray[np.float64]
Batch = tuple[Float32, Float32, Float32]
"""Points (B, 3), what the network should add there in cells of the base (B,), and weights (B,)."""

BATCH = 1 << 14
ERROR_SAMPLES = 1 << 14
CHECK_SAMPLES = 1 << 12
"""Of the error samples, those that the error is estimated with during training."""
CHECK_EVERY = 25
"""Training steps between two estimates of the error."""
PLATEAU_CHECKS, PLATEAU_FALL = 4, 0.05
"""The error has stopped falling when the least of so many checks is not less by this share than the
least of those before."""
ANNEALING_SHARE = 0.3
"""Of the steps of a plan, those at its end in which the learning rates fall."""
CLEARLY_OFF = 1e-4 * HALF_EXTENT_IN_CUBE
"""From which distance on the field's sign should be right."""
FAR_CELLS = 1.5
"""Cells of the base from an open sheet beyond which its surface cannot be."""
RELATIVE_TO = 0.01
"""The loss is |f - d| / (|d| + this), in units of the cube."""
FINAL_LEARNING_RATE = 0.02
"""Share of the learning rate that is left at the last step."""


@dataclass(frozen=True)
class Plan:
    """How one kind of field is trained.

    Attributes
    ----------
    config
        The field.
    steps
        Training steps of `BATCH` points each, at most.
    encoding_rate, decoder_rate
        Learning rates until they are annealed. From 2e-2 on, units of the grids' decoder die; where
        the base leaves little to learn, as on smooth shapes without noise, most do from 5e-3 on.
    """

    config: FieldConfig
    steps: int
    encoding_rate: float = 2e-3
    decoder_rate: float = 5e-3


@dataclass(frozen=True)
class Preset:
    """Size and length of a fit.

    Attributes
    ----------
    purpose
        One line for the user.
    queries
        Number of points near the surface that exact distances are measured at.
    batches
        Number of different batches of samples that are made of them.
    probes
        Number of points of the surface at which the scales for smoothing are measured.
    plans
        By kind of field.
    """

    purpose: str
    queries: int
    batches: int
    probes: int
    plans: Mapping[str, Plan]


def _grid(
    kind: str, levels: int, coarsest: int, finest: int, base_resolution: int, log2_size: int = 24
) -> FieldConfig:
    """A hash grid or dense grid whose coarser levels are left to the base."""
    factor = (finest / coarsest) ** (1 / (levels - 1))
    encoding = HashGridConfig(
        levels=levels,
        log2_table_size=log2_size,
        base_resolution=coarsest,
        per_level_scale=factor,
    )
    return FieldConfig(kind, encoding, base_resolution=base_resolution)


def _tri_plane(channels: int, width: int, layers: int, base_resolution: int) -> FieldConfig:
    decoder = DecoderConfig(width=width, hidden_layers=layers)
    return FieldConfig("tri-plane", TriPlaneConfig(3, 128, channels), decoder, base_resolution)


def _siren(width: int, hidden_layers: int, base_resolution: int) -> FieldConfig:
    linear = DecoderConfig(hidden_layers=0)
    return FieldConfig("siren", SirenConfig(3, width, hidden_layers), linear, base_resolution)


# Tri-plane and SIREN are trained in plain torch, many times slower than the grids: with the base in
# place they need far fewer steps than published, and smaller ones than the published sizes of
# "fine" (tri-plane: 32 channels, 3 x 128; SIREN: 3 x 256) do for a fit within a minute or two.
PRESETS = {
    "draft": Preset(
        "A first look",
        queries=1 << 16,
        batches=24,
        probes=1 << 12,
        plans={
            "hash-grid": Plan(_grid("hash-grid", 4, 48, 256, 48, 17), 100, 5e-3),
            "dense-grid": Plan(_grid("dense-grid", 3, 32, 96, 48), 100, 5e-3),
            "tri-plane": Plan(_tri_plane(16, 64, 2, 48), 40, 3e-3, 1e-3),
            "siren": Plan(_siren(64, 2, 48), 100, 2e-3, 2e-3),
        },
    ),
    "standard": Preset(
        "Normals and curvature of most meshes",
        queries=1 << 18,
        batches=128,
        probes=1 << 13,
        plans={
            "hash-grid": Plan(_grid("hash-grid", 6, 48, 256, 64, 17), 256, decoder_rate=3e-3),
            "dense-grid": Plan(_grid("dense-grid", 4, 32, 160, 64), 320, decoder_rate=2e-3),
            "tri-plane": Plan(_tri_plane(32, 128, 3, 64), 200, 3e-3, 1e-3),
            "siren": Plan(_siren(128, 3, 64), 150, 1e-3, 1e-3),
        },
    ),
    "fine": Preset(
        "The closest fit, for the final export",
        queries=1 << 20,
        batches=384,
        probes=1 << 13,
        plans={
            "hash-grid": Plan(_grid("hash-grid", 8, 64, 400, 96, 18), 1500),
            "dense-grid": Plan(_grid("dense-grid", 5, 48, 192, 96), 1500),
            "tri-plane": Plan(_tri_plane(32, 128, 3, 96), 1000, 3e-3, 1e-3),
            "siren": Plan(_siren(256, 3, 96), 1000, 1e-3, 1e-3),
        },
    ),
}


def fit(
    mesh: TriangleMesh,
    preset: str = "standard",
    seed: int = 0,
    *,
    device: str = "auto",
    kind: str = "hash-grid",
    progress: ProgressCallback = silent,
) -> Field:
    """Fit a field to the signed distances of a mesh.

    The loss is the relative error |f - d| / (|d| + 0.01) in units of the cube: an absolute error
    matters most where the surface is, and a squared one gives far worse normals. Exact distances on
    a coarse grid are the start; the network learns the remainder.

    Raises
    ------
    SettingError
        For an unknown preset, field or device, or a seed that is not a non-negative integer.
    MeshError
        If the mesh has no surface.
    NotEnoughMemory
        If memory does not suffice, even in small parts.
    Cancelled
        Whenever `progress` raises it.
    """
    with memory_needed_for(f"fit {len(mesh.triangles)} triangles"):
        return _fit(mesh, preset, seed, device, kind, progress)


def _fit(
    mesh: TriangleMesh, preset: str, seed: int, device: str, kind: str, progress: ProgressCallback
) -> Field:
    if preset not in PRESETS:
        raise SettingError(f"There is no preset {preset!r}; choose from {', '.join(PRESETS)}.")
    seed = as_seed(seed)
    check_kind(kind)
    sizes, plan = PRESETS[preset], PRESETS[preset].plans[kind]
    torch_device = choose_device(device)
    random = np.random.default_rng(seed)
    stopwatch = Stopwatch()

    with stopwatch("prepare"):
        progress(Progress(0.0, "Checking the mesh"))
        repaired = repair(mesh, progress)
        normalization = Normalization.of(repaired.mesh.vertices)
        cube_mesh = TriangleMesh(
            normalization.to_cube(repaired.mesh.vertices), repaired.mesh.triangles
        )
        distance = SignedDistance(cube_mesh, progress)

    with stopwatch("distances"):
        module = _new_module(plan.config, seed)
        nodes = lattice_distance(distance, plan.config.base_resolution, part(progress, 0.0, 0.15))
        module.base.values.copy_(torch.from_numpy(nodes.distance).view_as(module.base.values))
        points = near_points(distance.surface, sizes.queries, random)
        near = distance.nearest(points, part(progress, 0.15, 0.45))
        points = near_surface_points(distance.surface, ERROR_SAMPLES, random)
        held_out = distance.nearest(points, part(progress, 0.45, 0.46))
        module.to(torch_device)
        beyond_rim = _beyond_rim(distance, nodes, part(progress, 0.46, 0.46))

    with stopwatch("samples"):
        samples = TrainingSamples(distance.surface, near, nodes, random)
        count = min(sizes.batches, plan.steps)
        batches = _batches(module, samples, count, part(progress, 0.46, 0.5))

    with stopwatch("training"):
        steps = _train(module, batches, held_out, plan, part(progress, 0.5, 0.9))
        evaluator = Evaluator(module)

    with stopwatch("scales"):
        scale_map = choose_scales(
            evaluator,
            distance.surface,
            random,
            part(progress, 0.9, 0.99),
            sizes.probes,
            is_cut=distance.hidden > 0,
        )

    with stopwatch("check"):
        progress(Progress(0.99, "Measuring the error"))
        repairs = dict(repaired.repairs)
        if distance.hidden:
            repairs[HIDDEN] = distance.hidden
        values = _values(evaluator, held_out)
        is_wrong = (values < 0) != (held_out.distance < 0)
        is_wrong &= np.abs(held_out.distance) > CLEARLY_OFF
        report = FitReport(
            preset=preset,
            seed=seed,
            device=torch_device.type,
            steps=steps,
            near_surface_error=_mean_error(values, held_out),
            noise=float(scale_map.noise[0]) / HALF_EXTENT_IN_CUBE,
            seconds=stopwatch.seconds,
            vertices=len(mesh.vertices),
            triangles=len(mesh.triangles),
            repairs=repairs,
            warnings=fit_warnings(distance, normalization, float(is_wrong.mean()), preset),
        )
    surface = distance.surface
    if distance.faces_inward:
        surface = TriangleMesh(surface.vertices, surface.triangles[:, ::-1])
    creases = Creases.of(surface, float(scale_map.noise[0]))
    field = Field(module, normalization, report, scale_map, beyond_rim, creases)
    with stopwatch("scales"):  # in the report's own table
        field.scale_map = with_vertex_evidence(
            field, distance.surface.vertices, random, part(progress, 0.99, 1.0)
        )
    return field


class Stopwatch:
    """Seconds by stage, in the order in which the stages ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _new_module(config: FieldConfig, seed: int) -> NeuralField:
    """A field with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NeuralField(config)


def _batches(
    module: NeuralField, samples: TrainingSamples, count: int, progress: ProgressCallback
) -> list[Batch]:
    cell = np.float32(module.base.cell)
    device = module.base.values.device
    batches: dict[int, Batch] = {}

    def make(evaluator: Evaluator, index: int) -> None:
        points, distances = samples.draw(BATCH, index)
        base = evaluator.base(torch.from_numpy(points).to(device)).cpu().numpy()
        # The network learns what the base lacks, in cells; the loss stays that of the distance.
        weights = cell / (np.abs(distances) + np.float32(RELATIVE_TO))
        batches[index] = points, (distances - base) / cell, weights

    Evaluator(module).for_each(
        range(count), make, lambda done: progress(Progress(done, "Choosing samples"))
    )
    return [batches[index] for index in range(count)]


def _train(
    module: NeuralField,
    batches: list[Batch],
    held_out: NearestPoints,
    plan: Plan,
    progress: ProgressCallback,
) -> int:
    """Train until the error stops falling, at most as long as planned; return the steps taken.

    The learning rates stay, then fall linearly. What decides is counted in steps, never in
    seconds, so that a fit can be repeated.
    """
    trainer, evaluator = choose_trainer(module), Evaluator(module)
    check = held_out[np.arange(CHECK_SAMPLES)]
    errors: list[float] = []
    annealing = round(ANNEALING_SHARE * plan.steps)
    steps = plan.steps
    start = time.perf_counter()
    step = 0
    while step < steps:
        share = min(1.0, (steps - step) / annealing)
        rate = FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * share
        batch = batches[step % len(batches)]
        rates = rate * plan.encoding_rate, rate * plan.decoder_rate
        step += 1
        upcoming = batches[step % len(batches)][0] if step < steps else None
        loss = trainer.step(*batch, *rates, upcoming)
        if step % CHECK_EVERY == 0:
            errors.append(_mean_error(_values(evaluator, check), check))
            if share == 1 and _has_stopped_falling(errors):
                steps = min(steps, step + annealing)
        elapsed = time.perf_counter() - start
        progress(
            Progress(
                step / steps,
                "Fitting",
                loss=loss,
                error=errors[-1] if errors else None,
                seconds_left=elapsed / step * (steps - step),
            )
        )
    return steps


def _has_stopped_falling(errors: list[float]) -> bool:
    before, last = errors[:-PLATEAU_CHECKS], errors[-PLATEAU_CHECKS:]
    return bool(before) and min(last) > (1 - PLATEAU_FALL) * min(before)


def _values(evaluator: Evaluator, held_out: NearestPoints) -> Float64:
    points = torch.from_numpy(held_out.points.astype(np.float32)).to(evaluator.device)
    values: Float64 = evaluator.field(points).cpu().double().numpy()
    return values


def _mean_error(values: Float64, held_out: NearestPoints) -> float:
    """Mean |f - d| at points near the surface, in half-extents."""
    return float(np.abs(values - held_out.distance).mean()) / HALF_EXTENT_IN_CUBE


def _beyond_rim(
    distance: SignedDistance, nodes: NearestPoints, progress: ProgressCallback
) -> Float32 | None:
    """How far the base's nodes are beyond the rim of an open sheet, if the mesh is one.

    Between two layers of a sheet the sign changes too, and beyond a noisy rim where its tangent
    planes meet. No surface is there, so places far from the sheet count as beyond the rim.
    """
    if distance.sheet is None:
        return None
    resolution = round(len(nodes) ** (1 / 3))
    off = np.linalg.norm(nodes.points - nodes.nearest, axis=1)
    beyond = distance.sheet.beyond_rim(nodes.points, nodes.nearest, progress)
    beyond = np.where(off > FAR_CELLS * 2 / (resolution - 1), np.abs(beyond), beyond)
    return beyond.astype(np.float32).reshape([resolution] * 3)
