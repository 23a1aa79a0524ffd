"""Fairfield: smooth normals and curvature of meshes from hybrid neural signed distance fields.

The names below load on first use, so that importing the package (or `fairfield.wire` alone, as the
Blender extension does) needs neither torch nor any other heavy package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Cancelled": ".errors",
    "FairfieldError": ".errors",
    "Field": ".field",
    "Jets": ".jets",
    "Progress": ".progress",
    "TriangleMesh": ".mesh",
    "differentiate": ".operators",
    "extract": ".extraction",
    "finetune": ".finetuning",
    "fit": ".fitting",
    "load": ".field",
    "smooth": ".smoothing",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from .errors import Cancelled, FairfieldError
    from .extraction import extract
    from .field import Field, load
    from .finetuning import finetune
    from .fitting import fit
    from .jets import Jets
    from .mesh import TriangleMesh
    from .operators import differentiate
    from .progress import Progress
    from .smoothing import smooth


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from .threads import let_threads_sleep

    let_threads_sleep()
    return getattr(import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
