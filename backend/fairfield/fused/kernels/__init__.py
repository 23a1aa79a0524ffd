"""The compiled part: numba kernels on blocks of points. Importing this package imports numba.

Conventions shared by all modules here:

- Points are handled in blocks of `BLOCK`, stored feature by feature, (features, BLOCK), so that the
  innermost loop runs over points and fills whole SIMD registers.
- Innermost loops index with unsigned integers only. A signed index makes numba add its wrap-around
  for negative values, which silently keeps LLVM from vectorising the loop. Mixing an unsigned
  64-bit integer with a signed one makes a float in numba, so the constants are unsigned as well.
- Nothing allocates inside a loop, and nothing depends on which thread runs a block.
"""

from __future__ import annotations

from .entry import (
    ENTRY_POINTS as FIELD_ENTRY_POINTS,
)
from .entry import (
    adam_dense,
    backward_groups,
    decode_points,
    encode_levels,
    evaluate_blocks,
    evaluate_lattice_blocks,
    load_points,
    table_gradient,
    train_groups,
    update_levels,
)
from .heights import add_heights
from .nearest import (
    TRIANGLE,
    WIDTH,
    fill_leaves,
    nearest_points,
)
from .options import BLOCK
from .patches import add_patches_to_nodes, blend_patches, jets_in_middles
from .tangent import jets_of_disks

ENTRY_POINTS = (
    *FIELD_ENTRY_POINTS,
    fill_leaves,
    nearest_points,
    jets_of_disks,
    jets_in_middles,
    blend_patches,
    add_patches_to_nodes,
    add_heights,
)

__all__ = [
    "BLOCK",
    "ENTRY_POINTS",
    "TRIANGLE",
    "WIDTH",
    "adam_dense",
    "add_heights",
    "add_patches_to_nodes",
    "backward_groups",
    "blend_patches",
    "decode_points",
    "encode_levels",
    "evaluate_blocks",
    "evaluate_lattice_blocks",
    "fill_leaves",
    "jets_in_middles",
    "jets_of_disks",
    "load_points",
    "nearest_points",
    "table_gradient",
    "train_groups",
    "update_levels",
]
