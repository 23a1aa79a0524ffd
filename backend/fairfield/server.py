"""The backend process: frames on standard input and output, jobs one after another.

A thin skin over the same functions that the command and a script call. The reader thread answers
what can be answered at once (`hello`, `ping`, `cancel`, `release`); everything else is queued for
the main thread. The end of standard input is the end of the process, so the backend dies with its
parent.
"""

from __future__ import annotations

import logging
import os
import platform
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__, memory, wire
from .child_process import give_way_to_parent
from .errors import Cancelled, FairfieldError, NotEnoughMemory
from .extraction import extract_with_jets, sharp_edges
from .field import Field, load
from .finetuning import finetune
from .fitting import fit
from .fused import warm_up
from .kept_fields import KeptFields
from .mesh import TriangleMesh
from .operators.differentiation import BY_PATCHES
from .progress import PREPARING, Progress, ProgressCallback
from .smoothing import smooth
from .surface_attributes import surface_attributes
from .threads import thread_count

log = logging.getLogger("fairfield.server")

READ_BYTES = 1 << 20
PROGRESS_INTERVAL = 0.1
"""Seconds between progress notifications of one job."""
GRACE_SECONDS = 2.0
"""What a job gets to notice that the parent has gone."""
MAX_PENDING = 64
"""Jobs that may wait or run at a time; each may hold a mesh."""

Arrays = Mapping[str, NDArray]
Answer = tuple[dict[str, Any], dict[str, NDArray]]
Job = Callable[["Parameters", Arrays, ProgressCallback], Answer]


class RefusedRequest(Exception):
    """A request that cannot be carried out; code and sentence go back to the client."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Parameters:
    """The parameters of one request, checked as they are taken."""

    def __init__(self, method: str, values: object) -> None:
        if not isinstance(values, dict):
            raise RefusedRequest(wire.INVALID_PARAMS, f"{method}: 'params' is not an object.")
        self._method = method
        self._values = values

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        return self._take(name, (str,), default)

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number."""
        return self._take(name, (int,), default)

    def number(self, name: str, default: float | None = None) -> float:
        """A number, whole or not."""
        return self._take(name, (int, float), default)

    def scale(self, default: float | str | None) -> float | str | None:
        """A length, "auto", or null where that is the default."""
        if self._values.get("scale", default) is None and default is None:
            return None
        return self._take("scale", (int, float, str), default)

    def _take(self, name: str, types: tuple[type, ...], default: Any) -> Any:
        value = self._values.get(name, default)
        if type(value) not in types:
            expected = " or ".join(kind.__name__ for kind in types)
            raise RefusedRequest(
                wire.INVALID_PARAMS,
                f"{self._method}: {name!r} is {value!r}; expected {expected}.",
            )
        return value


class Server:
    """Fields by key, and the methods that a client may call.

    Parameters
    ----------
    read
        Blocks until bytes arrive; returns nothing at the end of the stream.
    write
        Sends all the bytes it is given.
    """

    def __init__(
        self, read: Callable[[], bytes], write: Callable[[bytes | memoryview], None]
    ) -> None:
        self._read = read
        self._write = write
        self._writing = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[wire.Frame, threading.Event] | None] = (
            queue.SimpleQueue()
        )
        # How to cancel the requests that are queued or running, and which of them have begun.
        self._pending: dict[int, threading.Event] = {}
        self._begun: set[int] = set()
        self._changing = threading.Lock()
        self._fields = KeptFields()
        self._warm = False
        self._at_once: dict[str, Callable[[Parameters], dict[str, Any]]] = {
            "hello": self._hello,
            "ping": self._ping,
            "cancel": self._cancel,
            "release": self._release,
            "shutdown": self._shutdown,
        }
        self._jobs: dict[str, Job] = {
            "fit": self._fit,
            "finetune": self._finetune,
            "smooth": self._smooth,
            "extract": self._extract,
            "load": self._load,
            "save": self._save,
        }

    def run(self) -> None:
        """Serve until the client says goodbye or is gone."""
        self._write(wire.MAGIC)
        threading.Thread(target=self._read_frames, daemon=True).start()
        # Takes many seconds the first time on a machine, and half a second later.
        reason = warm_up(thread_count())
        if reason is not None:
            log.warning("Fits take longer here: %s", reason)
        self._warm = True
        while (entry := self._queue.get()) is not None:
            self._run_job(*entry)
            del entry  # it holds a whole mesh

    def _read_frames(self) -> None:
        reader = wire.FrameReader(expect_magic=False)
        try:
            while data := self._read():
                for frame in reader.feed(data):
                    self._accept(frame)
        except wire.WireError as problem:
            log.error("The client sent what is not a frame: %s", problem)
        finally:
            self._end()

    def _end(self) -> None:
        """Stop the running job, and the process if the job does not notice."""
        self._queue.put(None)
        for cancelled in list(self._pending.values()):
            cancelled.set()
        time.sleep(GRACE_SECONDS)
        os._exit(0)

    def _accept(self, frame: wire.Frame) -> None:
        """Answer a request or queue it; runs in the reader thread."""
        identifier = frame.header.get("id")
        method = frame.header.get("method")
        if type(identifier) is not int or not isinstance(method, str):
            self._send(
                wire.error(
                    None,
                    wire.INVALID_REQUEST,
                    "A request needs an 'id' and a 'method'.",
                )
            )
        elif method in self._jobs:
            self._enqueue(identifier, frame)
        elif method in self._at_once:
            try:
                result = self._at_once[method](Parameters(method, frame.header.get("params", {})))
                self._send(wire.response(identifier, result))
            except RefusedRequest as problem:
                self._send(wire.error(identifier, problem.code, str(problem)))
        else:
            self._send(
                wire.error(identifier, wire.UNKNOWN_METHOD, f"There is no method {method!r}.")
            )

    def _enqueue(self, identifier: int, frame: wire.Frame) -> None:
        with self._changing:
            taken, full = identifier in self._pending, len(self._pending) >= MAX_PENDING
            if not taken and not full:
                self._pending[identifier] = threading.Event()
        if taken:
            # An answer with this number would be taken for that of the other request.
            refusal = f"A request with 'id' {identifier} is still under way; give each its own."
            self._send(wire.error(None, wire.INVALID_REQUEST, refusal))
        elif full:
            refusal = f"{MAX_PENDING} requests are under way, which is the limit; wait for answers."
            self._send(wire.error(identifier, wire.INVALID_REQUEST, refusal))
        else:
            self._queue.put((frame, self._pending[identifier]))
            if not self._warm:
                self._report(identifier, PREPARING)

    def _run_job(self, frame: wire.Frame, cancelled: threading.Event) -> None:
        identifier, method = frame.header["id"], frame.header["method"]
        with self._changing:
            if cancelled.is_set():
                return  # answered by `_cancel`
            self._begun.add(identifier)
        last_report = 0.0

        def report(progress: Progress) -> None:
            nonlocal last_report
            if cancelled.is_set():
                raise Cancelled("Cancelled.")
            now = time.monotonic()
            if now - last_report >= PROGRESS_INTERVAL:
                last_report = now
                self._report(identifier, progress)

        try:
            parameters = Parameters(method, frame.header.get("params", {}))
            report(Progress(0.0, "Starting"))
            result, arrays = self._jobs[method](parameters, frame.arrays, report)
            answer = wire.encode(wire.response(identifier, result, arrays))
        except Exception as problem:
            answer = wire.encode(_refusal(identifier, method, problem))
        with self._changing:
            self._pending.pop(identifier, None)
            self._begun.discard(identifier)
        self._send_pieces(answer)

    def _report(self, identifier: int, progress: Progress) -> None:
        self._send(wire.notification("progress", {"id": identifier, **_finite(asdict(progress))}))

    def _send(self, frame: wire.Frame) -> None:
        self._send_pieces(wire.encode(frame))

    def _send_pieces(self, pieces: list[bytes | memoryview]) -> None:
        with self._writing:
            for piece in pieces:
                self._write(piece)

    # What is answered at once.

    def _hello(self, parameters: Parameters) -> dict[str, Any]:
        protocol = parameters.integer("protocol")
        if protocol != wire.PROTOCOL_VERSION:
            raise RefusedRequest(
                wire.VERSION_MISMATCH,
                f"The backend is Fairfield {__version__} with protocol {wire.PROTOCOL_VERSION}; "
                f"the extension speaks protocol {protocol}. Install the same version of both.",
            )
        import torch

        from .devices import available_devices

        log.info("Serving %s", parameters.text("client", "a client"))
        return {
            "protocol": wire.PROTOCOL_VERSION,
            "version": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "devices": available_devices(),
            "threads": thread_count(),
            "pid": os.getpid(),
        }

    def _ping(self, parameters: Parameters) -> dict[str, Any]:
        return {}

    def _cancel(self, parameters: Parameters) -> dict[str, Any]:
        identifier = parameters.integer("id")
        with self._changing:
            cancelled = self._pending.get(identifier)
            if cancelled is None:
                return {"found": False}
            cancelled.set()
            queued = identifier not in self._begun
            if queued:
                del self._pending[identifier]
        if queued:  # the job thread may be busy for a while with another one
            self._send(wire.error(identifier, wire.CANCELLED, "Cancelled."))
        return {"found": True}

    def _release(self, parameters: Parameters) -> dict[str, Any]:
        return {"found": self._fields.release(parameters.text("field"))}

    def _shutdown(self, parameters: Parameters) -> dict[str, Any]:
        # The client closes the stream when it has this answer; the reader ends then.
        self._queue.put(None)
        for cancelled in list(self._pending.values()):
            cancelled.set()
        return {}

    # Jobs.

    def _fit(self, parameters: Parameters, arrays: Arrays, progress: ProgressCallback) -> Answer:
        key = parameters.text("field")
        mesh = TriangleMesh(_table(arrays, "vertices"), _table(arrays, "triangles"))
        preset = parameters.text("preset", "standard")
        kind = parameters.text("kind", "hash-grid")
        self._make_room(memory.fit_need(mesh, preset, kind))
        field = fit(
            mesh,
            preset,
            parameters.integer("seed", 0),
            device=parameters.text("device", "auto"),
            kind=kind,
            progress=progress,
        )
        self._fields.keep(key, field)
        return _described(key, field), {}

    def _finetune(
        self, parameters: Parameters, arrays: Arrays, progress: ProgressCallback
    ) -> Answer:
        mesh = None
        if "vertices" in arrays:
            mesh = TriangleMesh(_table(arrays, "vertices"), _table(arrays, "triangles"))
        key = parameters.text("tuned_field")
        field = finetune(
            self._field(parameters),
            mesh,
            scale=parameters.scale("auto") or "auto",
            seed=parameters.integer("seed", 0),
            progress=progress,
        )
        self._fields.keep(key, field)
        return _described(key, field), {}

    def _smooth(self, parameters: Parameters, arrays: Arrays, progress: ProgressCallback) -> Answer:
        field = self._field(parameters)
        points = _table(arrays, "points")
        # With triangles the points are a mesh's vertices, and the mesh has a say.
        is_mesh = "triangles" in arrays
        self._make_room(memory.smooth_need(len(points), is_mesh))
        mesh = TriangleMesh(points, arrays["triangles"]) if is_mesh else None
        jets = smooth(
            field,
            points if mesh is None else mesh,
            scale=parameters.scale("auto") or "auto",
            scale_factor=parameters.number("scale_factor", 1.0),
            operator=parameters.text("operator", BY_PATCHES),
            progress=progress,
        )
        scale = float(np.median(jets.scale)) if len(jets.scale) else 0.0
        result = {
            "unanswered": jets.unanswered,
            "scale": scale,
            "from_mesh": int(jets.from_mesh.sum()),
            "on_edges": 0 if mesh is None else int(mesh.on_sharp_edges().sum()),
        }
        return result, surface_attributes(jets)

    def _extract(
        self, parameters: Parameters, arrays: Arrays, progress: ProgressCallback
    ) -> Answer:
        field = self._field(parameters)
        resolution = parameters.integer("resolution", 256)
        self._make_room(memory.extract_need(resolution))
        mesh, jets = extract_with_jets(
            field,
            resolution,
            parameters.scale(None),
            parameters.number("scale_factor", 1.0),
            progress=progress,
        )
        surface = {
            "vertices": mesh.vertices.astype(np.float32),
            "triangles": mesh.triangles,
            "sharp_edges": sharp_edges(field, mesh, resolution).astype(np.int32),
        }
        result = {"unanswered": jets.unanswered, "cell": 2 / resolution * field.normalization.unit}
        return result, {**surface, **surface_attributes(jets)}

    def _load(self, parameters: Parameters, arrays: Arrays, progress: ProgressCallback) -> Answer:
        key = parameters.text("field")
        field = load(parameters.text("path"), parameters.text("device", "auto"))
        self._fields.keep(key, field)
        return _described(key, field), {}

    def _save(self, parameters: Parameters, arrays: Arrays, progress: ProgressCallback) -> Answer:
        path = parameters.text("path")
        try:
            self._field(parameters).save(path)
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or problem
            raise RefusedRequest(
                wire.BAD_INPUT, f"Cannot write the field {path}: {reason}."
            ) from None
        return {}, {}

    def _field(self, parameters: Parameters) -> Field:
        key = parameters.text("field")
        field = self._fields.get(key)
        if field is None:
            raise RefusedRequest(
                wire.UNKNOWN_FIELD, f"There is no field {key!r} here. Fit the mesh first."
            )
        return field

    def _make_room(self, need: memory.Need) -> None:
        """Release fields if that is what it takes to do a job; refuse the job if it cannot fit."""
        available = memory.available_bytes()
        kept = self._fields.total_bytes
        if available < need.nbytes <= available + kept:
            released = self._fields.shrink(available + kept - need.nbytes)
            log.info("Released fields of %d bytes to make room", released)
            available += released
        need.check(available)


def serve() -> int:
    """Serve the process's standard input and output until they close."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=logging.INFO)
    give_way_to_parent()
    # A native library may print: frames get a private copy of standard output, and what is printed
    # goes where logs go.
    frames = os.dup(1)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(0, os.O_BINARY)
        msvcrt.setmode(frames, os.O_BINARY)

    def write(data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(frames, view[:READ_BYTES]) :]

    try:
        Server(lambda: os.read(0, READ_BYTES), write).run()
    except BrokenPipeError:
        log.info("The client is gone.")
    return 0


def _table(arrays: Arrays, name: str) -> NDArray:
    if name not in arrays:
        raise RefusedRequest(wire.INVALID_PARAMS, f"The array {name!r} is missing.")
    if arrays[name].ndim == 0:
        raise RefusedRequest(wire.INVALID_PARAMS, f"The array {name!r} is a single number.")
    return arrays[name]


def _described(key: str, field: Field) -> dict[str, Any]:
    report = {
        **_finite(field.report.to_dict()),
        "half_extent": field.normalization.half_extent,
    }
    return {"field": key, "report": report}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: null stands for them."""
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in values.items()
    }


def _refusal(identifier: int, method: str, problem: Exception) -> wire.Frame:
    """What the client is told of a job that ended without an answer."""
    if isinstance(problem, Cancelled):
        return wire.error(identifier, wire.CANCELLED, "Cancelled.")
    if isinstance(problem, RefusedRequest):
        return wire.error(identifier, problem.code, str(problem))
    if isinstance(problem, NotEnoughMemory):
        return wire.error(identifier, wire.OUT_OF_MEMORY, str(problem))
    if isinstance(problem, FairfieldError):
        return wire.error(identifier, wire.BAD_INPUT, str(problem))
    # Nobody foresaw it: one sentence for the user, the rest for the log.
    log.error("%s failed", method, exc_info=problem)
    # torch reports a failed allocation as a RuntimeError, on every device.
    text = str(problem).lower()
    if isinstance(problem, MemoryError) or "out of memory" in text or "allocate memory" in text:
        return wire.error(
            identifier,
            wire.OUT_OF_MEMORY,
            f"Not enough memory to {method} this mesh. Close other programs, decimate the mesh, or "
            "choose a smaller preset or resolution.",
        )
    detail = str(problem).split("\n")[0]
    return wire.error(
        identifier,
        wire.INTERNAL_ERROR,
        f"The backend failed to {method}: {type(problem).__name__}: {detail}. Its log has more.",
    )
