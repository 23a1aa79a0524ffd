"""Whether the fused kernels can be used for a field on this machine, and compiling them ahead."""

from __future__ import annotations

import functools

import numpy as np
import torch

from ..fields.coarse_grid import SUPPORT
from ..fields.decoder import DecoderConfig
from ..fields.hash_grid import MAX_LEVELS, HashGridConfig
from ..fields.neural_field import FieldConfig, NeuralField
from .evaluator import FusedEvaluator
from .height_sums import VertexCells
from .layout import TILE, BlendedJets, BlendedPatches, DiskArrays, Disks, PatchArrays, hash_grid
from .loading import KernelsUnavailableError, keep_compiled, load_kernels, stop_caching
from .patches import fused_blend, fused_jets_in_middles, fused_sums_at_nodes
from .tangent_jets import fused_tangent_jets
from .trainer import FusedTrainer
from .triangle_tree import TriangleTree


def reason_unavailable(module: NeuralField) -> str | None:
    """Return why the fused kernels cannot be used for a field, as one sentence, or None."""
    reason = _unsupported(module)
    return reason_not_compiled() if reason is None else reason


def reason_base_unavailable(module: NeuralField) -> str | None:
    """Return why the kernels cannot evaluate a field's base, whatever its kind, or None."""
    values = module.base.values
    if values.device.type != "cpu" or values.dtype != torch.float32 or values.ndim != 3:
        return "The kernels need a base in space, in float32 on the CPU."
    return reason_not_compiled()


def warm_up(threads: int) -> str | None:
    """Compile all kernels, or load them from the cache, and start the threads.

    Returns why they cannot be used on this machine, as one sentence, or None. Fields are fitted
    with plain torch then.
    """
    reason = reason_not_compiled()
    if reason is None:
        _rehearse(threads)
    return reason


def _unsupported(module: NeuralField) -> str | None:
    encoding, decoder = module.config.encoding, module.config.decoder
    if not isinstance(encoding, HashGridConfig):
        return f"The field is a {module.config.kind}; the fused kernels need a grid."
    parameter = hash_grid(module).table
    if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
        return (
            f"The field is {parameter.dtype} on {parameter.device}; "
            "the fused kernels need float32 on the CPU."
        )
    if encoding.dimension != 3 or encoding.features != 2:
        return (
            f"The field is a {encoding.dimension}D {module.config.kind} with {encoding.features} "
            "features a level; the fused kernels need a 3D grid with 2."
        )
    if decoder.width % TILE or decoder.hidden_layers not in (1, 2) or decoder.channels != 1:
        return (
            f"The decoder has {decoder.hidden_layers} hidden layers of {decoder.width} and "
            f"{decoder.channels} channels; the fused kernels need 1 or 2 layers, a width that is a "
            f"multiple of {TILE}, and 1 channel."
        )
    return None


@functools.cache
def reason_not_compiled() -> str | None:
    """Return why the kernels cannot be used at all on this machine, or None."""
    try:
        load_kernels()
        try:
            _rehearse(threads=1)
        except Exception:  # a full disk or a damaged cache can raise anything: do without
            stop_caching()
            _rehearse(threads=1)
        keep_compiled()
    except KernelsUnavailableError as problem:
        return str(problem)
    except Exception as problem:
        return f"The fused kernels cannot be compiled on this machine: {problem}"
    return None


def _rehearse(threads: int) -> None:
    """Use every kernel once on something tiny, which compiles it or loads it from the cache."""
    state = torch.get_rng_state()
    try:
        module = NeuralField(
            FieldConfig(
                encoding=HashGridConfig(levels=min(threads, MAX_LEVELS)),
                decoder=DecoderConfig(width=TILE),
                base_resolution=SUPPORT,
            )
        )
    finally:
        torch.set_rng_state(state)
    points = np.zeros((1, 3), np.float32)
    ones = np.ones(1, np.float32)
    FusedEvaluator(module, threads).field_values(points)
    trainer = FusedTrainer(module, threads)
    trainer.gradients(points, ones, ones)
    trainer.step(points, ones, ones, 0.0, 0.0)
    trainer.step_on(points, lambda values: (0.0, values), 0.0, 0.0)
    TriangleTree(np.eye(3), np.array([[0, 1, 2]], np.int32), threads).nearest(np.zeros((1, 3)))
    one = np.ones(1)
    disk = DiskArrays(np.ones((8, 1)), np.ones((8, 1)), np.ones((4, 1)), np.ones((1, 2)), 1, 1.0)
    fused_tangent_jets(np.ones((1, 1)), np.eye(3)[None], one, one, disk, threads)
    frame = np.eye(3)[None]
    patch = PatchArrays(frame, np.zeros((1, 15)), one, np.zeros((1, 2, 2)), one, one, 1.0)
    patches = BlendedPatches(np.zeros((1, 3)), one, one, patch, patch, np.zeros(1, np.bool_))
    nearest = np.zeros((1, 1), np.intp)
    fused_blend(0, frame[0, :1], nearest, one[:, None], patches, 0.0, BlendedJets.empty(1))
    jets = fused_jets_in_middles(patch, threads)
    rows = np.zeros((1, 1, 1), np.int32)
    fused_sums_at_nodes(range(1), rows, 1.0, 1.0, patches, jets, one, np.zeros((1, 4)), threads)
    disks = Disks(np.zeros((1, 3)), one, frame, np.zeros((1, 2, 2)))
    VertexCells(frame[0], frame[0]).height_sums(disks, 1.0, 0.0, threads)
