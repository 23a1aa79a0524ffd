"""When memory runs out: smaller parts with the same result, then one clear sentence."""

from __future__ import annotations

import fairfield
import numpy as np
import pytest
import torch
from fairfield.distance import SignedDistance
from fairfield.errors import OutOfMemoryError
from fairfield.evaluation import Evaluator
from fairfield.fields import DecoderConfig, FieldConfig, NeuralField, SirenConfig
from fairfield.training import TorchTrainer
from shapes import icosphere

FAILURES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]
CONFIG = FieldConfig("siren", SirenConfig(width=32), DecoderConfig(hidden_layers=0), 8)


def _module() -> NeuralField:
    torch.manual_seed(0)
    return NeuralField(CONFIG)


def _batch() -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, (5000, 3)).astype(np.float32)
    values, weights = random.uniform(0.5, 1, (2, 5000)).astype(np.float32)
    return points, values, weights


def _fail_above(monkeypatch: pytest.MonkeyPatch, rows: int, failure: Exception) -> None:
    correction = NeuralField.correction

    def limited(self: NeuralField, points: torch.Tensor) -> torch.Tensor:
        if len(points) > rows:
            raise failure
        return correction(self, points)

    monkeypatch.setattr(NeuralField, "correction", limited)


@pytest.mark.parametrize("failure", FAILURES, ids=["cuda", "cpu", "python"])
def test_a_step_in_parts_is_the_same_step(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = _module(), _module()
    losses = [TorchTrainer(whole).step(*_batch(), 1e-3, 1e-3)]
    points = torch.from_numpy(_batch()[0])
    values = Evaluator(whole).field(points)
    _fail_above(monkeypatch, 700, failure)
    trainer = TorchTrainer(parts)
    losses.append(trainer.step(*_batch(), 1e-3, 1e-3))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(Evaluator(parts).field(points), values, rtol=0, atol=1e-4)


def test_another_failure_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_above(monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        TorchTrainer(_module()).step(*_batch(), 1e-3, 1e-3)


def test_a_fit_without_memory_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = fairfield.TriangleMesh(*icosphere(subdivisions=2))
    _fail_above(monkeypatch, 0, FAILURES[0])
    with pytest.raises(OutOfMemoryError, match="draft") as refusal:
        fairfield.fit(mesh, "draft", kind="siren")
    assert "\n" not in str(refusal.value)


def test_distances_without_memory_end_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(SignedDistance, "nearest", fail)
    mesh = fairfield.TriangleMesh(*icosphere(subdivisions=2))
    with pytest.raises(OutOfMemoryError, match=r"fit 320 triangles.*decimate"):
        fairfield.fit(mesh, "draft")
