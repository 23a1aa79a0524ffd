"""A fitted field: the network, its place in the mesh's units, and how the fit went."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from .errors import FieldFileError
from .evaluation import Evaluator
from .fields import FieldConfig, NeuralField
from .normalization import Normalization
from .operators.automatic_scale import ScaleMap
from .whole_files import write_whole

FORMAT = "fairfield-field"
FORMAT_VERSION = 1
SCALE_MAP = "scale_map."
"""What the names of the scale map's tensors in a file begin with."""


@dataclass(frozen=True)
class FitReport:
    """How a fit went.

    Attributes
    ----------
    preset, seed, device, steps
        What was asked for, and what was done.
    near_surface_error
        Mean |f - d| over surface samples displaced by N(0, 0.01 half-extent), in half-extents.
    noise
        Standard deviation of the mesh's vertices from the surface smoothed at automatic scale, in
        half-extents.
    seconds
        By stage, in order.
    vertices, triangles
        Of the mesh as given.
    repairs
        What was changed in the copy that was fitted, by kind, with counts.
    warnings
        Sentences for the user.
    finetuning
        A `FinetuneReport` as plain values, if the field was fine-tuned.
    """

    preset: str
    seed: int
    device: str
    steps: int
    near_surface_error: float
    noise: float
    seconds: dict[str, float]
    vertices: int
    triangles: int
    repairs: dict[str, int] = dataclass_field(default_factory=dict)
    warnings: list[str] = dataclass_field(default_factory=list)
    finetuning: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


class Field:
    """A signed distance field in the units of the mesh it was fitted to.

    Call it with (N, 3) points to get (N,) distances, negative inside.
    """

    def __init__(
        self,
        module: NeuralField,
        normalization: Normalization,
        report: FitReport,
        scale_map: ScaleMap,
    ) -> None:
        self.module = module.eval()
        self.scale_map = scale_map
        self.normalization = normalization
        self.report = report
        self._evaluator = Evaluator(self.module)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.module.parameters()).device

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        cube = self.normalization.to_cube(np.asarray(points, dtype=np.float64))
        values = self.evaluate(self.tensor(cube))
        return values.cpu().double().numpy() * self.normalization.unit

    def tensor(self, cube_points: NDArray[np.floating]) -> Tensor:
        """Points of the cube as the network wants them: float32, on its device."""
        return torch.as_tensor(cube_points, dtype=torch.float32, device=self.device)

    def evaluate(self, points: Tensor) -> Tensor:
        """Values (N,) at (N, 3) points, both in units of the cube, without gradients."""
        return self._evaluator.field(points)

    def evaluate_module(self, points: Tensor) -> Tensor:
        """The same, in one pass through torch that autograd can follow."""
        inside = points.clamp(-1, 1)
        # A distance of exactly 0 has no derivative, so only points outside take this branch.
        outside = (points != inside).any(dim=1)
        values = self.module(inside)[:, 0]
        if not bool(outside.any()):
            return values
        gap = torch.where(outside[:, None], points - inside, torch.ones_like(points))
        return values + torch.where(outside, gap.norm(dim=1), torch.zeros_like(values))

    def save(self, path: str | Path) -> None:
        """Write a `.safetensors` file, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written; what was there before is kept.
        """
        metadata = {
            "format": FORMAT,
            "version": str(FORMAT_VERSION),
            "config": json.dumps(self.module.config.to_dict()),
            "normalization": json.dumps(asdict(self.normalization)),
            "report": json.dumps(self.report.to_dict()),
        }
        weights = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in self.module.state_dict().items()
        }
        for name, array in self.scale_map.to_arrays().items():
            weights[SCALE_MAP + name] = torch.from_numpy(array)
        write_whole(Path(path), save_tensors(weights, metadata))


def load(path: str | Path, device: str = "auto") -> Field:
    """Read a field that `Field.save` wrote.

    Raises
    ------
    FieldFileError
        If the file is not a field, is damaged, or was written by a newer version.
    """
    from .devices import choose_device

    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise FieldFileError(f"Cannot read the field {path}: {problem.strerror}.") from None
    try:
        weights = load_tensors(content)
        metadata = _metadata(content)
    except (safetensors.SafetensorError, ValueError) as problem:
        raise FieldFileError(
            f"{path} is not a field, or is damaged ({problem}). Fit the mesh again."
        ) from None
    if metadata.get("format") != FORMAT:
        raise FieldFileError(f"{path} is a safetensors file, but not a Fairfield field.")
    if metadata.get("version") != str(FORMAT_VERSION):
        raise FieldFileError(
            f"{path} has field version {metadata.get('version')}; this Fairfield reads version "
            f"{FORMAT_VERSION}. Update Fairfield, or fit the mesh again."
        )
    try:
        config = FieldConfig.from_dict(json.loads(metadata["config"]))
        values = json.loads(metadata["normalization"])
        x, y, z = (float(coordinate) for coordinate in values["center"])
        normalization = Normalization((x, y, z), float(values["half_extent"]))
        report = FitReport(**json.loads(metadata["report"]))
        scales = [name for name in weights if name.startswith(SCALE_MAP)]
        scale_map = ScaleMap(
            **{name.removeprefix(SCALE_MAP): weights.pop(name).numpy() for name in scales}
        )
        module = NeuralField(config)
        module.load_state_dict(weights)
    except FieldFileError as problem:
        raise FieldFileError(f"{path}: {problem}") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise FieldFileError(
            f"{path} is not a complete field ({_first_line(problem)}). Fit the mesh again."
        ) from None
    return Field(module.to(choose_device(device)), normalization, report, scale_map)


def _metadata(content: bytes) -> dict[str, str]:
    """The string metadata of a safetensors file (8 bytes of length, then a JSON header)."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return dict(metadata)


def _first_line(problem: Exception) -> str:
    return str(problem).strip().split("\n")[0]
