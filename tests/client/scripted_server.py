"""A backend that shows one fault, for tests of what the add-on does about it.

`python scripted_server.py BEHAVIOUR`; the behaviours are the names in `main`. Requests it has no
fault for are answered with arrays of the right shape and no meaning.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "backend"))

from fairfield import wire

REPORT = {
    "near_surface_error": 0.001,
    "half_extent": 1.0,
    "noise": 0.0,
    "seconds": {"training": 0.1},
    "warnings": [],
}


def send(frame: wire.Frame) -> None:
    for _ in range(2 if sys.argv[1] == "answers-twice" else 1):
        for piece in wire.encode(frame):
            view = memoryview(piece)
            while view:
                view = view[os.write(1, view) :]


def answer(frame: wire.Frame, fields: set[str], behaviour: str) -> None:
    identifier, method = frame.header["id"], frame.header["method"]
    params: dict[str, Any] = frame.header["params"]
    if method == "hello":
        protocol = 999 if behaviour == "other-protocol" else wire.PROTOCOL_VERSION
        devices = 7 if behaviour == "has-odd-devices" else ["cpu"]
        send(wire.response(identifier, {"protocol": protocol, "devices": devices}))
    elif method == "ping":
        send(wire.response(identifier, {}))
    elif method == "shutdown" and behaviour != "stubborn":
        sys.exit(0)
    elif method == "fit":
        fit(identifier, params, frame, fields, behaviour)
    elif params.get("field") not in fields or behaviour == "forgets-every-field":
        send(wire.error(identifier, wire.UNKNOWN_FIELD, "There is no such field."))
    elif method == "smooth":
        if behaviour == "forgets-once" and "forgotten" not in fields:
            fields.add("forgotten")
            send(wire.error(identifier, wire.UNKNOWN_FIELD, "There is no such field."))
            return
        rows = len(frame.arrays["points"])
        if behaviour == "sends-too-few-rows":
            rows -= 1
        send(
            wire.response(
                identifier,
                {"unanswered": 0, "scale": 0.1},
                {"mean_curvature": np.arange(rows, dtype=np.float32)},
            )
        )
    elif method == "finetune":
        fields.add(params["tuned_field"])
        report = {**REPORT, "finetuning": {"normal_error_after": 0.1}}
        send(wire.response(identifier, {"report": report}))
    elif method == "extract":
        surface = {
            "vertices": np.zeros((4, 3), np.float32),
            "triangles": np.array([[0, 1, 2], [0, 2, 3]], np.int32),
            "sharp_edges": np.array([[0, 2]], np.int32),
        }
        if behaviour == "sends-a-bad-triangle":
            surface["triangles"][1, 2] = 4
        cell = "a mile" if behaviour == "sends-an-odd-cell" else 0.01
        send(wire.response(identifier, {"unanswered": 0, "cell": cell}, surface))
    elif method == "release":
        fields.discard(params["field"])
        print(f"released {len(fields)}", file=sys.stderr, flush=True)


def fit(
    identifier: int,
    params: dict[str, Any],
    frame: wire.Frame,
    fields: set[str],
    behaviour: str,
) -> None:
    if not np.isfinite(frame.arrays["vertices"]).all():
        send(wire.error(identifier, wire.BAD_INPUT, "Vertex 0 is not finite."))
        return
    too_big = behaviour == "crashes-on-big" and frame.arrays["vertices"].max() > 9
    if behaviour == "killed" or too_big:
        os.kill(os.getpid(), signal.SIGKILL)
    elif behaviour == "crashes":
        sys.stderr.write("Fatal: the roof is on fire\n")
        os._exit(3)
    elif behaviour == "sends-garbage":
        os.write(1, b"\xff" * 64)
        time.sleep(60)
    elif behaviour in ("never-answers", "deaf"):
        send(wire.notification("progress", {"id": identifier, "fraction": 0.5, "stage": "step"}))
        if behaviour == "deaf":
            time.sleep(60)
        fields.add("pending:" + str(identifier))
        return
    elif behaviour == "is-half-way-in-big-fits" and frame.arrays["vertices"].max() > 9:
        progress = {"id": identifier, "fraction": 0.5, "stage": "step", "seconds_left": 10.0}
        send(wire.notification("progress", progress))
        fields.add("pending:" + str(identifier))
        return
    checksum = float(frame.arrays["vertices"].sum(dtype=np.float64))
    fields.add(params["field"])
    report = {**REPORT, "sum": checksum}
    if behaviour == "sends-no-report":
        del report["seconds"]
    send(wire.response(identifier, {"report": report}))
    if behaviour == "dies-after-a-fit":
        os._exit(3)


def main(behaviour: str) -> None:
    if behaviour == "lacks-a-package":
        raise ModuleNotFoundError("No module named 'torch'")
    if behaviour == "silent":
        time.sleep(60)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    magic = b"fairfield-frames 999\n" if behaviour == "other-frames" else wire.MAGIC
    os.write(1, b"Welcome to this login shell.\n" + magic)
    fields: set[str] = set()
    reader = wire.FrameReader(expect_magic=False)
    while True:
        data = os.read(0, 1 << 20)
        if not data:
            if behaviour == "stubborn":
                time.sleep(60)
            return
        for frame in reader.feed(data):
            if frame.header["method"] == "cancel":
                cancelled = frame.header["params"]["id"]
                send(wire.error(cancelled, wire.CANCELLED, "Cancelled."))
                send(wire.response(frame.header["id"], {}))
            else:
                answer(frame, fields, behaviour)


if __name__ == "__main__":
    main(sys.argv[1])
