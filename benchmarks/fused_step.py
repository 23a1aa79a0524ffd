"""Throughput of training steps and evaluation: plain torch, torch.compile, and the fused kernels.

    python benchmarks/fused_step.py --threads 2 --json fused_step.json

All contestants run in one process and take turns, so that other load on the machine meets them
alike; the figures are medians over the rounds, and ratios are medians of the rounds' own ratios.
A turn lasts half a second at least, as a fit does: in a few milliseconds one would measure how
torch's threads go on spinning after their own turn, and caches and clocks that they left.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairfield.fields import DecoderConfig, FieldConfig, HashGridConfig, NeuralField
from fairfield.fused import FusedEvaluator, FusedTrainer, reason_unavailable, warm_up

CONFIGURATIONS = {
    "12 levels, 2^17, 1 x 32": FieldConfig(),
    "16 levels, 2^19, 2 x 64": FieldConfig(
        encoding=HashGridConfig(levels=16, log2_table_size=19, per_level_scale=128.0 ** (1 / 15)),
        decoder=DecoderConfig(width=64, hidden_layers=2),
    ),
}
TRAINING_BATCH = 1 << 14
EVALUATION_BATCH = 1 << 18
TURN = 0.5  # seconds
EVALUATION_CHUNK = 1 << 14  # plain torch is fastest in chunks of about this size
BASELINE = "torch"
RATE = 1e-3

Work = Callable[[], object]


def samples(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points, targets and weights as a fit has them: three quarters near a sphere's surface."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    near = 0.7 * direction + 0.01 * torch.randn(count, 3, generator=generator)
    uniform = torch.rand(count, 3, generator=generator) * 2 - 1
    is_near = torch.rand(count, 1, generator=generator) < 0.75
    points = torch.where(is_near, near, uniform)
    targets = points.norm(dim=1) - 0.7
    return points, targets, 1 / (targets.abs() + 0.01)


def torch_step(module: NeuralField, forward: Callable[[torch.Tensor], torch.Tensor]) -> Work:
    """Return a function that takes one training step with torch's own fused Adam."""
    points, targets, weights = samples(TRAINING_BATCH)
    optimizer = torch.optim.Adam(
        module.parameters(), lr=RATE, betas=(0.9, 0.99), eps=1e-15, fused=True
    )

    def step() -> None:
        loss = (weights * (forward(points)[:, 0] - targets).abs()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def torch_evaluation(forward: Callable[[torch.Tensor], torch.Tensor]) -> Work:
    """Return a function that evaluates the field in chunks."""
    chunks = samples(EVALUATION_BATCH)[0].split(EVALUATION_CHUNK)

    def evaluate() -> None:
        with torch.no_grad():
            for chunk in chunks:
                forward(chunk)

    return evaluate


def contestants(config: FieldConfig, threads: int, compiled: bool) -> dict[str, dict[str, Work]]:
    """Return what to time: for training and for evaluation, functions by contestant."""
    plain, fused = NeuralField(config), NeuralField(config)
    training: dict[str, Work] = {BASELINE: torch_step(plain, plain.correction)}
    evaluation: dict[str, Work] = {BASELINE: torch_evaluation(plain.correction)}
    if compiled:
        module = NeuralField(config)
        forward = torch.compile(module.correction, dynamic=False)
        training["torch.compile"] = torch_step(module, forward)
        evaluation["torch.compile"] = torch_evaluation(forward)
    reason = reason_unavailable(fused)
    if reason is not None:
        raise SystemExit(reason)
    trainer, evaluator = FusedTrainer(fused, threads), FusedEvaluator(fused, threads)
    points, targets, weights = (array.numpy() for array in samples(TRAINING_BATCH))
    many_points = samples(EVALUATION_BATCH)[0].numpy()
    training["fused"] = lambda: trainer.step(points, targets, weights, RATE, RATE, points)
    evaluation["fused"] = lambda: evaluator(many_points)
    return {"training": training, "evaluation": evaluation}


def interleaved_seconds(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Let the functions take turns; return the seconds of a call in each turn, but the first."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            calls, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < TURN:
                work()
                calls += 1
            seconds[name].append(elapsed / calls)
    return {name: values[1:] for name, values in seconds.items()}


def measure(config: FieldConfig, threads: int, rounds: int, compiled: bool) -> dict[str, Any]:
    """Return throughput in million points a second, and its ratio to plain torch."""
    result: dict[str, Any] = {}
    for task, works in contestants(config, threads, compiled).items():
        points = TRAINING_BATCH if task == "training" else EVALUATION_BATCH
        seconds = interleaved_seconds(works, rounds)
        result[task] = {
            name: {
                "million_points_per_second": points / statistics.median(values) / 1e6,
                "ratio": statistics.median(
                    base / value for base, value in zip(seconds[BASELINE], values, strict=True)
                ),
            }
            for name, values in seconds.items()
        }
    return result


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {
        "threads": options.threads,
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "warm_up_seconds": warm_up(options.threads),
        "results": {},
    }
    for name, config in CONFIGURATIONS.items():
        figures = measure(config, options.threads, options.rounds, not options.no_compile)
        report["results"][name] = figures
        print(f"{name}, {options.threads} threads")
        for task, contest in figures.items():
            for contestant, figure in contest.items():
                print(
                    f"  {task:10}  {contestant:13}  "
                    f"{figure['million_points_per_second']:8.2f} M points/s  "
                    f"{figure['ratio']:6.1f} x"
                )
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
