"""Faults, hostile input, recovery, stalls and memory: makes the table of docs/reliability.md.

    python benchmarks/reliability.py [PART ...]

Without parts all of them run, which takes about an hour. What each found is kept in
build/reliability.json, and the document is written from everything that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("", "faults", "fuzz", "engine")]

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import sweep  # noqa: E402
from fairfield import TriangleMesh, wire  # noqa: E402
from fairfield_extension.blender_addon.client.backend import (  # noqa: E402
    Backend,
    BackendState,
)
from fairfield_extension.blender_addon.client.jobs import (  # noqa: E402
    FitSettings,
    Job,
    JobQueue,
    JobState,
    SmoothSettings,
)
from frame_oracle import CAP, check, read, spoil, valid_frames  # noqa: E402
from shapes import icosphere  # noqa: E402

RESULTS = ROOT / "build" / "reliability.json"
DOCUMENT = ROOT / "docs" / "reliability.md"
BLENDER = ROOT / ".blender" / "4.5.15" / "bin" / "python"
SERVE = [sys.executable, "-I", str(ROOT / "backend" / "fairfield" / "__main__.py"), "serve"]

FRAMES = 1_000_000
HANG_SECONDS = 1.0
CYCLES = 200
EARLY_CYCLES = 20
RECOVERIES = 11
SEQUENCE_PIECES = (21, 22, 23, 24)
SEQUENCE_STEPS = 2500
FAULT_PIECES = {"fit": 8, "smooth": 1, "extract": 4}
CASES_AT_A_TIME = 3
SCENE_FAULTS = ("kill", "stop", "no-memory", "garbage")


def faults(job: str, piece: int) -> dict[str, Any]:
    """Run a piece of the cases of one job; return how many were survived and lost, by fault."""
    stages = sweep.count_stages()
    cases = [case for case in sweep.cases(stages) if case.job == job]
    # They mostly wait: for a backend to start, or for a silence to have lasted.
    with ThreadPoolExecutor(CASES_AT_A_TIME) as pool:
        outcomes = list(pool.map(sweep.run_case, cases[piece :: FAULT_PIECES[job]]))
    return {
        "stages": stages[job],
        "survived": Counter(each.case.fault for each in outcomes if not each.lost),
        "lost": [f"{each.case}: {each.lost}" for each in outcomes if each.lost],
    }


def scene() -> dict[str, Any]:
    """Run the cases in Blender that a scene could suffer from: every stage and the answer."""
    stages = sweep.count_stages()
    cases = [
        [case.fault, case.job, case.stage]
        for case in sweep.cases(stages)
        if case.fault in SCENE_FAULTS and case.stage != "0" and case.job != "fit"
    ]
    program = ROOT / "tests" / "faults" / "scene_sweep.py"
    lines = _blender(program, json.dumps(cases))
    outcomes = [json.loads(line) for line in lines if line.startswith("[")]
    assert len(outcomes) == len(cases)
    return {
        "survived": Counter(fault for fault, _, _, lost in outcomes if not lost),
        "lost": [
            f"{fault} in {job} at {stage}: {lost}" for fault, job, stage, lost in outcomes if lost
        ],
    }


def frames() -> dict[str, Any]:
    """Feed spoiled streams to the reader until a million frames or more were in them."""
    found = Counter(frames=0, streams=0, refused=0, crashes=0, hangs=0, over_the_cap=0)
    tracemalloc.start()
    longest = 0.0
    seed = 0
    while found["frames"] < FRAMES:
        generator = random.Random(seed)
        seed += 1
        sent = valid_frames(generator, 20)
        stream = spoil(generator, sent)
        step = generator.choice([len(stream) + 1, 4096, 61])
        expect_magic = seed % 2 == 0
        tracemalloc.reset_peak()
        begin = time.perf_counter()
        try:
            reading = read(
                wire.MAGIC + stream if expect_magic else stream, step, expect_magic=expect_magic
            )
            found["refused"] += reading.refused
        except Exception as problem:
            found["crashes"] += 1
            print(seed, repr(problem))
        seconds = time.perf_counter() - begin
        longest = max(longest, seconds)
        found["hangs"] += seconds > HANG_SECONDS
        found["over_the_cap"] += tracemalloc.get_traced_memory()[1] > 4 * CAP
        if seed % 50 == 0:  # the slower check: the same frames however the stream is cut
            check(stream, expect_magic=False, step=13)
        found["streams"] += 1
        found["frames"] += len(sent)
    tracemalloc.stop()
    return {**found, "longest": longest}


def recovery() -> dict[str, Any]:
    """Kill the backend in a fit; measure from there to the end of the next click's same fit."""
    queue = JobQueue(lambda: Backend(SERVE))
    plain, ready, whole = [], [], []
    for number in range(RECOVERIES):
        job = _ball(f"plain {number}", 1.0 + 0.01 * number)
        plain.append(_seconds(queue, job))
        queue.add([_ball(f"killed {number}", 2.0 + 0.01 * number)])
        _poll(queue, lambda: queue.progress.fraction > 0.05)
        assert queue.backend is not None
        os.kill(queue.backend.pid, signal.SIGKILL)
        begin = time.perf_counter()
        _poll(queue, lambda: not queue.busy)
        again = _ball(f"again {number}", 3.0 + 0.01 * number)
        queue.add([again])
        _poll(queue, lambda: queue.backend is not None and queue.progress.text.startswith("Fit"))
        ready.append(time.perf_counter() - begin)
        _poll(queue, lambda: not queue.busy)
        whole.append(time.perf_counter() - begin)
        assert again.state is JobState.DONE
    queue.stop_backend()
    return {"plain": plain, "ready": ready, "whole": whole}


def cycles() -> dict[str, Any]:
    """Fit, smooth and release over and over; return the backend's memory after each cycle."""
    queue = JobQueue(lambda: Backend(SERVE))
    memory = []
    for number in range(CYCLES):
        job = _ball(f"ball {number}", 1.0 + 0.01 * number, smooth=True)
        _seconds(queue, job)
        assert queue.backend is not None
        # The queue keeps a few fields for later clicks; here every one is released at once.
        queue.backend.send("release", {"field": job.key})
        queue._reports.pop(job.key)
        _poll(queue, lambda: not queue.transferring)
        memory.append(psutil.Process(queue.backend.pid).memory_info().rss)
        if number % 20 == 19:
            _say(f"cycle {number + 1}: {memory[-1] / 1e6:.1f} MB")
    queue.stop_backend()
    return {"memory": memory}


def stalls() -> dict[str, Any]:
    """The longest that a tick held Blender up, by what was going on."""
    lines = _blender(ROOT / "tests" / "faults" / "stall_program.py")
    return json.loads(lines[-1])


def pings() -> dict[str, Any]:
    """Return the longest wait for a ping's answer while meshes are fitted, by triangles."""
    return {len(mesh.triangles): _longest_ping(mesh) for mesh in map(_icosphere, (5, 6, 7, 8))}


def _longest_ping(mesh: TriangleMesh) -> float:
    backend = Backend(SERVE)
    _events(backend, lambda: backend.state is BackendState.READY)
    arrays = {"vertices": mesh.vertices, "triangles": mesh.triangles}
    fit = backend.send("fit", {"field": "a", "preset": "draft", "device": "cpu"}, arrays)
    waits = []
    while fit in backend._awaited:
        ping = backend.send("ping", {})
        begin = time.perf_counter()
        while ping in backend._awaited:
            backend.poll()
            time.sleep(0.001)
        waits.append(time.perf_counter() - begin)
    backend.shutdown()
    _say(f"{len(mesh.triangles)} triangles: {max(waits):.2f} s")
    return max(waits)


def _icosphere(subdivisions: int) -> TriangleMesh:
    return TriangleMesh(*icosphere(subdivisions=subdivisions))


def estimates() -> dict[str, Any]:
    """Memory that jobs took at their peak, and what was estimated, each in a process of its own."""
    program = ROOT / "tests" / "engine" / "memory_program.py"
    rows = []
    for job in ("fit draft 5", "fit draft 7", "fit standard 5", "fit standard 7", "smooth 100000",
                "smooth-mesh 7", "extract 128", "extract 256", "extract 512"):  # fmt: skip
        command = [sys.executable, str(program), *job.split()]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        used, estimated = map(int, printed.split())
        rows.append([job, used, estimated])
        _say(f"{job}: {used / 1e6:.0f} MB of {estimated / 1e6:.0f} MB")
    return {"rows": rows}


def sequences(piece: int) -> dict[str, Any]:
    """Random steps of an artist in Blender; return how often what happened."""
    program = ROOT / "tests" / "blender" / "sequence_program.py"
    return json.loads(_blender(program, str(SEQUENCE_STEPS), str(piece))[-1])


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    **{
        f"faults-{job}-{piece}": partial(faults, job, piece)
        for job, pieces in FAULT_PIECES.items()
        for piece in range(pieces)
    },
    "scene": scene,
    "frames": frames,
    "recovery": recovery,
    "stalls": stalls,
    "pings": pings,
    "cycles": cycles,
    "estimates": estimates,
    **{f"sequences-{piece}": partial(sequences, piece) for piece in SEQUENCE_PIECES},
}


def document(found: dict[str, Any]) -> str:
    """Return the text of the document, of the parts that were found."""
    rows = [row for part in _ROWS for row in part(found)]
    width = [max(len(cells[column]) for cells in rows) for column in range(2)]
    lines = [f"| {first:<{width[0]}} | {second:<{width[1]}} |" for first, second in rows]
    lines.insert(1, f"|{'-' * (width[0] + 2)}|{'-' * (width[1] + 2)}|")
    text = DOCUMENT.read_text(encoding="utf-8")
    begin, end = "<!-- measured -->\n", "<!-- end -->\n"
    head, _, rest = text.partition(begin)
    tail = rest.partition(end)[2]
    return head + begin + "\n" + "\n".join(lines) + "\n\n" + end + tail


def _machine_rows(found: dict[str, Any]) -> Iterable[tuple[str, str]]:
    yield "measured", "result"
    yield "on", f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _fault_rows(found: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for job, pieces in FAULT_PIECES.items():
        parts = [
            found[name] for name in (f"faults-{job}-{n}" for n in range(pieces)) if name in found
        ]
        share = "" if len(parts) == pieces else f", {len(parts)} of {pieces} of the cases"
        if parts:
            survived = sum((Counter(part["survived"]) for part in parts), Counter[str]())
            yield (
                f"faults in {job}: {parts[0]['stages']} stages and the answer{share}",
                _survived(survived, sum(len(part["lost"]) for part in parts)),
            )
    if "scene" in found:
        part = found["scene"]
        yield (
            "faults with a scene, in Blender 4.5",
            _survived(Counter(part["survived"]), len(part["lost"])),
        )


def _survived(survived: Counter[str], lost: int) -> str:
    kinds = ", ".join(f"{fault} {count}" for fault, count in sorted(survived.items()))
    return f"{survived.total()} survived, {lost} lost ({kinds})"


def _frame_rows(found: dict[str, Any]) -> Iterable[tuple[str, str]]:
    if "frames" in found:
        part = found["frames"]
        yield (
            "frames in spoiled streams",
            f"{part['frames']:,} in {part['streams']:,} streams, {part['refused']:,} refused; "
            f"{part['crashes']} crashes, {part['hangs']} hangs (longest "
            f"{1000 * part['longest']:.0f} ms), {part['over_the_cap']} allocations beyond the cap",
        )


def _time_rows(found: dict[str, Any]) -> Iterable[tuple[str, str]]:
    if "recovery" in found:
        part = found["recovery"]
        for name, label in (
            ("ready", "from kill -9 in a fit to the next fit's first step"),
            ("whole", "from kill -9 in a fit to the next fit's end"),
            ("plain", "the same fit without a fault"),
        ):
            yield (
                label,
                f"median {statistics.median(part[name]):.1f} s, worst {max(part[name]):.1f} s",
            )
    for name, seconds in found.get("stalls", {}).items():
        yield f"longest stall of Blender's main loop: {name}", f"{1000 * seconds:.0f} ms"
    for triangles, seconds in found.get("pings", {}).items():
        yield (
            f"longest wait for a ping's answer, fit of {int(triangles):,} triangles",
            f"{seconds:.2f} s",
        )


def _memory_rows(found: dict[str, Any]) -> Iterable[tuple[str, str]]:
    if "cycles" in found:
        memory = found["cycles"]["memory"]
        early, late = memory[EARLY_CYCLES - 1], memory[-1]
        yield (
            f"memory after {len(memory)} fit-smooth-release cycles against after {EARLY_CYCLES}",
            f"{late / 1e6:.1f} MB against {early / 1e6:.1f} MB ({late / early - 1:+.1%})",
        )
    for job, used, estimated in found.get("estimates", {}).get("rows", []):
        yield (
            f"memory of {job} at its peak, and estimated",
            f"{used / 1e6:.0f} of {estimated / 1e6:.0f} MB",
        )


def _sequence_rows(found: dict[str, Any]) -> Iterable[tuple[str, str]]:
    counted: Counter[str] = Counter()
    for piece in SEQUENCE_PIECES:
        counted.update(found.get(f"sequences-{piece}", {}))
    if counted:
        others = ", ".join(f"{what} {n}" for what, n in sorted(counted.items()) if what != "steps")
        yield (
            "random steps in Blender against a model of the scene",
            f"{counted['steps']:,} ({others})",
        )


_ROWS = (_machine_rows, _fault_rows, _frame_rows, _time_rows, _memory_rows, _sequence_rows)


def _ball(name: str, size: float, *, smooth: bool = False) -> Job:
    vertices, triangles = icosphere(radius=size, subdivisions=2)
    return Job(
        name,
        vertices,
        triangles.astype(np.int32),
        FitSettings(preset="draft", device="cpu"),
        points=vertices,
        smooth=SmoothSettings() if smooth else None,
    )


def _seconds(queue: JobQueue, job: Job) -> float:
    begin = time.perf_counter()
    queue.add([job])
    _poll(queue, lambda: job.ended)
    assert job.state is JobState.DONE, job.message
    return time.perf_counter() - begin


def _poll(queue: JobQueue, done: Callable[[], bool]) -> None:
    while not done():
        queue.poll()
        time.sleep(0.002)


def _events(backend: Backend, done: Callable[[], bool]) -> None:
    while not done():
        backend.poll()
        time.sleep(0.002)


def _blender(program: Path, *arguments: str) -> list[str]:
    """Run a program in Blender's Python; return the lines that it printed."""
    environment = {**os.environ, "FAIRFIELD_BACKEND_PYTHON": sys.executable}
    ran = subprocess.run(
        [str(BLENDER), str(program), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [line for line in ran.stdout.splitlines() if re.match(r"[\[{]", line)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run the parts, keep what they found and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    wanted = parser.parse_args().parts or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    RESULTS.parent.mkdir(exist_ok=True)
    for name in wanted:
        begin = time.perf_counter()
        result = PARTS[name]()
        _say(f"{name}: {time.perf_counter() - begin:.0f} s")
        found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        found[name] = result
        RESULTS.write_text(json.dumps(found))
    DOCUMENT.write_text(document(found), encoding="utf-8")
    print(document(found).partition("<!-- measured -->")[2].partition("<!-- end -->")[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
