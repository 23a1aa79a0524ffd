"""Starts the backend that the preferences choose."""

from __future__ import annotations

from pathlib import Path

import bpy

from .client import environment
from .client.backend import Backend
from .client.environment import BackendChoice, BackendKind, ManagedEnvironment

# The extension's own package, which names its preferences and its writable folder.
EXTENSION = __package__.rpartition(".")[0]
EXTENSION_ROOT = Path(__file__).resolve().parents[1]


def preferences() -> bpy.types.AddonPreferences:
    """Return the extension's preferences."""
    return bpy.context.preferences.addons[EXTENSION].preferences


def managed_environment() -> ManagedEnvironment:
    """Return the environment that the extension installs for its backend."""
    return ManagedEnvironment(
        root=Path(bpy.utils.extension_path_user(EXTENSION, create=True)),
        constraints=EXTENSION_ROOT / "constraints-hashed.txt",
        extension_root=EXTENSION_ROOT,
    )


def choice() -> BackendChoice:
    """Return the backend that the preferences choose, unless a variable overrides them."""
    chosen = preferences()
    return environment.overriding_choice() or BackendChoice(
        kind=BackendKind(chosen.backend),
        python=bpy.path.abspath(chosen.python),
        command=chosen.command,
    )


def command() -> list[str]:
    """Return the command line of the chosen backend.

    Raises
    ------
    BackendUnavailable
        If it cannot work, with the remedy.
    """
    return environment.backend_command(choice(), managed_environment())


def start() -> Backend:
    """Start the chosen backend.

    Raises
    ------
    BackendUnavailable
        If it cannot be started, with the remedy.
    """
    managed = choice().kind is BackendKind.MANAGED
    return Backend(
        command(),
        environment=environment.child_environment(managed=managed),
        folder=EXTENSION_ROOT,
        client=f"Blender {bpy.app.version_string}",
    )
