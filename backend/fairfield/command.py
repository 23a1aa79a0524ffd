"""The `fairfield` command: the same functions as in Python, for files."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .errors import FairfieldError, NotEnoughMemory, SettingError
from .progress import Progress
from .threads import let_threads_sleep, set_thread_count, usable_cores

BAD_INPUT = 2
FAILURE = 1
INTERRUPTED = 130
MOST, CLEAN = 0.5, 3e-4
"""Share of vertices; and noise, in half-extents, below which sharp edges are the shape's."""

QUANTITIES = (
    "value",
    "gradient",
    "hessian",
    "normals",
    "mean_curvature",
    "gaussian_curvature",
    "principal_curvatures",
    "principal_directions",
    "laplacian",
    "shape_index",
    "curvedness",
    "scale",
)
"""Names of the arrays of `query` and `smooth`: the attributes of `fairfield.Jets`."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)
    let_threads_sleep()
    try:
        return options.run(options)
    except NotEnoughMemory as problem:
        return _complain(options.command, str(problem), FAILURE)
    except FairfieldError as problem:
        return _complain(options.command, str(problem), BAD_INPUT)
    except OSError as problem:
        where = f" {problem.filename}" if problem.filename else ""
        return _complain(options.command, f"{problem.strerror or problem}:{where}", FAILURE)
    except KeyboardInterrupt:
        return _complain(options.command, "interrupted", INTERRUPTED)
    except Exception as problem:
        if options.command == "serve" or os.environ.get("FAIRFIELD_DEBUG"):
            raise
        detail = str(problem).split("\n")[0]
        return _complain(
            options.command,
            f"failed: {type(problem).__name__}: {detail} (FAIRFIELD_DEBUG=1 shows where)",
            FAILURE,
        )


def _fit(options: argparse.Namespace) -> int:
    _require_suffix(options.output, (".safetensors",))
    _require_folder(options.output)
    from . import memory
    from .fitting import fit
    from .fused import reason_not_compiled
    from .mesh import TriangleMesh
    from .progress import PREPARING

    start = time.perf_counter()
    mesh = TriangleMesh.load(options.mesh)
    memory.fit_need(mesh, options.preset, options.field).check(memory.available_bytes())
    with _ProgressLine() as progress:
        progress(PREPARING)
        reason_not_compiled()
        field = fit(
            mesh,
            options.preset,
            options.seed,
            device=options.device,
            kind=options.field,
            progress=progress,
        )
    field.save(options.output)
    seconds = time.perf_counter() - start
    report = field.report
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for kind, count in report.repairs.items():
        print(f"note: {kind} in the fitted copy: {count}", file=sys.stderr)
    _report(
        options,
        {**report.to_dict(), "seconds_total": seconds, "output": str(options.output)},
        f"{options.output}: near-surface error {report.near_surface_error:.2e} half-extents, "
        f"{seconds:.1f} s",
    )
    return 0


def _finetune(options: argparse.Namespace) -> int:
    _require_suffix(options.output, (".safetensors",))
    _require_folder(options.output)
    from .field import load
    from .finetuning import finetune
    from .mesh import TriangleMesh

    field = load(options.field, options.device)
    mesh = TriangleMesh.load(options.mesh) if options.mesh else None
    with _ProgressLine() as progress:
        tuned = finetune(field, mesh, scale=options.scale, seed=options.seed, progress=progress)
    tuned.save(options.output)
    report = tuned.report.finetuning
    assert report is not None
    if report["unchanged"]:
        print(
            "note: fine-tuning gained nothing on this field, which is kept as it was",
            file=sys.stderr,
        )
    _report(
        options,
        {**report, "output": str(options.output)},
        f"{options.output}: autodiff's normals are {report['normal_error_after']:.2f} degrees from "
        f"the operator's, {report['normal_error_before']:.2f} before; mean distance to the "
        f"{'mesh' if mesh else 'given field'}'s surface {report['after']['distance_mean']:.2e} "
        f"half-extents, {report['before']['distance_mean']:.2e} before; "
        f"{sum(report['seconds'].values()):.1f} s",
    )
    return 0


def _smooth(options: argparse.Namespace) -> int:
    import numpy as np

    from .mesh_files import check_suffix

    suffix = check_suffix(options.output)
    if suffix not in (".ply", ".npz"):
        raise FairfieldError(f"The output {options.output} must be a .ply or .npz file.")
    _require_folder(options.output)
    if options.output.exists() and options.mesh.exists() and options.output.samefile(options.mesh):
        # What is written has triangles only, and none of the file's own attributes.
        raise FairfieldError(
            f"The output {options.output} is the mesh itself; choose another name."
        )
    from . import memory
    from .field import load
    from .mesh import TriangleMesh
    from .mesh_files import write_mesh
    from .smoothing import smooth
    from .surface_attributes import surface_attributes

    _refuse_scale_without_use(options)
    field = load(options.field, options.device)
    mesh = TriangleMesh.load(options.mesh)
    memory.smooth_need(len(mesh.vertices), of_mesh=True).check(memory.available_bytes())
    with _ProgressLine() as progress:
        jets = smooth(
            field,
            mesh,
            scale=options.scale,
            scale_factor=options.scale_factor,
            operator=options.operator,
            progress=progress,
        )
    if suffix == ".ply":
        write_mesh(
            options.output,
            mesh,
            normals=jets.normals,
            attributes=surface_attributes(jets),
        )
    else:
        arrays = {name: getattr(jets, name) for name in QUANTITIES}
        arrays |= {"deviation": jets.deviation, "foot_points": jets.foot_points}
        write_mesh(options.output, mesh, attributes=arrays)
    own, on_edges = float(jets.from_mesh.mean()), mesh.on_sharp_edges()
    is_of_edges = on_edges.mean() >= MOST and field.report.noise < CLEAN
    _report(
        options,
        {
            "points": len(jets.value),
            "unanswered": jets.unanswered,
            "from_mesh": int(jets.from_mesh.sum()),
            "on_edges": int(on_edges.sum()),
            "median_scale": float(np.median(jets.scale)),
            "output": str(options.output),
        },
        f"{options.output}: {len(jets.value)} vertices, {jets.unanswered} without an answer"
        + (f"; for {own:.0%} the mesh itself was closer than the field" if own else "")
        + ("; most lie on sharp edges: extract shows the faces' curvature" if is_of_edges else ""),
    )
    return 0


def _query(options: argparse.Namespace) -> int:
    _require_suffix(options.output, (".npz",))
    _require_folder(options.output)
    names = _words(options.only) or QUANTITIES
    unknown = [name for name in names if name not in QUANTITIES]
    if unknown:
        raise FairfieldError(
            f"There is no quantity {unknown[0]!r}; choose from {', '.join(QUANTITIES)}."
        )
    import numpy as np

    from .field import load
    from .operators import differentiate
    from .whole_files import write_whole

    try:
        points = np.load(options.points, allow_pickle=False)
    except OSError as problem:
        raise FairfieldError(f"Cannot read {options.points}: {problem.strerror}.") from None
    except (ValueError, EOFError):
        raise FairfieldError(f"{options.points} is damaged or no .npy file.") from None
    if not isinstance(points, np.ndarray):
        raise FairfieldError(f"{options.points} holds several arrays; a .npy file is needed.")
    _refuse_scale_without_use(options)
    field = load(options.field, options.device)
    with _ProgressLine() as progress:
        jets = differentiate(
            field,
            points,
            scale=options.scale,
            scale_factor=options.scale_factor,
            operator=options.operator,
            progress=progress,
        )
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(jets, name) for name in names})
    write_whole(options.output, buffer.getvalue())
    unanswered = int(np.isnan(jets.value).sum())
    _report(
        options,
        {
            "points": len(points),
            "unanswered": unanswered,
            "output": str(options.output),
        },
        f"{options.output}: {len(points)} points, {unanswered} without an answer",
    )
    return 0


def _extract(options: argparse.Namespace) -> int:
    from .mesh_files import check_suffix, write_mesh

    check_suffix(options.output)
    _require_folder(options.output)
    from . import memory
    from .extraction import extract, extract_with_jets
    from .field import load
    from .surface_attributes import surface_attributes

    field = load(options.field, options.device)
    scale = None if options.scale == "none" else options.scale
    if scale is None and options.scale_factor != 1:
        raise SettingError(
            "The raw surface has no scale that a factor could multiply; add --scale auto."
        )
    memory.extract_need(options.resolution).check(memory.available_bytes())
    with _ProgressLine() as progress:
        if options.output.suffix.lower() in (".ply", ".glb", ".npz"):
            mesh, jets = extract_with_jets(
                field, options.resolution, scale, options.scale_factor, progress=progress
            )
            write_mesh(
                options.output,
                mesh,
                normals=jets.normals,
                attributes=surface_attributes(jets),
            )
        else:
            mesh = extract(
                field, options.resolution, scale, options.scale_factor, progress=progress
            )
            write_mesh(options.output, mesh)
    _report(
        options,
        {
            "vertices": len(mesh.vertices),
            "triangles": len(mesh.triangles),
            "output": str(options.output),
        },
        f"{options.output}: {len(mesh.vertices)} vertices, {len(mesh.triangles)} triangles",
    )
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    _require_folder(options.output)
    from .fields import KINDS
    from .study import PARTS, run

    parts = _words(options.only) or PARTS
    start = time.perf_counter()
    with _ProgressLine() as progress:
        whole = run(
            options.data,
            options.output,
            quick=options.quick,
            parts=parts,
            kinds=_words(options.fields) or KINDS,
            pattern=options.shapes,
            draw=not options.no_figures,
            fresh=options.fresh,
            show=lambda text: print(text, file=sys.stderr if options.json else sys.stdout),
            progress=progress,
        )
    seconds = time.perf_counter() - start
    _report(
        options,
        {**whole, "seconds_total": seconds},
        f"{options.output}: everything above as JSON and text, and the figures, in {seconds:.0f} s",
    )
    return 0


def _words(text: str | None) -> list[str]:
    return [] if text is None else [word.strip() for word in text.split(",")]


def _serve(options: argparse.Namespace) -> int:
    # One core stays Blender's, unless there is only one.
    set_thread_count(options.threads or max(1, usable_cores() - 1))
    from .server import serve

    return serve()


def _warm_up(options: argparse.Namespace) -> int:
    set_thread_count(usable_cores())
    from .fused import warm_up

    reason = warm_up(usable_cores())
    if reason is not None:
        return _complain(options.command, reason, FAILURE)
    print("The kernels are compiled for this processor.", file=sys.stderr)
    return 0


class _ProgressLine:
    """Progress on standard error: one line drawn over on a terminal, few plain lines elsewhere."""

    WIDTH = 30
    INTERVAL = {True: 0.1, False: 5.0}

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic() - (0.0 if not self._terminal else 1.0)
        self._drawn = False

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last < self.INTERVAL[self._terminal]:
            return
        self._last = now
        left = f", {progress.seconds_left:.0f} s left" if progress.seconds_left else ""
        loss = f", loss {progress.loss:.4f}" if progress.loss is not None else ""
        error = f", error {progress.error:.1e}" if progress.error is not None else ""
        text = f"{progress.fraction:4.0%} {progress.stage}{loss}{error}{left}"
        if self._terminal:
            done = round(self.WIDTH * progress.fraction)
            bar = "#" * done + "-" * (self.WIDTH - done)
            print(f"\r\x1b[K[{bar}] {text}", end="", file=sys.stderr, flush=True)
            self._drawn = True
        else:
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> _ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fairfield",
        description="Smooth normals and curvature of meshes from neural signed distance fields.",
    )
    parser.add_argument("--version", action="version", version=f"fairfield {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="fit a field to a mesh")
    fit.add_argument("mesh", type=Path, metavar="MESH", help="PLY, OBJ, STL, GLB or .npz")
    fit.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FIELD",
        help=".safetensors file",
    )
    fit.add_argument("--preset", default="standard", help="draft, standard (default) or fine")
    fit.add_argument(
        "--field",
        default="hash-grid",
        help="hash-grid (default), dense-grid, tri-plane or siren",
    )
    fit.add_argument("--seed", type=int, default=0, help="of the samples; 0 by default")
    fit.set_defaults(run=_fit)

    smooth = commands.add_parser("smooth", help="normals and curvature at a mesh's vertices")
    smooth.add_argument("field", type=Path, metavar="FIELD")
    smooth.add_argument("mesh", type=Path, metavar="MESH")
    smooth.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.{ply,npz}")
    smooth.set_defaults(run=_smooth)

    finetune = commands.add_parser(
        "finetune",
        help="give a field derivatives of its own that are close to the operator's (Refine)",
    )
    finetune.add_argument("field", type=Path, metavar="FIELD")
    finetune.add_argument("-o", "--output", type=Path, required=True, metavar="FIELD")
    finetune.add_argument(
        "--mesh",
        type=Path,
        help="what the field was fitted to; the distance to it is measured and kept",
    )
    finetune.add_argument(
        "--scale",
        type=_scale,
        default="auto",
        help='"auto" (default), or a length in mesh units',
    )
    finetune.add_argument("--seed", type=int, default=0, help="of the samples; 0 by default")
    finetune.set_defaults(run=_finetune)

    query = commands.add_parser("query", help="value and derivatives at given points")
    query.add_argument("field", type=Path, metavar="FIELD")
    query.add_argument("points", type=Path, metavar="POINTS.npy", help="(N, 3) array")
    query.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.npz")
    query.add_argument("--only", metavar="NAMES", help=f"some of {', '.join(QUANTITIES)}")
    query.set_defaults(run=_query)

    for command, operator in ((smooth, "polynomial-lattice"), (query, "polynomial")):
        command.add_argument(
            "--scale",
            type=_scale,
            default="auto",
            help='"auto" (default), or a length in mesh units',
        )
        command.add_argument(
            "--operator",
            default=operator,
            help="polynomial, polynomial-volume, polynomial-lattice, polynomial-random, "
            "finite-difference, autodiff or mesh (default: %(default)s)",
        )

    extract = commands.add_parser("extract", help="the field's surface as a triangle mesh")
    extract.add_argument("field", type=Path, metavar="FIELD")
    extract.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="MESH",
        help="PLY, GLB or .npz with normals and curvature, or OBJ or STL without",
    )
    extract.add_argument(
        "--resolution",
        type=int,
        default=256,
        help="cells along the cube, 16 to 1024; 256 by default",
    )
    extract.add_argument(
        "--scale",
        type=_scale,
        default="none",
        help='"none" (default) for the raw field, "auto", or a length in mesh units',
    )
    extract.set_defaults(run=_extract)

    evaluate = commands.add_parser(
        "evaluate", help="measure every field and operator on shapes with exact truth"
    )
    evaluate.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("FAIRFIELD_SHARED") or "../shared") / "data" / "analytic",
        help="folder of the shapes' .npz files (default: data/analytic in FAIRFIELD_SHARED)",
    )
    evaluate.add_argument("-o", "--output", type=Path, default=Path("evaluation"), metavar="FOLDER")
    evaluate.add_argument("--quick", action="store_true", help="clean shapes, preset draft")
    evaluate.add_argument(
        "--only", metavar="PARTS", help="some of operators, scales, weights, spectrum, circle"
    )
    evaluate.add_argument("--fields", metavar="KINDS", help="some of the kinds of field")
    evaluate.add_argument("--shapes", metavar="PATTERN", help='which shapes, such as "torus_*"')
    evaluate.add_argument("--no-figures", action="store_true", help="do without matplotlib")
    evaluate.add_argument(
        "--fresh", action="store_true", help="begin anew where a run was cut short"
    )
    evaluate.add_argument("--json", action="store_true", help="report on standard output")
    evaluate.set_defaults(run=_evaluate)

    for command in (smooth, query, extract):
        command.add_argument(
            "--scale-factor",
            type=float,
            default=1.0,
            metavar="F",
            help="multiplies the scale; above 1 is smoother",
        )

    serve = commands.add_parser("serve", help="serve frames on standard input and output")
    serve.add_argument("--threads", type=int, default=0, help="default: all cores but one")
    serve.set_defaults(run=_serve)

    warm_up = commands.add_parser("warm-up", help="compile for this processor ahead of use")
    warm_up.set_defaults(run=_warm_up)

    for command in (fit, finetune, smooth, query, extract):
        command.add_argument("--device", default="auto", help="auto (default), cuda, mps or cpu")
        command.add_argument("--json", action="store_true", help="report on standard output")
    return parser


def _scale(text: str) -> float | str:
    if text in ("auto", "none"):
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a length nor a word for one"
        ) from None


def _refuse_scale_without_use(options: argparse.Namespace) -> None:
    from .operators.differentiation import WITHOUT_SCALE

    if options.operator in WITHOUT_SCALE and (options.scale, options.scale_factor) != ("auto", 1):
        raise SettingError(
            f"The operator {options.operator!r} has no scale; leave out --scale and --scale-factor."
        )


def _require_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise FairfieldError(f"The output {path} must be a {' or '.join(suffixes)} file.")


def _require_folder(path: Path) -> None:
    """Refuse an output that cannot be written before the work, not after it."""
    if not path.parent.is_dir():
        raise FairfieldError(f"The folder {path.parent} of the output does not exist.")
    if not os.access(path.parent, os.W_OK):
        raise FairfieldError(f"The folder {path.parent} of the output is not writable.")


def _report(options: argparse.Namespace, values: dict[str, Any], sentence: str) -> None:
    """The result: for a program on standard output, for a person on standard error."""
    if options.json:
        print(json.dumps(values))
    else:
        print(sentence, file=sys.stderr)


def _complain(command: str, message: str, code: int) -> int:
    line = " ".join(message.split())
    print(f"fairfield {command}: {line}", file=sys.stderr)
    return code
