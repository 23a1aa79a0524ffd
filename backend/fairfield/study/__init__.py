"""The evaluation: every table and figure again, from fits of the public shapes with exact truth.

`run` is what `fairfield evaluate` calls. Everything but the seconds comes out the same every time.
"""

from __future__ import annotations

from .report import PARTS, run

__all__ = ["PARTS", "run"]
