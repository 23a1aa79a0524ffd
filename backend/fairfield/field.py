"""A fitted field: the network, its place in the mesh's units, and how the fit went."""

from __future__ import annotations

import copy
import json
import math
import stat
from dataclasses import asdict, dataclass
from dataclasses import field as dataclass_field
from dataclasses import fields as dataclass_fields
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from .creases import MOST_LENGTH, Creases
from .errors import FieldFileError, MeshError
from .evaluation import Evaluator
from .fields import FieldConfig, NeuralField
from .normalization import Normalization
from .operators.automatic_scale import DENSE, LADDER, SPARSE, ScaleMap
from .operators.differentiation import as_points
from .operators.mesh_based import ExtractedSurface
from .schema import SchemaError, build, parse
from .whole_files import write_whole

SUFFIX = ".safetensors"
FORMAT = "fairfield-field"
FORMAT_VERSION = 1
MAX_FILE_BYTES = 4 << 30
"""No file is read that is larger; a field of the standard preset takes about 10 MB."""
SCALE_MAP = "scale_map."
"""What the names of the scale map's tensors in a file begin with."""
MAX_PROBES = 1 << 16
BEYOND_RIM = "beyond_rim"
CREASES = "creases"


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
        Standard deviation of the mesh's vertices, but for those without others around, from the
        surface smoothed at automatic scale, in half-extents.
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

    Call it with (N, 3) points to get (N,) distances, negative inside; it raises SettingError for
    what is no such table of numbers.

    Attributes
    ----------
    beyond_rim
        Of an open sheet: (n, n, n) how far beyond the sheet's rim the nodes of a lattice over the
        cube are, in units of the cube; negative within. The zero set goes on beyond it, the surface
        does not.
    creases
        Sharp edges of the mesh, if it has any.
    """

    def __init__(
        self,
        module: NeuralField,
        normalization: Normalization,
        report: FitReport,
        scale_map: ScaleMap,
        beyond_rim: NDArray[np.float32] | None = None,
        creases: Creases | None = None,
    ) -> None:
        self.module = module.eval()
        self.scale_map = scale_map
        self.beyond_rim = beyond_rim
        self.creases = creases
        self.normalization = normalization
        self.report = report
        self.evaluator = Evaluator(self.module)

    def with_module(self, module: NeuralField) -> Field:
        """Another network in the same place, for the same mesh."""
        return Field(
            module,
            self.normalization,
            self.report,
            self.scale_map,
            self.beyond_rim,
            self.creases,
        )

    def with_evaluator(self, evaluator: Evaluator) -> Field:
        """The same field, evaluated otherwise, such as by one thread."""
        field = copy.copy(self)
        field.evaluator = evaluator
        return field

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.module.parameters()).device

    @property
    def nbytes(self) -> int:
        """Bytes that the network's weights and the base take."""
        return sum(tensor.nbytes for tensor in self.module.state_dict().values())

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        cube = self.normalization.to_cube(as_points(points))
        values = self.evaluate(self.tensor(cube))
        return values.cpu().double().numpy() * self.normalization.unit

    def tensor(self, cube_points: NDArray[np.floating]) -> Tensor:
        """Points of the cube as the network wants them: float32, on its device."""
        return torch.as_tensor(cube_points, dtype=torch.float32, device=self.device)

    def evaluate(self, points: Tensor) -> Tensor:
        """Values (N,) at (N, 3) points, both in units of the cube, without gradients."""
        return self.evaluator.field(points)

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

    @cached_property
    def extracted_surface(self) -> ExtractedSurface:
        """The mesh of its zero set, for the mesh-based operator."""
        return ExtractedSurface.of(self)

    def save(self, path: str | Path) -> None:
        """Write a `.safetensors` file, whole or not at all.

        Raises
        ------
        FieldFileError
            If the path has another suffix, as that of a mesh.
        OSError
            If the file cannot be written; what was there before is kept.
        """
        if Path(path).suffix.lower() != SUFFIX:
            raise FieldFileError(
                f"{path}: a field's file must be a {SUFFIX} file. A mesh is extracted from it."
            )
        weights = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in self.module.state_dict().items()
        }
        for name, array in self.scale_map.to_arrays().items():
            weights[SCALE_MAP + name] = torch.from_numpy(array)
        if self.beyond_rim is not None:
            weights[BEYOND_RIM] = torch.from_numpy(self.beyond_rim)
        if self.creases is not None:
            weights[CREASES] = torch.from_numpy(self.creases.segments)
        metadata = {
            "format": FORMAT,
            "version": str(FORMAT_VERSION),
            "config": json.dumps(self.module.config.to_dict()),
            "normalization": json.dumps(asdict(self.normalization)),
            "report": json.dumps(self.report.to_dict()),
        }
        metadata["checksum"] = checksum(metadata, weights)
        write_whole(Path(path), save_tensors(weights, metadata))


def load(path: str | Path, device: str = "auto") -> Field:
    """Read a field that `Field.save` wrote.

    Nothing in the file is taken on trust: its length, its description, and that the tensors are
    those of the described network are checked before anything is made of them, and no more memory
    is taken than twice the file's length.

    Raises
    ------
    FieldFileError
        If the file is not a field, is damaged, or was written by a newer version.
    """
    from .devices import choose_device

    path = Path(path)
    content = _read(path)
    try:
        weights = load_tensors(content)
        metadata = _metadata(content)
    except (safetensors.SafetensorError, ValueError, KeyError, AttributeError) as problem:
        raise FieldFileError(
            f"{path} is not a field, or is damaged ({_first_line(problem)}). Fit the mesh again."
        ) from None
    if metadata.get("format") != FORMAT:
        raise FieldFileError(f"{path} is a safetensors file, but not a Fairfield field.")
    if metadata.get("version") != str(FORMAT_VERSION):
        raise FieldFileError(
            f"{path} has field version {str(metadata.get('version'))[:100]}; this Fairfield reads "
            f"version {FORMAT_VERSION}. Update Fairfield, or fit the mesh again."
        )
    if metadata.pop("checksum", None) != checksum(metadata, weights):
        raise FieldFileError(
            f"{path} is damaged: its content does not match its checksum. Fit the mesh again."
        )
    try:
        config = FieldConfig.from_dict(parse(metadata["config"]))
        normalization = build(Normalization, parse(metadata["normalization"]))
        report = build(FitReport, parse(metadata["report"]))
        scales = {
            name.removeprefix(SCALE_MAP): weights.pop(name)
            for name in sorted(weights)
            if name.startswith(SCALE_MAP)
        }
        scale_map = _new_scale_map(scales)
        beyond_rim = _new_beyond_rim(weights.pop(BEYOND_RIM, None))
        creases = _new_creases(weights.pop(CREASES, None))
        module = _new_module(config, weights)
    except FieldFileError as problem:
        raise FieldFileError(f"{path}: {problem}") from None
    except (KeyError, SchemaError, MeshError) as problem:
        raise FieldFileError(
            f"{path} is not a complete field ({_first_line(problem)}). Fit the mesh again."
        ) from None
    module = module.to(choose_device(device))
    return Field(module, normalization, report, scale_map, beyond_rim, creases)


def checksum(metadata: dict[str, str], weights: dict[str, Tensor]) -> str:
    """Return the fingerprint of a field's content: 32 hexadecimal digits.

    It is for damage: a disk or a transfer that changed a byte. Whoever changes a file on purpose
    can compute it too.
    """
    digest = blake2b(digest_size=16)
    for name, text in sorted(metadata.items()):
        digest.update(json.dumps([name, text]).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    """The content of a regular file of a field's size."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FieldFileError(f"{path} is not a file. Choose a {SUFFIX} file.")
        if status.st_size > MAX_FILE_BYTES:
            raise FieldFileError(
                f"{path} is not a field: it has {status.st_size / 1e9:.1f} GB, and no field has "
                f"more than {MAX_FILE_BYTES / 1e9:.1f} GB."
            )
        return path.read_bytes()
    except FieldFileError:
        raise
    except (OSError, ValueError) as problem:  # ValueError: a name with a null character
        reason = getattr(problem, "strerror", None) or problem
        raise FieldFileError(f"Cannot read the field {path}: {reason}.") from None


def _new_scale_map(tensors: dict[str, Tensor]) -> ScaleMap:
    """The scale map of its tensors, which must be those that a fit gives.

    The stencils that its numbers choose take memory: none is believed that a fit cannot have.
    """
    probes = len(tensors.get("points", ()))
    single, per_probe, vectors = (1,), (probes,), (probes, 3)
    shapes = {
        "points": vectors,
        "normals": vectors,
        "turn": vectors,
        "bend": (probes, 3, 3),
        "noise": single,
        "spacing": single,
    }
    expected = {
        each.name: (shapes.get(each.name, per_probe), torch.float32)
        for each in dataclass_fields(ScaleMap)
    }
    found = {name: (tuple(each.shape), each.dtype) for name, each in tensors.items()}
    if found != expected or not 0 < probes <= MAX_PROBES:
        raise FieldFileError("The field's scale map is not complete. Fit the mesh again.")
    scale_map = ScaleMap(**{name: each.numpy() for name, each in tensors.items()})
    limits = {
        "normal_scale": (LADDER[0], LADDER[-1]),
        "curvature_scale": (LADDER[0], LADDER[-1]),
        "normal_share": (0.0, 1.0),
        "curvature_share": (0.0, 1.0),
        "spacing": (DENSE, SPARSE),
    }
    for name, array in scale_map.to_arrays().items():
        low, high = limits.get(name, (-math.inf, math.inf))
        if not np.isfinite(array).all() or array.min() < 0.99 * low or array.max() > 1.01 * high:
            raise FieldFileError(
                f"The field's scale map has numbers in {name!r} that no fit gives. Fit the mesh "
                "again."
            )
    return scale_map


def _new_beyond_rim(tensor: Tensor | None) -> NDArray[np.float32] | None:
    """The lattice that tells where an open sheet ends, if the file has one."""
    if tensor is None:
        return None
    if not (
        tensor.dim() == 3
        and len(set(tensor.shape)) == 1
        and len(tensor) > 1
        and tensor.dtype == torch.float32
        and bool(tensor.isfinite().all())
    ):
        raise FieldFileError("The field's rim is not one that a fit gives. Fit the mesh again.")
    return tensor.numpy()


def _new_creases(tensor: Tensor | None) -> Creases | None:
    """The sharp edges of the mesh, if the file has any.

    The places that they are found by take memory: they cannot be longer than those of a fit.
    """
    if tensor is None:
        return None
    if not (
        tensor.dim() == 3
        and tensor.shape[1:] == (4, 3)
        and len(tensor) > 0
        and tensor.dtype == torch.float32
        and bool((tensor.abs() <= 1.01).all())
        and bool(((tensor[:, 2:].norm(dim=2) - 1).abs() < 0.01).all())
        and float((tensor[:, 1] - tensor[:, 0]).norm(dim=1).sum()) <= 1.01 * MOST_LENGTH
    ):
        raise FieldFileError("The field's creases are none that a fit gives. Fit the mesh again.")
    return Creases(tensor.numpy())


def _new_module(config: FieldConfig, weights: dict[str, Tensor]) -> NeuralField:
    """The network of a configuration with the given weights, which must be those that it has.

    It is first made without memory, so that a configuration of gigabytes costs nothing.
    """
    if config.encoding.dimension != 3 or config.decoder.channels != 1:
        raise FieldFileError(
            f"The field maps {config.encoding.dimension} coordinates to {config.decoder.channels} "
            "values; it must map 3 to 1. Fit the mesh again."
        )
    with torch.device("meta"):
        module = NeuralField(config)
    expected = {name: (each.shape, each.dtype) for name, each in module.state_dict().items()}
    found = {name: (each.shape, each.dtype) for name, each in weights.items()}
    if found != expected:
        names = sorted(expected.keys() ^ found.keys()) or [
            name for name in sorted(expected) if expected[name] != found[name]
        ]
        raise FieldFileError(
            f"The file does not hold the weights of its network ({names[0][:100]!r} differs). "
            "Fit the mesh again."
        )
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise FieldFileError("The field's weights are not finite numbers. Fit the mesh again.")
    module.load_state_dict(weights, assign=True)
    return module


def _metadata(content: bytes) -> dict[str, str]:
    """The string metadata of a safetensors file (8 bytes of length, then a JSON header)."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return dict(metadata)


def _first_line(problem: Exception) -> str:
    return str(problem).strip().split("\n")[0]
