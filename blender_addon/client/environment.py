"""Where the backend's Python is, whether it can be used, and the command line that starts it.

The managed environment holds third-party packages only. Its folder is named after the constraints
file and the platform, so that new pins get a new folder and an upgrade of the extension that keeps
the pins reinstalls nothing. The installer writes the marker file last: a folder without it was left
half-made and is rebuilt, never used.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PYTHON_VERSIONS = ((3, 11), (3, 12), (3, 13))
MODULES = (
    "numpy",
    "scipy",
    "torch",
    "igl",
    "numba",
    "psutil",
    "skimage",
    "safetensors",
    "trimesh",
)
OVERRIDE = "FAIRFIELD_BACKEND"
MARKER_NAME = "fairfield-environment.json"

# Variables of the artist's shell, of Blender and of other programs that would reach into another
# Python: its modules, its libraries, its virtual environment.
_DROPPED_PREFIXES = (
    "PYTHON",
    "__PYVENV_LAUNCHER__",
    "VIRTUAL_ENV",
    "CONDA",
    "MAMBA",
    "_CE_",
    "QT",
    "BLENDER_",
    "LD_PRELOAD",
    "LD_AUDIT",
    "DYLD_INSERT_LIBRARIES",
)
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")

_PROBE_SECONDS = 30
_PROBE = """\
import importlib.util, json, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
print(json.dumps({"version": sys.version_info[:2], "missing": missing}))
"""


class BackendUnavailable(Exception):
    """The chosen backend cannot be started; the message is one sentence with the remedy."""


class BackendKind(enum.Enum):
    """Who provides the backend: the values of the choice in the preferences."""

    MANAGED = "managed"
    PYTHON = "python"
    COMMAND = "command"


@dataclass(frozen=True)
class BackendChoice:
    """The preferences that choose a backend.

    `python` is the executable, or the folder of a virtual environment, for `BackendKind.PYTHON`;
    `command` is a command line for `BackendKind.COMMAND`, such as ``ssh host fairfield serve``, and
    `source` tells the artist where it comes from.
    """

    kind: BackendKind = BackendKind.MANAGED
    python: str = ""
    command: str = ""
    source: str = "the preferences"


class EnvironmentState(enum.Enum):
    """What is in the managed environment's folder."""

    MISSING = "missing"
    INCOMPLETE = "incomplete"
    READY = "ready"


class ManagedEnvironment:
    """The environment that the extension installs and owns.

    Parameters
    ----------
    root
        The extension's own writable folder; everything that an installation makes is below it.
    constraints
        The file of pinned packages that the environment consists of; where it has hashes, files
        with others are not installed.
    extension_root
        The folder that holds `backend/`.

    Raises
    ------
    BackendUnavailable
        If the constraints file cannot be read.
    """

    def __init__(self, root: Path, constraints: Path, extension_root: Path) -> None:
        self.root = root
        self.constraints = constraints
        self.extension_root = extension_root
        try:
            # Line endings are left out of account: an archive tool may have changed them.
            pins = constraints.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise BackendUnavailable(
                f"The extension's list of packages, {constraints}, cannot be read ({problem}); "
                "reinstall the extension."
            ) from None
        identity = f"{sys.platform} {platform.machine()}\n{pins}"
        self.key = hashlib.sha256(identity.encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """The folder of the environment that belongs to the present constraints."""
        return self.root / "environments" / self.key

    @property
    def python(self) -> Path:
        """The environment's Python, whether it is there or not."""
        return environment_python(self.folder)

    @property
    def marker(self) -> Path:
        """The file whose presence makes the environment complete."""
        return self.folder / MARKER_NAME

    @property
    def log(self) -> Path:
        """The log of the latest installation."""
        return self.root / "install.log"

    @property
    def state(self) -> EnvironmentState:
        """Whether the environment can be used; cheap enough for every redraw of a panel."""
        try:
            base = json.loads(self.marker.read_text(encoding="utf-8"))["base"]
            # The Python below may be Blender's own or the system's, and may have been removed.
            if Path(base).exists() and self.python.exists():
                return EnvironmentState.READY
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return EnvironmentState.INCOMPLETE if self.folder.exists() else EnvironmentState.MISSING


def environment_python(folder: Path) -> Path:
    """Return the path of the Python executable in the virtual environment `folder`."""
    if os.name == "nt":
        return folder / "Scripts" / "python.exe"
    return folder / "bin" / "python"


def overriding_choice() -> BackendChoice | None:
    """Return the choice of the variable `FAIRFIELD_BACKEND`, a command line, if it is set."""
    command = os.environ.get(OVERRIDE, "").strip()
    if not command:
        return None
    return BackendChoice(BackendKind.COMMAND, command=command, source=f"the variable {OVERRIDE}")


def backend_command(choice: BackendChoice, environment: ManagedEnvironment) -> list[str]:
    """Return the command line of the chosen backend, without starting it.

    For `BackendKind.PYTHON` the interpreter is asked once for its version and packages, which
    takes about 0.1 s; the answer is remembered.

    Raises
    ------
    BackendUnavailable
        If it cannot work: nothing installed, no such program, a Python without the packages.
    """
    if choice.kind is BackendKind.COMMAND:
        return _split_command(choice.command, choice.source)
    if choice.kind is BackendKind.PYTHON:
        python = _checked_python(choice.python, environment)
    else:
        python = _installed_python(environment)
    program = environment.extension_root / "backend" / "fairfield" / "__main__.py"
    return [str(python), "-I", str(program), "serve"]


def child_environment(
    variables: Mapping[str, str] | None = None, *, managed: bool = False
) -> dict[str, str]:
    """Return the environment variables for the backend or the installer.

    What would reach into another Python or another program is left out; proxies, certificates
    and device settings such as CUDA_VISIBLE_DEVICES stay.

    Parameters
    ----------
    variables
        What to start from, by default this process's own variables.
    managed
        Leave out library search paths too. The managed environment brings all its libraries,
        whereas a Python of the artist's may need those paths to start at all.
    """
    kept = {
        name: value
        for name, value in (os.environ if variables is None else variables).items()
        if not name.upper().startswith(_DROPPED_PREFIXES)
        and not (managed and name.upper() in _LIBRARY_PATHS)
    }
    # Idle worker threads must sleep, not spin: Blender needs the cores between two steps.
    kept["OMP_WAIT_POLICY"] = "passive"
    return kept


def _installed_python(environment: ManagedEnvironment) -> Path:
    state = environment.state
    if state is EnvironmentState.MISSING:
        raise BackendUnavailable(
            "The backend is not installed; click Install Backend in the sidebar's Fairfield tab."
        )
    if state is EnvironmentState.INCOMPLETE:
        raise BackendUnavailable(
            "The backend's installation was not completed; click Install Backend in the sidebar's "
            "Fairfield tab to finish it."
        )
    return environment.python


def _split_command(text: str, origin: str) -> list[str]:
    try:
        if os.name == "nt":
            # The POSIX rules would eat the backslashes of Windows paths.
            words = [word.strip('"') for word in shlex.split(text, posix=False)]
        else:
            words = shlex.split(text)
    except ValueError as problem:
        raise BackendUnavailable(
            f"The backend command in {origin}, {text!r}, cannot be split into words ({problem}); "
            "close its quotation marks."
        ) from None
    if not words:
        raise BackendUnavailable(
            f"The backend command in {origin} is empty; enter one, such as 'fairfield serve', or "
            "choose the managed backend."
        )
    if shutil.which(words[0]) is None:
        raise BackendUnavailable(
            f"The backend command in {origin} starts with {words[0]!r}, which is not a program on "
            "this computer; enter its full path."
        )
    return words


# Pythons that passed, by path and time of change; one that failed is asked again each time.
_passed: set[tuple[Path, int]] = set()


def _checked_python(text: str, environment: ManagedEnvironment) -> Path:
    """Return the executable that `text` names if it can run the backend."""
    remedy = "choose another in the Fairfield preferences, or the managed backend"
    if not text.strip():
        raise BackendUnavailable(
            "No Python is set for the backend; enter the path of one in the Fairfield "
            "preferences, or choose the managed backend."
        )
    python = Path(text.strip().strip('"')).expanduser()
    if python.is_dir():
        python = environment_python(python)
    if not python.is_file():
        raise BackendUnavailable(f"The backend's Python, {python}, does not exist; {remedy}.")
    stamp = (python, python.stat().st_mtime_ns)
    if stamp in _passed:
        return python

    command = [str(python), "-I", "-c", _PROBE, *MODULES]
    try:
        answer = subprocess.run(
            command,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        found = json.loads(answer.stdout.splitlines()[-1])
        version, missing = tuple(found["version"]), list(found["missing"])
    except subprocess.TimeoutExpired:
        raise BackendUnavailable(
            f"The backend's Python, {python}, gave no answer in {_PROBE_SECONDS} seconds; {remedy}."
        ) from None
    except (OSError, ValueError, LookupError, TypeError):
        raise BackendUnavailable(
            f"The backend's Python, {python}, is not a Python that runs; {remedy}."
        ) from None
    if version not in PYTHON_VERSIONS:
        raise BackendUnavailable(
            f"The backend's Python, {python}, is version {'.'.join(map(str, version))}; the "
            f"backend needs {spoken_versions()}: {remedy}."
        )
    if missing:
        raise BackendUnavailable(
            f"The backend's Python, {python}, lacks {', '.join(missing)}; run "
            f'"{python}" -m pip install -r "{environment.extension_root / "constraints.txt"}", or '
            "choose the managed backend."
        )
    _passed.add(stamp)
    return python


def spoken_versions() -> str:
    """The versions of Python that the backend supports, for a sentence."""
    names = [f"{major}.{minor}" for major, minor in PYTHON_VERSIONS]
    return f"{', '.join(names[:-1])} or {names[-1]}"
