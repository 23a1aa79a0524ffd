"""Jobs that cannot fit are refused with numbers, and fields make room for them."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import fairfield
import pytest
from fairfield import command, memory
from fairfield.errors import NotEnoughMemory
from fairfield.kept_fields import KeptFields
from shapes import icosphere


def test_a_larger_job_needs_more() -> None:
    small, large = (fairfield.TriangleMesh(*icosphere(subdivisions=n)) for n in (1, 5))
    needs = [
        memory.fit_need(small, "draft", "hash-grid"),
        memory.fit_need(large, "draft", "hash-grid"),
        memory.fit_need(large, "fine", "hash-grid"),
    ]
    assert [need.nbytes for need in needs] == sorted(need.nbytes for need in needs)
    assert memory.extract_need(512).nbytes > memory.extract_need(128).nbytes
    assert memory.smooth_need(10**6).nbytes > memory.smooth_need(10**3).nbytes


def test_a_refusal_names_both_numbers_and_the_remedy() -> None:
    need = memory.extract_need(1024)
    with pytest.raises(NotEnoughMemory) as refusal:
        need.check(250_000_000)
    said = str(refusal.value)
    assert "resolution of 1024 needs about" in said
    assert "0.2 GB are free" in said
    assert said.endswith("choose a smaller resolution.")
    need.check(need.nbytes)


def test_the_command_refuses_what_cannot_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 10 << 20)
    path = tmp_path / "ball.npz"
    fairfield.TriangleMesh(*icosphere(subdivisions=1)).save(path)
    arguments = ["fit", str(path), "-o", str(tmp_path / "x.safetensors")]
    assert command.main(arguments) == command.FAILURE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "10 MB are free" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["ball.npz"]


def test_settings_that_do_not_exist_are_left_to_those_who_refuse_them() -> None:
    mesh = fairfield.TriangleMesh(*icosphere(subdivisions=1))
    assert memory.fit_need(mesh, "perfect", "hash-grid").nbytes == 0
    assert memory.fit_need(mesh, "draft", "cube").nbytes == 0
    assert memory.extract_need(10**12).nbytes == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_fit_stays_below_its_estimate() -> None:
    """In a process of its own, whose peak is its own."""
    program = Path(__file__).with_name("memory_program.py")
    line = [sys.executable, str(program), "fit", "draft", "5"]
    printed = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    used, estimated = map(int, printed.split())
    assert 0 < used < estimated


def test_fields_used_longest_ago_are_released_first(sphere_field: fairfield.Field) -> None:
    one = sphere_field.nbytes
    fields = KeptFields(max_bytes=3 * one)
    for key in "abc":
        fields.keep(key, copy.copy(sphere_field))
    assert fields.get("a") is not None
    fields.keep("d", copy.copy(sphere_field))
    assert fields.get("b") is None
    assert fields.total_bytes == 3 * one
    assert fields.shrink(one) == 2 * one
    assert fields.get("d") is not None
    assert fields.shrink(0) == 0  # the one in use stays
    assert fields.release("d")
    assert not fields.release("d")
    assert fields.total_bytes == 0
