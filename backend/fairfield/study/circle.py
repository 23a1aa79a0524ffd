"""The paper's first experiment: the distance to a circle in the plane, in a hash grid.

No warm start here: the network alone has to represent the distance, as in the paper. The operator
is the published one, a quadratic through random samples around each query.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..fields import DecoderConfig, FieldConfig, HashGridConfig, NeuralField
from ..jets import Jets
from ..operators.autodiff import autodiff_jet
from ..operators.finite_difference import finite_difference_jet
from ..operators.polynomial import Evaluate
from ..progress import Progress, ProgressCallback
from ..training import TorchTrainer
from .accuracy import Accuracy, accuracy_of

Array = NDArray[np.float64]

RADIUS = 0.5
BATCH = 1 << 12
QUERIES = 1000
SAMPLES = 256
STEP = 1e-3
SCALES = (0.004, 0.008, 0.015, 0.03, 0.06)


def circle_experiment(quick: bool, progress: ProgressCallback) -> dict[str, Accuracy]:
    """Return the accuracy by operator, on the circle."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoding = HashGridConfig(2, levels=8, log2_table_size=14, per_level_scale=1.5)
        module = NeuralField(FieldConfig("hash-grid", encoding, DecoderConfig(32, 2)))
    random = np.random.default_rng(0)
    trainer = TorchTrainer(module)
    steps = 300 if quick else 2000
    for step in range(steps):
        batch = random.uniform(-1, 1, (BATCH, 2)).astype(np.float32)
        exact = np.linalg.norm(batch, axis=1) - np.float32(RADIUS)
        weights = 1 / (np.abs(exact) + np.float32(0.01))
        rate = 1e-2 * (0.02 + 0.98 * (1 + np.cos(np.pi * step / steps)) / 2)
        loss = trainer.step(batch, exact / np.float32(module.base.cell), weights, rate, rate)
        progress(Progress((step + 1) / steps, "Fitting a circle", loss=loss))

    angle = random.uniform(0, 2 * np.pi, QUERIES)
    normals = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = torch.from_numpy((RADIUS * normals).astype(np.float32))

    def evaluate(points: torch.Tensor) -> torch.Tensor:
        return module(points)[:, 0]

    found: dict[str, Accuracy] = {}

    def add(name: str, parts: tuple[torch.Tensor, ...] | Jets, evaluations: int) -> None:
        if isinstance(parts, tuple):
            value, gradient, hessian = (part.numpy() for part in parts)
            jets = Jets(value, gradient, hessian, np.zeros(QUERIES))
        else:
            jets = parts
        curvature = np.full(QUERIES, 1 / RADIUS)
        found[name] = accuracy_of(jets, normals, curvature, RADIUS, evaluations * QUERIES)

    add("autodiff", autodiff_jet(evaluate, points), 1)
    with torch.no_grad():
        step_length = torch.full_like(points[:, 0], STEP)
        add(f"finite-difference {STEP}", finite_difference_jet(evaluate, points, step_length), 9)
        for scale in SCALES:
            add(f"polynomial {scale}", _random_fit(evaluate, points, scale, random), SAMPLES)
    return found


def _random_fit(
    evaluate: Evaluate, points: torch.Tensor, scale: float, random: np.random.Generator
) -> Jets:
    """A quadratic through SAMPLES values at Gaussian offsets of each point, by least squares."""
    offsets = random.normal(size=(len(points), SAMPLES, 2))
    places = points[:, None].double() + scale * torch.from_numpy(offsets)
    values = evaluate(places.reshape(-1, 2).float()).double().numpy()
    x, y = offsets[..., 0], offsets[..., 1]
    monomials = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    solution = np.linalg.pinv(monomials) @ values.reshape(len(points), SAMPLES, 1)
    c, dx, dy, xx, xy, yy = solution[..., 0].T
    hessian = np.stack([2 * xx, xy, xy, 2 * yy], axis=1).reshape(-1, 2, 2) / scale**2
    gradient = np.stack([dx, dy], axis=1) / scale
    return Jets(c, gradient, hessian, np.full(len(points), scale))
