"""Fitting a neural signed distance field to a mesh."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .devices import choose_device
from .distance import SignedDistance
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
from .mesh import TriangleMesh, repair
from .normalization import HALF_EXTENT_IN_CUBE, Normalization
from .operators.automatic_scale import choose_scales
from .progress import Progress, ProgressCallback, part, silent
from .sampling import near_surface_points, training_points
from .training import choose_trainer

BATCH = 1 << 14
ERROR_SAMPLES = 1 << 14
ENCLOSING_SHARE = 0.1
"""Of points near the surface of a closed mesh, about half lie inside; below this, it is open."""
RELATIVE_TO = 0.01
"""The loss is |f - d| / (|d| + this), in units of the cube."""
FINAL_LEARNING_RATE = 0.02
"""Share of the learning rate that is left at the last step (cosine decay)."""


@dataclass(frozen=True)
class Plan:
    """How one kind of field is trained.

    Attributes
    ----------
    config
        The field.
    steps
        Training steps of `BATCH` points each.
    encoding_rate, decoder_rate
        Learning rates at the first step.
    """

    config: FieldConfig
    steps: int
    encoding_rate: float = 1e-2
    decoder_rate: float = 1e-2


@dataclass(frozen=True)
class Preset:
    """Size and length of a fit.

    Attributes
    ----------
    purpose
        One line for the user.
    batches
        Number of different batches; distances are measured for all of them beforehand.
    plans
        By kind of field.
    """

    purpose: str
    batches: int
    plans: Mapping[str, Plan]


def _grid(kind: str, levels: int, coarsest: int, finest: int, base_resolution: int) -> FieldConfig:
    """A hash grid or dense grid whose coarser levels are left to the base."""
    factor = (finest / coarsest) ** (1 / (levels - 1))
    encoding = HashGridConfig(
        levels=levels,
        log2_table_size=24 if kind == "dense-grid" else 17,
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
        batches=24,
        plans={
            "hash-grid": Plan(_grid("hash-grid", 6, 32, 256, 48), 100),
            "dense-grid": Plan(_grid("dense-grid", 3, 32, 96, 48), 100),
            "tri-plane": Plan(_tri_plane(16, 64, 2, 48), 40, 3e-3, 1e-3),
            "siren": Plan(_siren(64, 2, 48), 100, 2e-3, 2e-3),
        },
    ),
    "standard": Preset(
        "Normals and curvature of most meshes",
        batches=48,
        plans={
            "hash-grid": Plan(_grid("hash-grid", 8, 32, 512, 64), 400),
            "dense-grid": Plan(_grid("dense-grid", 4, 32, 160, 64), 400),
            "tri-plane": Plan(_tri_plane(32, 128, 3, 64), 200, 3e-3, 1e-3),
            "siren": Plan(_siren(128, 3, 64), 150, 1e-3, 1e-3),
        },
    ),
    "fine": Preset(
        "The closest fit, for the final export",
        batches=128,
        plans={
            "hash-grid": Plan(_grid("hash-grid", 8, 48, 1024, 96), 1500),
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
    Cancelled
        Whenever `progress` raises it.
    """
    if preset not in PRESETS:
        raise SettingError(f"There is no preset {preset!r}; choose from {', '.join(PRESETS)}.")
    if not 0 <= seed < 2**63:
        raise SettingError(f"The seed is {seed}; it must be 0 to 2^63 - 1.")
    check_kind(kind)
    batches, plan = PRESETS[preset].batches, PRESETS[preset].plans[kind]
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
        nodes = module.base.nodes().numpy()
        points = np.empty((batches * BATCH, 3))
        for batch in range(batches):
            progress(Progress(0.0, "Choosing samples"))
            points[batch * BATCH : (batch + 1) * BATCH] = training_points(cube_mesh, BATCH, random)
        held_out = near_surface_points(cube_mesh, ERROR_SAMPLES, random)
        exact = distance(np.concatenate([nodes, points, held_out]), part(progress, 0.0, 0.5))
        exact_nodes, exact_points, exact_held_out = np.split(
            exact, np.cumsum([len(nodes), len(points)])
        )
        module.base.values.copy_(torch.from_numpy(exact_nodes).view_as(module.base.values))
        module.to(torch_device)

    with stopwatch("training"):
        _train(
            module,
            points.astype(np.float32),
            exact_points.astype(np.float32),
            plan,
            part(progress, 0.5, 0.9),
        )

    with stopwatch("scales"):
        evaluator = Evaluator(module)
        scale_map = choose_scales(
            evaluator.field, cube_mesh, random, torch_device, part(progress, 0.9, 0.99)
        )

    with stopwatch("check"):
        progress(Progress(0.99, "Measuring the error"))
        report = FitReport(
            preset=preset,
            seed=seed,
            device=torch_device.type,
            steps=plan.steps,
            near_surface_error=math.nan,
            noise=float(scale_map.noise[0]) / HALF_EXTENT_IN_CUBE,
            seconds=stopwatch.seconds,
            vertices=len(mesh.vertices),
            triangles=len(mesh.triangles),
            repairs=repaired.repairs,
            warnings=_warnings(repaired.mesh, exact_held_out),
        )
        field = Field(module, normalization, report, scale_map)
        values = field.evaluate(field.tensor(held_out)).cpu().double().numpy()
        error = float(np.abs(values - exact_held_out).mean()) / HALF_EXTENT_IN_CUBE
    field.report = replace(report, near_surface_error=error)
    return field


class Stopwatch:
    """Seconds by stage, in the order in which the stages ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start


def _new_module(config: FieldConfig, seed: int) -> NeuralField:
    """A field with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NeuralField(config)


def _train(
    module: NeuralField,
    points: NDArray[np.float32],
    targets: NDArray[np.float32],
    plan: Plan,
    progress: ProgressCallback,
) -> None:
    trainer = choose_trainer(module)
    cell = module.base.cell
    device = module.base.values.device
    base = Evaluator(module).base(torch.from_numpy(points).to(device)).cpu().numpy()
    # The network learns what the base lacks, in cells; the loss stays that of the distance.
    remainder = (targets - base) / np.float32(cell)
    weights = np.float32(cell) / (np.abs(targets) + np.float32(RELATIVE_TO))
    batches = len(points) // BATCH
    start = time.perf_counter()
    steps = plan.steps
    for step in range(steps):
        decay = (1 + math.cos(math.pi * step / steps)) / 2
        share = FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * decay
        rows = slice(step % batches * BATCH, (step % batches + 1) * BATCH)
        loss = trainer.step(
            points[rows],
            remainder[rows],
            weights[rows],
            share * plan.encoding_rate,
            share * plan.decoder_rate,
        )
        elapsed = time.perf_counter() - start
        progress(
            Progress(
                (step + 1) / steps,
                "Fitting",
                loss=loss,
                seconds_left=elapsed / (step + 1) * (steps - step - 1),
            )
        )


def _warnings(mesh: TriangleMesh, exact_near_surface: NDArray[np.float64]) -> list[str]:
    """Sentences on a (repaired) mesh whose field may not be what the user expects."""
    warnings = []
    a, b, c = mesh.vertices[mesh.triangles.T] - mesh.vertices.mean(axis=0)
    volume = float(np.einsum("ni,ni->n", a, np.cross(b, c)).sum())
    if volume < 0:
        warnings.append(
            "The faces point inward; the field was fitted as if they pointed outward. "
            "Recalculate the normals to silence this."
        )
    if (exact_near_surface < 0).mean() < ENCLOSING_SHARE:
        warnings.append(
            "The mesh is open and encloses next to no volume, so most of it has no inside and no "
            "curvature can be measured there. Close it, or give it thickness."
        )
    return warnings
