"""What the add-on asks of the installer program, and the form in which it answers.

The add-on writes one `InstallRequest` as a line of JSON to the program's standard input and keeps
that open: its end means that Blender is gone, and the program ends too. The program answers with
one `InstallEvent` a line on its standard output.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from dataclasses import dataclass, field


class Step(enum.Enum):
    """The steps of an installation, in order; the values are what the artist reads."""

    CHECK = "Checking the disk"
    TOOL = "Fetching the installer"
    PYTHON = "Providing Python"
    PACKAGES = "Installing packages"
    VERIFY = "Trying the packages"
    COMPILE = "Compiling for this processor"
    FINISH = "Cleaning up"
    REMOVE = "Removing the backend"


@dataclass(frozen=True)
class InstallOptions:
    """The artist's or studio's settings; an empty string means that nothing is set.

    Attributes
    ----------
    index_url
        A package index to use instead of the one that pip is configured for.
    wheelhouse
        A folder with every wheel that is needed, uv's included; then nothing is downloaded.
    find_links
        A folder or page with wheels to use beside the index, such as one build of torch.
    proxy
        The proxy for everything that is downloaded, as ``http://host:port``.
    python
        The interpreter, or the version, to make the environment from.
    torch_backend
        uv's name for a build of torch, such as ``cpu`` or ``cu128``. Empty chooses by the
        graphics driver where packages come from the public index, and takes the build that is
        offered where they come from an index or folder of the studio's.
    """

    index_url: str = ""
    wheelhouse: str = ""
    find_links: str = ""
    proxy: str = ""
    python: str = ""
    torch_backend: str = ""


@dataclass(frozen=True)
class InstallRequest:
    """One run of the installer program; paths are absolute.

    Attributes
    ----------
    root
        The folder below which everything is made.
    environment
        The folder of the environment to build, below `root`.
    constraints
        The pinned packages to install into it.
    log
        The file that takes the output of every command.
    modules
        The modules that must import before the environment counts as complete.
    remove
        Remove everything below `root` instead of installing.
    """

    root: str
    environment: str
    constraints: str
    log: str
    modules: tuple[str, ...]
    options: InstallOptions = field(default_factory=InstallOptions)
    remove: bool = False

    def to_json(self) -> str:
        """Return the request as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> InstallRequest:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError, TypeError, KeyError
            If the line is something else.
        """
        fields = json.loads(line)
        options = InstallOptions(**fields.pop("options"))
        modules = tuple(fields.pop("modules"))
        return cls(options=options, modules=modules, **fields)


@dataclass(frozen=True)
class InstallEvent:
    """One line of the program's answer.

    Attributes
    ----------
    step
        The step that is under way.
    fraction
        How much of the whole run is done, 0 to 1, never falling.
    message
        What is being done, for the artist; may be empty.
    error
        Set on the last line of a run that failed: what went wrong, as one sentence, or empty
        where only `output` tells.
    output
        With `error`: the last lines that the failed command printed.
    done
        Whether this is the last line of a run that succeeded.
    """

    step: Step
    fraction: float
    message: str = ""
    error: str | None = None
    output: str = ""
    done: bool = False

    def to_json(self) -> str:
        """Return the event as one line of JSON."""
        return json.dumps({**dataclasses.asdict(self), "step": self.step.name})

    @classmethod
    def from_json(cls, line: str | bytes) -> InstallEvent:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError, TypeError, KeyError
            If the line is something else.
        """
        fields = json.loads(line)
        return cls(step=Step[fields.pop("step")], **fields)
