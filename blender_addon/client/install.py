"""The installer program: `python -I install.py`, run by Blender's own Python as a child of Blender.

It needs the standard library alone, reads its request from standard input and answers on standard
output, as `install_request.py` describes. Blender never imports this module.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

if not __package__:
    # Run as a file it belongs to no package; its folder becomes one, for the imports below.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "client"

from .install_process import Commands, InstallationError, Progress
from .install_request import InstallRequest
from .install_steps import lock, run


def main() -> int:
    """Carry out the request on standard input; return the exit code."""
    try:
        request = InstallRequest.from_json(sys.stdin.buffer.readline().decode("utf-8"))
    except (ValueError, TypeError, KeyError) as problem:
        sys.stderr.write(f"standard input holds no request: {problem!r}\n")
        return 2
    events = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="\n")
    progress = Progress(events)
    commands = Commands(progress)
    commands.end_with_input()
    try:
        # Locked before the log is opened, which empties what another installation may be writing.
        with lock(Path(request.root)), open(request.log, "w", encoding="utf-8") as log:
            progress.log_to(log)
            run(request, progress, commands)
    except InstallationError as failure:
        progress.fail(failure)
        return 1
    except OSError as problem:
        progress.fail(InstallationError(output=str(problem)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
