"""The steps of an installation: disk, uv, Python, packages, trial, kernels, marker, cleaning up.

Whatever interrupts them, the environment's marker is missing, and the next installation starts
from the beginning; only uv, its Python and the packages that were downloaded are used again.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import install_sources as sources
from .environment import (
    MARKER_NAME,
    PYTHON_VERSIONS,
    child_environment,
    environment_python,
    spoken_versions,
)
from .install_process import Commands, InstallationError, Progress
from .install_request import InstallRequest, Step

UV_REQUIREMENT = "uv>=0.8,<1"

# The engine's entry, in the extension that this program is part of.
_ENGINE = Path(__file__).resolve().parents[2] / "backend" / "fairfield" / "__main__.py"

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DOWNLOADING = re.compile(r"^\s*Downloading (?P<what>\S+) \((?P<size>[\d.]+)\s*(?P<unit>[KMG]?i?B)")
_DOWNLOADED = re.compile(r"^\s*Downloaded (?P<what>\S+)")
_CACHE_LOOK_SECONDS = 2.0

# Run by the new environment's Python: one line of JSON a module, or a traceback and exit code 1.
_TRIAL = """\
import importlib, importlib.metadata, json, platform, sys
base = getattr(sys, "_base_executable", sys.executable)
print(json.dumps({"python": platform.python_version(), "base": base}), flush=True)
owners = importlib.metadata.packages_distributions()
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    version = getattr(module, "__version__", "")
    if not version and name in owners:
        version = importlib.metadata.version(owners[name][0])
    print(json.dumps({"module": name, "version": str(version)}), flush=True)
"""
_VERSION = "import sys; print(*sys.version_info[:2])"


@dataclass(frozen=True)
class _Found:
    """What the trial saw: the Python's version, the Python it stands on, versions by module."""

    python: str
    base: str
    modules: dict[str, str]


def run(request: InstallRequest, progress: Progress, commands: Commands) -> None:
    """Carry out the request and report its end through `progress`.

    Raises
    ------
    InstallationError
        If a step fails. Nothing usable is left behind then, nor anything that a later
        installation would trip over.
    """
    if request.remove:
        progress.begin(Step.REMOVE)
        _remove_all(Path(request.root))
        progress.finish("The backend is removed.")
        return
    installation = _Installation(request, progress, commands)
    progress.begin(Step.CHECK)
    installation.check_wheelhouse()
    installation.discard_environment()
    installation.check_disk(cuda_expected=False)
    progress.begin(Step.TOOL)
    installation.provide_uv()
    if installation.uv_sources.cuda_expected:
        installation.check_disk(cuda_expected=True)
    progress.begin(Step.PYTHON)
    installation.make_environment()
    progress.begin(Step.PACKAGES)
    installation.install_packages()
    progress.begin(Step.VERIFY)
    found = installation.try_modules()
    progress.begin(Step.COMPILE)
    installation.compile_kernels()
    progress.begin(Step.FINISH)
    installation.complete(found)
    installation.clean_up()
    progress.finish(
        "The backend is installed: "
        + ", ".join(f"{name} {version}".strip() for name, version in found.modules.items())
        + f" on Python {found.python}."
    )


def lock(root: Path) -> IO[bytes]:
    """Return an open file that keeps a second installation out for as long as it is open.

    The system releases it when this process ends, however it ends.

    Raises
    ------
    InstallationError
        If another installation is under way.
    """
    file = (root / "install.lock").open("ab")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise InstallationError(
            "Another Blender is installing the backend; wait until it has finished."
        ) from None
    return file


class _Installation:
    """The paths and settings that the steps share."""

    def __init__(self, request: InstallRequest, progress: Progress, commands: Commands) -> None:
        self._request = request
        self._options = request.options
        self._progress = progress
        self._commands = commands
        self._root = Path(request.root)
        self._environment = Path(request.environment)
        self._cache = self._root / "cache"
        self._tool = self._root / "installer"
        self._uv = self._tool / ("Scripts/uv.exe" if os.name == "nt" else "bin/uv")
        self._variables = sources.pip_variables(self._options, child_environment(managed=True))
        self.uv_sources: sources.UvSources

    def check_wheelhouse(self) -> None:
        """Refuse a wheelhouse that is not there, which everything below relies on."""
        if self._options.wheelhouse and not Path(self._options.wheelhouse).is_dir():
            raise InstallationError(
                f"The wheelhouse {self._options.wheelhouse} is not a folder; correct it in the "
                "Fairfield preferences, or clear it to install from the internet."
            )

    def discard_environment(self) -> None:
        """Remove what an earlier installation left in the environment's folder."""
        _discard(self._environment)

    def check_disk(self, *, cuda_expected: bool) -> None:
        """Refuse to start what cannot fit."""
        needed = sources.needed_bytes(self._options, cuda_expected=cuda_expected)
        free = shutil.disk_usage(self._root).free
        if free < needed:
            content = "the backend with CUDA" if cuda_expected else "the backend"
            raise InstallationError(
                f"Installing {content} needs {needed / sources.GIGABYTE:.1f} GB and the disk that "
                f"holds {self._root} has {free / sources.GIGABYTE:.1f} GB free; free some space "
                "and install again."
            )

    def provide_uv(self) -> None:
        """Get uv through pip, in a small environment of Blender's Python, and ask pip's settings.

        No address of an index or a download is named here: pip's own configuration decides.
        """
        python = environment_python(self._tool)
        pip: list[str | Path]
        has_ensurepip = importlib.util.find_spec("ensurepip") is not None
        if has_ensurepip:
            pip = [python, "-I", "-m", "pip"]
        elif importlib.util.find_spec("pip"):
            pip = [sys.executable, "-I", "-m", "pip", "--python", python]
        else:
            raise InstallationError(
                f"Blender's Python, {sys.executable}, has neither ensurepip nor pip; install "
                "your system's package for them (on Debian and Ubuntu python3-venv), or use "
                "Blender from blender.org."
            )
        if not self._works([self._uv, "--version"]) or not self._works([*pip, "--version"]):
            _discard(self._tool)
            self._run([sys.executable, "-I", "-m", "venv", "--without-pip", self._tool])
            if has_ensurepip:
                self._run([python, "-I", "-m", "ensurepip", "--default-pip"])
            self._progress.advance(0.4, "Fetching uv")
            self._run(
                [*pip, "install", "--only-binary", ":all:", UV_REQUIREMENT,
                 *sources.pip_arguments(self._options)]
            )  # fmt: skip
        settings = sources.read_pip_settings(self._run([*pip, "config", "list"]))
        self.uv_sources = sources.uv_sources(self._options, settings, self._variables)
        self._variables = {
            **self.uv_sources.variables,
            "UV_CACHE_DIR": str(self._cache),
            "UV_PYTHON_INSTALL_DIR": str(self._root / "python"),
        }

    def make_environment(self) -> None:
        """Make the virtual environment, with the best Python that can be had.

        First comes uv's own build in the first supported version: the same for every artist, and
        independent of what else is installed or removed. Where it is not there and cannot be
        downloaded, one of the system's supported Pythons is taken, and at last Blender's own.
        """
        versions = sources.python_versions(self._options.wheelhouse)
        names = [f"{major}.{minor}" for major, minor in versions]
        there: list[str | Path] = ["--no-managed-python", "--no-python-downloads", "--python"]
        attempts: list[list[str | Path]]
        if self._options.python:
            attempts = [["--no-python-downloads", "--python", self._options.python]]
        else:
            attempts = [["--managed-python", "--python", names[0]]]
            if self.uv_sources.offline:
                attempts[0] += ["--no-python-downloads"]
            attempts += [[*there, name] for name in names]
            if sys.version_info[:2] in versions:
                attempts += [[*there, sys.executable]]
        printed = []
        for number, attempt in enumerate(attempts):
            _discard(self._environment)
            self._progress.advance(number / len(attempts))
            try:
                self._run([self._uv, "venv", "--no-config", "--no-project", *attempt,
                           self._environment])  # fmt: skip
                version = self._run([environment_python(self._environment), "-I", "-c", _VERSION])
                if tuple(map(int, version.split())) in PYTHON_VERSIONS:
                    return
                printed.append(f"{attempt[-1]} is Python {version}, not {spoken_versions()}")
            except InstallationError as failure:
                printed.append(failure.output)
        raise InstallationError(output="\n".join(printed))

    def install_packages(self) -> None:
        """Install the pinned packages, never building one from its source."""
        meter = _DownloadMeter(self._progress, self._cache, self._options.wheelhouse)
        self._run(
            [self._uv, "pip", "install", "--no-config", "--only-binary", ":all:",
             "--python", environment_python(self._environment),
             "-r", self._request.constraints, *self.uv_sources.arguments],
            on_line=meter.read_line,
            on_tick=meter.look,
        )  # fmt: skip

    def try_modules(self) -> _Found:
        """Import every module in the new environment."""
        wanted = self._request.modules
        modules: dict[str, str] = {}
        about: dict[str, str] = {}

        def read_line(line: str) -> None:
            try:
                fields = json.loads(line)
            except ValueError:
                return
            if isinstance(fields, dict) and "module" in fields:
                name, version = fields["module"], fields["version"]
                modules[name] = version
                self._progress.advance(len(modules) / len(wanted), f"{name} {version} works")
            elif isinstance(fields, dict) and "base" in fields:
                about.update(fields)

        python = environment_python(self._environment)
        self._run([python, "-I", "-c", _TRIAL, *wanted], on_line=read_line)
        return _Found(about["python"], about["base"], modules)

    def compile_kernels(self) -> None:
        """Let the engine compile for this processor, so that the artist's first fit need not.

        The first fit does it where this fails.
        """
        python = environment_python(self._environment)
        if not self._works([python, "-I", _ENGINE, "warm-up"]):
            self._progress.log("The engine's kernels could not be compiled ahead.")

    def complete(self, found: _Found) -> None:
        """Write the marker, in one stroke."""
        marker = self._environment / MARKER_NAME
        draft = marker.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(found), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, marker)

    def clean_up(self) -> None:
        """Remove older environments and the downloads; what is in use stays until next time."""
        for folder in self._environment.parent.iterdir():
            if folder != self._environment:
                self._progress.log(f"removing {folder}")
                shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self._cache, ignore_errors=True)

    def _run(
        self,
        command: list[str | Path],
        on_line: Callable[[str], None] | None = None,
        on_tick: Callable[[], None] | None = None,
    ) -> str:
        return self._commands.run(command, self._variables, str(self._root), on_line, on_tick)

    def _works(self, command: list[str | Path]) -> bool:
        try:
            self._run(command)
        except InstallationError:
            return False
        return True


class _DownloadMeter:
    """Turns uv's announcements and the growth of its cache into progress.

    uv says when a download starts, how large it is and when it is there, but nothing in between;
    it unpacks while it downloads, so the cache's growth tells about the rest.
    """

    def __init__(self, progress: Progress, cache: Path, wheelhouse: str) -> None:
        self._progress = progress
        self._cache = cache
        self._sizes: dict[str, float] = {}
        self._done: set[str] = set()
        self._local_bytes = sources.wheelhouse_bytes(wheelhouse) if wheelhouse else 0
        self._size_before = _folder_bytes(cache)
        self._looked = time.monotonic()

    def read_line(self, line: str) -> None:
        """Take a line that uv printed."""
        if started := _DOWNLOADING.match(line):
            self._sizes[started["what"]] = float(started["size"]) * _UNITS[started["unit"]]
        elif ended := _DOWNLOADED.match(line):
            self._done.add(ended["what"])
        self._report(0.0)

    def look(self) -> None:
        """Measure the cache, if it is time to."""
        if time.monotonic() - self._looked >= _CACHE_LOOK_SECONDS:
            grown = _folder_bytes(self._cache) - self._size_before
            # Counted after the look, which is slow where the disk is.
            self._looked = time.monotonic()
            self._report(grown)

    def _report(self, grown: float) -> None:
        total = sum(self._sizes.values()) or self._local_bytes
        if not total:
            return
        known = sum(size for what, size in self._sizes.items() if what in self._done)
        guessed = min(grown / sources.UNPACKED_PER_PACKED, 0.95 * total)
        waiting = [what for what in self._sizes if what not in self._done]
        message = "Unpacking"
        if waiting:
            largest = max(waiting, key=lambda what: self._sizes[what])
            message = (
                f"Downloading {largest} ({self._sizes[largest] / 1e6:.0f} MB) and others, "
                f"{total / 1e6:.0f} MB in all"
            )
        self._progress.advance(max(known, guessed) / total, message)


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue  # uv moves files away while they are counted
    return total


def _discard(folder: Path) -> None:
    """Take a folder away, whole or not at all, and remove it.

    Raises
    ------
    InstallationError
        If it cannot be taken away: on Windows, as long as a program uses a file in it.
    """
    if not folder.exists():
        return
    aside = folder.with_name(f"{folder.name}.discarded")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        folder.rename(aside)
    except OSError as problem:
        raise InstallationError(output=str(problem)) from None
    shutil.rmtree(aside, ignore_errors=True)


def _remove_all(root: Path) -> None:
    """Remove what installations made; the log and the lock are in use by this one."""
    for name in ("environments", "cache", "python", "installer"):
        _discard(root / name)
