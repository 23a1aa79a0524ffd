"""Hash-grid fields on the CPU, in compiled kernels that do a whole training step at once.

What is trained here is the network, `NeuralField.correction`, around a given coarse base.

Encoding, decoder, backward pass and Adam work on small blocks of points that stay in the
processor's cache, instead of one large array after the other as in plain torch. `fairfield.fields`
is the reference and the fallback: ask `reason_unavailable` first.
"""

from __future__ import annotations

from .availability import (
    reason_base_unavailable,
    reason_not_compiled,
    reason_unavailable,
    warm_up,
)
from .evaluator import FusedBase, FusedEvaluator
from .height_sums import VertexCells
from .patches import fused_blend, fused_jets_in_middles, fused_sums_at_nodes
from .tangent_jets import fused_tangent_jets
from .trainer import FusedTrainer
from .triangle_tree import TriangleTree

__all__ = [
    "FusedBase",
    "FusedEvaluator",
    "FusedTrainer",
    "TriangleTree",
    "VertexCells",
    "fused_blend",
    "fused_jets_in_middles",
    "fused_sums_at_nodes",
    "fused_tangent_jets",
    "reason_base_unavailable",
    "reason_not_compiled",
    "reason_unavailable",
    "warm_up",
]
