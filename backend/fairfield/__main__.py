"""`python -m fairfield`, or `python -I path/to/fairfield/__main__.py` without an installed package.

The second form is how the Blender extension starts the backend: the environment's Python holds
third-party packages only, and the engine is the extension's own copy beside this file.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fairfield.command import main

if __name__ == "__main__":
    sys.exit(main())
