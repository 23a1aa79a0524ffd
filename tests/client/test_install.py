"""The whole installation with real pip and uv, from tiny wheels made here, and its failures.

Every path has spaces and letters outside ASCII. uv's own wheel comes through pip once; all else
stays on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fairfield_extension.blender_addon.client import install_steps, installation
from fairfield_extension.blender_addon.client.environment import (
    EnvironmentState,
    ManagedEnvironment,
)
from fairfield_extension.blender_addon.client.install_process import (
    Commands,
    InstallationError,
    Progress,
)
from fairfield_extension.blender_addon.client.install_request import InstallEvent, InstallOptions
from fairfield_extension.blender_addon.client.installation import Installation, InstallationState

ROOT = Path(__file__).resolve().parents[2]
ODD_NAME = "Ünï cödé дом (1)"
SECONDS = 120

# A module that stays in its import for as long as a file is there: the moment to interrupt.
WAITING_MODULE = """\
import os, pathlib, time
__version__ = "1.0"
pause = pathlib.Path(os.environ["FAIRFIELD_TEST_PAUSE"])
if pause.exists():
    pause.with_suffix(".pid").write_text(str(os.getpid()))
while pause.exists():
    time.sleep(0.05)
"""


def make_wheel(folder: Path, name: str, module: str, tag: str = "py3-none-any") -> None:
    """Write a wheel of one module, which is a zip file with a few descriptions."""
    described = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", module)
        wheel.writestr(
            f"{described}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{described}/WHEEL",
            f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        )
        wheel.writestr(
            f"{described}/RECORD",
            f"{name}/__init__.py,,\n{described}/METADATA,,\n{described}/WHEEL,,\n"
            f"{described}/RECORD,,\n",
        )


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels") / ODD_NAME
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:",
         install_steps.UV_REQUIREMENT, "-d", folder],
        check=True,
    )  # fmt: skip
    make_wheel(folder, "tinyone", "__version__ = '1.0'\n")
    make_wheel(folder, "tinywait", WAITING_MODULE)
    make_wheel(folder, "tinybroken", "raise ImportError('tinybroken lacks a library')\n")
    make_wheel(folder, "tinyforeign", "", "py3-none-win_arm64")
    return folder


@pytest.fixture(scope="module")
def installed_root(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete installation, for tests to copy: uv is there already."""
    folder = tmp_path_factory.mktemp("installed") / ODD_NAME
    folder.mkdir()
    environment = make_environment(folder, "tinyone==1.0\n")
    finish(started(environment, wheelhouse, "tinyone"))
    return environment.root


@pytest.fixture
def home(tmp_path: Path, installed_root: Path) -> Path:
    """A folder in which uv is installed and the backend is not."""
    folder = tmp_path / ODD_NAME
    (folder / "data").mkdir(parents=True)
    shutil.copytree(installed_root / "installer", folder / "data" / "installer", symlinks=True)
    return folder


@pytest.fixture
def pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that holds `tinywait` up; made by the test, removed at its end."""
    path = tmp_path / "pause"
    monkeypatch.setenv("FAIRFIELD_TEST_PAUSE", str(path))
    yield path
    path.unlink(missing_ok=True)


def make_environment(folder: Path, pins: str) -> ManagedEnvironment:
    constraints = folder / "constraints.txt"
    constraints.write_text(pins)
    return ManagedEnvironment(folder / "data", constraints, ROOT)


def started(environment: ManagedEnvironment, wheelhouse: Path, *modules: str) -> Installation:
    run = Installation(
        environment, InstallOptions(wheelhouse=str(wheelhouse)), modules=tuple(modules)
    )
    run.start()
    return run


def wait(run: Installation, until: Callable[[], bool], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "\n".join([run.stage, *run.log_tail(60)])
        before = time.monotonic()
        run.poll()
        assert time.monotonic() - before < 1, "poll must not wait"
        time.sleep(0.01)


def finish(run: Installation, expected: InstallationState = InstallationState.DONE) -> None:
    wait(run, lambda: run.finished)
    assert run.state is expected, "\n".join([run.error, *run.log_tail(60)])


def wait_for_pause(run: Installation, pause: Path) -> int:
    """Wait until the trial is inside `tinywait`; return the process that is."""
    pid_file = pause.with_suffix(".pid")
    wait(run, lambda: pid_file.exists() and bool(pid_file.read_text()))
    return int(pid_file.read_text())


def wait_until_gone(pid: int, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that nobody has waited for yet is gone all the same.
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def test_installs_from_nothing(installed_root: Path, wheelhouse: Path, tmp_path: Path):
    environment = ManagedEnvironment(
        installed_root, installed_root.parent / "constraints.txt", ROOT
    )
    assert environment.state is EnvironmentState.READY
    printed = subprocess.run(
        [environment.python, "-I", "-c", "import tinyone; print(tinyone.__version__)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert printed == "1.0\n"
    assert not (installed_root / "cache").exists()


def test_reports_progress_and_removes_older_environments(home: Path, wheelhouse: Path):
    old = home / "data" / "environments" / "0123456789abcdef"
    old.mkdir(parents=True)
    environment = make_environment(home, "tinyone==1.0\n")
    run = started(environment, wheelhouse, "tinyone")
    fractions, stages = [run.fraction], [run.stage]

    def done() -> bool:
        fractions.append(run.fraction)
        if run.stage != stages[-1]:
            stages.append(run.stage)
        return run.finished

    wait(run, done)
    assert run.state is InstallationState.DONE, run.error
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(stages) >= 3
    assert run.message.startswith("The backend is installed: tinyone 1.0 on Python 3.1")
    assert not old.exists()
    assert "ensurepip" not in environment.log.read_text(), "uv was there already"


def test_program_runs_from_a_path_outside_ascii(
    home: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
):
    client = home / "extension" / "client"
    shutil.copytree(ROOT / "blender_addon" / "client", client)
    monkeypatch.setattr(installation, "_PROGRAM", client / "install.py")
    environment = make_environment(home, "tinyone==1.0\n")
    finish(started(environment, wheelhouse, "tinyone"))
    assert environment.state is EnvironmentState.READY


def test_killed_half_way_is_incomplete_and_repaired(home: Path, wheelhouse: Path, pause: Path):
    environment = make_environment(home, "tinywait==1.0\n")
    pause.touch()
    run = started(environment, wheelhouse, "tinywait")
    pid = wait_for_pause(run, pause)
    assert environment.state is EnvironmentState.INCOMPLETE
    assert run._process
    os.kill(run._process.pid, signal.SIGKILL)
    finish(run, InstallationState.FAILED)
    assert "was ended by the system" in run.error
    assert environment.state is EnvironmentState.INCOMPLETE
    wait_until_gone(pid)

    pause.unlink()
    finish(started(environment, wheelhouse, "tinywait"))
    assert environment.state is EnvironmentState.READY


def test_cancel_ends_the_whole_tree(home: Path, wheelhouse: Path, pause: Path):
    environment = make_environment(home, "tinywait==1.0\n")
    pause.touch()
    run = started(environment, wheelhouse, "tinywait")
    pid = wait_for_pause(run, pause)
    before = time.monotonic()
    run.cancel()
    assert time.monotonic() - before < 0.5
    assert run.state is InstallationState.CANCELLED
    wait_until_gone(pid, seconds=1)
    finish(run, InstallationState.CANCELLED)
    assert run.error == ""
    assert environment.state is EnvironmentState.INCOMPLETE


def test_installer_ends_with_blender(home: Path, wheelhouse: Path, pause: Path):
    environment = make_environment(home, "tinywait==1.0\n")
    pause.touch()
    run = started(environment, wheelhouse, "tinywait")
    pid = wait_for_pause(run, pause)
    assert run._process
    assert run._process.stdin
    run._process.stdin.close()  # what the system does when Blender dies
    wait_until_gone(pid)
    run.close()


def test_second_blender_waits(home: Path, wheelhouse: Path, pause: Path):
    environment = make_environment(home, "tinywait==1.0\n")
    pause.touch()
    first = started(environment, wheelhouse, "tinywait")
    wait_for_pause(first, pause)
    second = started(environment, wheelhouse, "tinywait")
    finish(second, InstallationState.FAILED)
    assert second.error.startswith("Another Blender is installing the backend")
    pause.unlink()
    finish(first)
    assert environment.state is EnvironmentState.READY


@pytest.mark.parametrize(
    ("pins", "module", "expected"),
    [
        ("tinymissing==1.0\n", "tinymissing", "has no wheel of tinymissing"),
        ("tinyforeign==1.0\n", "tinyforeign", "has tinyforeign only for other systems"),
        ("tinyone==1.0\n", "tinymissing", "failed: ModuleNotFoundError: No module named"),
        ("tinybroken==1.0\n", "tinybroken", "failed: ImportError: tinybroken lacks a library"),
    ],
)
def test_packages_that_fail(home: Path, wheelhouse: Path, pins: str, module: str, expected: str):
    environment = make_environment(home, pins)
    run = started(environment, wheelhouse, module)
    finish(run, InstallationState.FAILED)
    assert expected in run.error
    assert environment.state is EnvironmentState.INCOMPLETE


def test_wheelhouse_without_uv(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    environment = make_environment(tmp_path, "tinyone==1.0\n")
    run = started(environment, tmp_path / "empty", "tinyone")
    finish(run, InstallationState.FAILED)
    assert "empty has no wheel of uv" in run.error
    assert environment.state is EnvironmentState.MISSING


def test_wheelhouse_that_is_not_there(home: Path):
    run = started(make_environment(home, "tinyone==1.0\n"), home / "nowhere", "tinyone")
    finish(run, InstallationState.FAILED)
    assert "nowhere is not a folder" in run.error


def test_unreachable_index(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    options = InstallOptions(index_url="http://me:secret@127.0.0.1:9/simple", torch_backend="cpu")
    environment = make_environment(home, "fairfield-no-such-package==1.0\n")
    run = Installation(environment, options, modules=())
    run.start()
    finish(run, InstallationState.FAILED)
    assert "The package index http://127.0.0.1:9/simple cannot be reached" in run.error
    assert f"The log is {environment.log}." in run.error
    assert "secret" not in run.error + environment.log.read_text()


def test_unsuitable_python_is_refused(home: Path, wheelhouse: Path):
    options = InstallOptions(wheelhouse=str(wheelhouse), python=str(home / "no-python"))
    run = Installation(make_environment(home, "tinyone==1.0\n"), options, modules=("tinyone",))
    run.start()
    finish(run, InstallationState.FAILED)
    assert "set in the Fairfield preferences cannot be used" in run.error


def test_folder_that_cannot_be_made(tmp_path: Path, wheelhouse: Path):
    (tmp_path / "data").write_text("a file where the folder should be")
    run = started(make_environment(tmp_path, "tinyone==1.0\n"), wheelhouse, "tinyone")
    assert run.state is InstallationState.FAILED
    assert run.finished
    assert "failed:" in run.error


def test_full_disk_is_refused_with_the_numbers(home: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2_100_000_000))
    request = Installation(make_environment(home, "tinyone==1.0\n"))._request
    events = io.StringIO()
    progress = Progress(events)
    with pytest.raises(InstallationError) as caught:
        install_steps.run(request, progress, Commands(progress))
    assert "needs 3.0 GB" in caught.value.sentence
    assert "has 2.1 GB free" in caught.value.sentence
    progress.fail(caught.value)
    assert InstallEvent.from_json(events.getvalue().splitlines()[-1]).error == caught.value.sentence


def run_here(environment: ManagedEnvironment, wheelhouse: Path) -> None:
    """Carry out an installation in this process, where parts can be replaced."""
    options = InstallOptions(wheelhouse=str(wheelhouse))
    request = Installation(environment, options, modules=("tinyone",))._request
    progress = Progress(io.StringIO())
    install_steps.run(request, progress, Commands(progress))


def hide_modules(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else find_spec(name)
    )


def test_python_without_ensurepip_uses_its_own_pip(
    tmp_path: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
):
    environment = make_environment(tmp_path, "tinyone==1.0\n")
    environment.root.mkdir()
    hide_modules(monkeypatch, "ensurepip")
    run_here(environment, wheelhouse)
    assert environment.state is EnvironmentState.READY


def test_python_without_any_pip_is_told_apart(
    tmp_path: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
):
    environment = make_environment(tmp_path, "tinyone==1.0\n")
    environment.root.mkdir()
    hide_modules(monkeypatch, "ensurepip", "pip")
    with pytest.raises(InstallationError, match="neither ensurepip nor pip; install"):
        run_here(environment, wheelhouse)


@pytest.mark.parametrize("right", [True, False])
def test_a_file_with_another_hash_is_not_installed(home: Path, wheelhouse: Path, right: bool):
    """As with torch, a package without a hash may stand beside one that has one."""
    content = (wheelhouse / "tinyone-1.0-py3-none-any.whl").read_bytes()
    digest = hashlib.sha256(content if right else b"").hexdigest()
    pins = f"tinyone==1.0 \\\n    --hash=sha256:{digest}\ntinywait==1.0\n"
    environment = make_environment(home, pins)
    run = started(environment, wheelhouse, "tinyone")
    wait(run, lambda: run.finished)
    if right:
        assert run.state is InstallationState.DONE, run.error
    else:
        assert run.state is InstallationState.FAILED
        assert "The file of tinyone is not the one that Fairfield was tested with" in run.error
        assert environment.state is not EnvironmentState.READY


def test_removal(home: Path, wheelhouse: Path):
    environment = make_environment(home, "tinyone==1.0\n")
    finish(started(environment, wheelhouse, "tinyone"))
    run = Installation(environment, remove=True)
    run.start()
    finish(run)
    assert run.message == "The backend is removed."
    assert environment.state is EnvironmentState.MISSING
    assert not (home / "data" / "installer").exists()


@pytest.mark.slow
def test_the_real_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    environment = ManagedEnvironment(tmp_path / ODD_NAME, ROOT / "constraints-hashed.txt", ROOT)
    run = Installation(environment)
    run.start()
    wait(run, lambda: run.finished, seconds=900)
    assert run.state is InstallationState.DONE, "\n".join([run.error, *run.log_tail(60)])
    assert environment.state is EnvironmentState.READY
    assert "torch" in run.message
