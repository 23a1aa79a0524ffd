"""Choosing a backend: states of the managed environment, command lines, variables, refusals."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fairfield_extension.blender_addon.client import environment
from fairfield_extension.blender_addon.client.environment import (
    BackendChoice,
    BackendKind,
    BackendUnavailable,
    EnvironmentState,
    ManagedEnvironment,
    backend_command,
    child_environment,
)


@pytest.fixture(autouse=True)
def no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(environment.OVERRIDE, raising=False)


@pytest.fixture
def managed(tmp_path: Path) -> ManagedEnvironment:
    return make_managed(tmp_path, "tinyone==1.0\n")


def make_managed(folder: Path, pins: str) -> ManagedEnvironment:
    constraints = folder / "constraints.txt"
    constraints.write_bytes(pins.encode())
    return ManagedEnvironment(folder / "data", constraints, folder / "extension")


def make_ready(managed: ManagedEnvironment) -> None:
    """Fill the folder as a complete installation would."""
    managed.python.parent.mkdir(parents=True)
    managed.python.write_text("")
    managed.marker.write_text(json.dumps({"base": sys.executable}))


def python_that_answers(path: Path, answer: str) -> Path:
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(answer)}\n")
    path.chmod(0o755)
    return path


def test_states(managed: ManagedEnvironment):
    assert managed.state is EnvironmentState.MISSING
    managed.folder.mkdir(parents=True)
    assert managed.state is EnvironmentState.INCOMPLETE
    make_ready(managed)
    assert managed.state is EnvironmentState.READY


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"base": null}', '{"base": "/not/there"}'])
def test_damaged_marker_is_incomplete(managed: ManagedEnvironment, content: str):
    make_ready(managed)
    managed.marker.write_text(content)
    assert managed.state is EnvironmentState.INCOMPLETE


def test_environment_whose_python_was_removed_is_incomplete(managed: ManagedEnvironment):
    make_ready(managed)
    managed.python.unlink()
    assert managed.state is EnvironmentState.INCOMPLETE


def test_folder_follows_the_pins_and_not_their_line_endings(tmp_path: Path):
    folder = make_managed(tmp_path, "a==1\nb==2\n").folder
    assert make_managed(tmp_path, "a==1\r\nb==2\r\n").folder == folder
    assert make_managed(tmp_path, "a==1\nb==3\n").folder != folder


def test_unreadable_constraints_ask_for_a_reinstallation(tmp_path: Path):
    with pytest.raises(BackendUnavailable, match="reinstall the extension"):
        ManagedEnvironment(tmp_path, tmp_path / "missing.txt", tmp_path)


def test_managed_command(managed: ManagedEnvironment):
    make_ready(managed)
    program = managed.extension_root / "backend" / "fairfield" / "__main__.py"
    assert backend_command(BackendChoice(), managed) == [
        str(managed.python), "-I", str(program), "serve",
    ]  # fmt: skip


def test_uninstalled_backend_names_the_button(managed: ManagedEnvironment):
    with pytest.raises(
        BackendUnavailable, match=r"is not installed; click Install Backend in the sidebar"
    ):
        backend_command(BackendChoice(), managed)
    managed.folder.mkdir(parents=True)
    with pytest.raises(
        BackendUnavailable, match=r"not completed; click Install Backend in the sidebar"
    ):
        backend_command(BackendChoice(), managed)


def test_command_choice(managed: ManagedEnvironment, tmp_path: Path):
    program = tmp_path / "my backend"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    choice = BackendChoice(BackendKind.COMMAND, command=f'"{program}" serve --device cpu')
    assert backend_command(choice, managed) == [str(program), "serve", "--device", "cpu"]


def test_the_variable_overrides_the_choice(
    managed: ManagedEnvironment, monkeypatch: pytest.MonkeyPatch
):
    assert environment.overriding_choice() is None
    monkeypatch.setenv(environment.OVERRIDE, f'"{sys.executable}" -c pass')
    overriding = environment.overriding_choice()
    assert overriding is not None
    assert backend_command(overriding, managed) == [sys.executable, "-c", "pass"]
    monkeypatch.setenv(environment.OVERRIDE, "no-such-program-at-all serve")
    overriding = environment.overriding_choice()
    assert overriding is not None
    with pytest.raises(BackendUnavailable, match="the variable FAIRFIELD_BACKEND"):
        backend_command(overriding, managed)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("  ", "is empty; enter one"),
        ("'unclosed", "close its quotation marks"),
        ("no-such-program-at-all serve", "'no-such-program-at-all', which is not a program"),
    ],
)
def test_command_that_cannot_start(managed: ManagedEnvironment, command: str, complaint: str):
    with pytest.raises(BackendUnavailable, match=complaint):
        backend_command(BackendChoice(BackendKind.COMMAND, command=command), managed)


def test_python_choice(managed: ManagedEnvironment, tmp_path: Path):
    good = python_that_answers(tmp_path / "python", '{"version": [3, 12], "missing": []}')
    choice = BackendChoice(BackendKind.PYTHON, python=f' "{good}" ')
    assert backend_command(choice, managed)[:2] == [str(good), "-I"]


def test_python_choice_takes_the_folder_of_an_environment(
    managed: ManagedEnvironment, tmp_path: Path
):
    (tmp_path / "env" / "bin").mkdir(parents=True)
    good = python_that_answers(
        tmp_path / "env" / "bin" / "python", '{"version": [3, 11], "missing": []}'
    )
    choice = BackendChoice(BackendKind.PYTHON, python=str(tmp_path / "env"))
    assert backend_command(choice, managed)[0] == str(good)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ('{"version": [3, 9], "missing": []}', r"is version 3\.9; .* 3\.11, 3\.12 or 3\.13"),
        ('{"version": [3, 12], "missing": ["torch", "igl"]}', r"lacks torch, igl; run .*pip"),
        ("hello", "is not a Python that runs"),
        ("", "is not a Python that runs"),
    ],
)
def test_python_that_cannot_serve(
    managed: ManagedEnvironment, tmp_path: Path, answer: str, complaint: str
):
    python = python_that_answers(tmp_path / "python", answer)
    with pytest.raises(BackendUnavailable, match=complaint):
        backend_command(BackendChoice(BackendKind.PYTHON, python=str(python)), managed)


def test_python_that_is_not_there(managed: ManagedEnvironment, tmp_path: Path):
    for text, complaint in [("", "No Python is set"), (str(tmp_path / "no"), "does not exist")]:
        with pytest.raises(BackendUnavailable, match=complaint):
            backend_command(BackendChoice(BackendKind.PYTHON, python=text), managed)


def test_the_question_is_understood_by_a_real_python(
    managed: ManagedEnvironment, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(environment, "MODULES", ("json", "no_such_module_at_all"))
    with pytest.raises(BackendUnavailable, match="lacks no_such_module_at_all; run"):
        backend_command(BackendChoice(BackendKind.PYTHON, python=sys.executable), managed)


def test_child_environment_keeps_the_way_out_and_drops_what_leaks():
    dropped = {
        "PYTHONPATH": "x", "PYTHONHOME": "x", "VIRTUAL_ENV": "x", "CONDA_PREFIX": "x",
        "QT_PLUGIN_PATH": "x", "BLENDER_USER_SCRIPTS": "x", "LD_PRELOAD": "x",
    }  # fmt: skip
    kept = {"PATH": "p", "HTTPS_PROXY": "h", "SSL_CERT_FILE": "c", "CUDA_VISIBLE_DEVICES": "0"}
    libraries = {"LD_LIBRARY_PATH": "l"}
    everything = {**dropped, **kept, **libraries}
    passive = {"OMP_WAIT_POLICY": "passive"}
    assert child_environment(everything) == {**kept, **libraries, **passive}
    assert child_environment(everything, managed=True) == {**kept, **passive}


def test_child_environment_starts_a_python():
    variables = child_environment({**os.environ, "PYTHONHOME": "/nowhere"})
    subprocess.run([sys.executable, "-I", "-c", "import ssl, ctypes"], env=variables, check=True)
