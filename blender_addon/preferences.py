"""The extension's preferences: which backend, and how it is installed."""

from __future__ import annotations

import bpy

from . import launch, session
from .client.environment import BackendUnavailable, EnvironmentState
from .client.install_request import InstallOptions
from .client.installation import InstallationState
from .sentences import draw_sentence

LOG_LINES_SHOWN = 12


class FairfieldPreferences(bpy.types.AddonPreferences):
    """Settings that hold for every file."""

    bl_idname = launch.EXTENSION

    backend: bpy.props.EnumProperty(
        name="Backend",
        description="The program that does the computing, in a process of its own",
        items=(
            ("managed", "Managed", "Installed and kept by this extension"),
            ("python", "Python Environment", "A Python that has the needed packages"),
            ("command", "Command", "A command line for a backend, here or on another computer"),
        ),
        default="managed",
    )
    python: bpy.props.StringProperty(
        name="Python",
        description="The Python executable of an environment, or the environment's folder",
        subtype="FILE_PATH",
    )
    command: bpy.props.StringProperty(
        name="Command",
        description="For instance: ssh computer fairfield serve",
    )
    index_url: bpy.props.StringProperty(
        name="Package Index",
        description="Where packages are downloaded from; empty for the usual place",
    )
    wheelhouse: bpy.props.StringProperty(
        name="Wheelhouse",
        description="A folder with every package; then nothing is downloaded",
        subtype="DIR_PATH",
    )
    find_links: bpy.props.StringProperty(
        name="More Packages",
        description="A folder or page with packages to use beside the index",
    )
    proxy: bpy.props.StringProperty(
        name="Proxy", description="Proxy for downloads, as http://host:port"
    )
    base_python: bpy.props.StringProperty(
        name="Base Python",
        description="Python 3.11, 3.12 or 3.13 to make the environment from; empty finds one",
        subtype="FILE_PATH",
    )
    torch_backend: bpy.props.StringProperty(
        name="Build of PyTorch",
        description="Such as cpu or cu128; empty chooses by the graphics driver",
    )

    def install_options(self) -> InstallOptions:
        """Return where packages come from."""
        return InstallOptions(
            index_url=self.index_url.strip(),
            wheelhouse=bpy.path.abspath(self.wheelhouse) if self.wheelhouse else "",
            find_links=self.find_links.strip(),
            proxy=self.proxy.strip(),
            python=bpy.path.abspath(self.base_python) if self.base_python else "",
            torch_backend=self.torch_backend.strip(),
        )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "backend")
        if self.backend == "python":
            layout.prop(self, "python")
        elif self.backend == "command":
            layout.prop(self, "command")
        else:
            self._draw_managed(layout, context)
        _draw_log(layout, "Log of the backend", list(session.current().queue.log))

    def _draw_managed(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        active = session.current()
        options = layout.column()
        options.enabled = not active.installing
        for name in (
            "index_url",
            "wheelhouse",
            "find_links",
            "proxy",
            "base_python",
            "torch_backend",
        ):
            options.prop(self, name)
        draw_environment(layout, context)
        draw_installation(layout, context)
        if active.installation is not None:
            log = active.installation.log_tail(LOG_LINES_SHOWN)
            _draw_log(layout, "Log of the installation", log)


def _draw_log(layout: bpy.types.UILayout, title: str, lines: list[str]) -> None:
    """Draw the last lines of a log; nothing if it is empty."""
    if not lines:
        return
    box = layout.box().column()
    box.label(text=title)
    column = box.column()
    column.scale_y = 0.7
    for line in lines[-LOG_LINES_SHOWN:]:
        column.label(text=line)


def draw_environment(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the state of the managed environment and the buttons that change it."""
    active = session.current()
    try:
        state = launch.managed_environment().state
    except BackendUnavailable as problem:
        draw_sentence(layout, context, str(problem), "ERROR")
        return
    row = layout.row()
    row.enabled = not active.installing
    if state is EnvironmentState.READY:
        row.label(text="The backend is installed.", icon="CHECKMARK")
        row.operator("fairfield.remove_backend")
    else:
        missing = state is EnvironmentState.MISSING
        row.label(text="Not installed." if missing else "Installation not completed.", icon="INFO")
        row.operator("fairfield.install_backend", icon="IMPORT")


def draw_installation(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the progress or the failure of an installation, if there is one."""
    active = session.current()
    installation = active.installation
    if installation is None:
        return
    if active.installing:
        draw_installation_progress(layout, active)
        if installation.message:
            draw_sentence(layout, context, installation.message, "NONE")
    elif installation.state is InstallationState.FAILED:
        draw_sentence(layout, context, installation.error, "ERROR")


def draw_installation_progress(layout: bpy.types.UILayout, active: session.Session) -> None:
    """Draw how far an installation has come, and the button to cancel it, in one row."""
    installation = active.installation
    assert installation is not None
    row = layout.row()
    row.progress(factor=installation.fraction, text=installation.stage)
    row.operator("fairfield.cancel", text="", icon="X")


CLASSES = (FairfieldPreferences,)
