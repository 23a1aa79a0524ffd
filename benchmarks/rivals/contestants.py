"""Who takes part, and with which values of the one parameter that the user would turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import blender
import fairfield
import meshlab
import raw_vertices
from judging import Answer

OURS = "Fairfield, Smooth and Extract"
RESOLUTION = 256


@dataclass(frozen=True)
class Contestant:
    """A way to an answer.

    Attributes
    ----------
    answer
        From a mesh and the parameter.
    parameter
        What the parameter is called; empty where there is none.
    usual
        The program's own default, or what is usually taken.
    choices
        All values that are tried, the usual one among them.
    """

    answer: Callable[[fairfield.TriangleMesh, float], Answer]
    parameter: str = ""
    usual: float = 0
    choices: tuple[float, ...] = (0,)


def ours(mesh: fairfield.TriangleMesh, _: float) -> Answer:
    """Fit, Smooth and Extract as they are by default."""
    field = fairfield.fit(mesh)
    smoothed = fairfield.smooth(field, mesh)
    surface = fairfield.extract(field, RESOLUTION, scale="auto")
    return Answer(smoothed.normals, smoothed.mean_curvature, surface)


def as_it_is(mesh: fairfield.TriangleMesh, _: float) -> Answer:
    """The mesh, with the normals that Blender gives its vertices."""
    return blender.tool("normals", moves=True)(mesh, 0)


CONTESTANTS = {
    OURS: Contestant(ours),
    "Blender: the mesh and its normals": Contestant(as_it_is),
    "Blender: Smooth modifier": Contestant(
        blender.tool("smooth", moves=True), "repeat", 1, (1, 3, 10, 30, 100, 300)
    ),
    "Blender: voxel Remesh": Contestant(
        blender.tool("voxel-remesh", moves=False), "voxel size", 0.1, (0.1, 0.07, 0.05, 0.03, 0.015)
    ),
    "MeshLab: APSS": Contestant(meshlab.apss, "filter scale", 2, (2, 4, 8, 12)),
    "MeshLab: screened Poisson": Contestant(meshlab.screened_poisson, "depth", 8, (4, 5, 6, 7, 8)),
    "MeshLab: scale-dependent quadric": Contestant(
        meshlab.scale_dependent_quadric, "percent", 10, (1.5, 2, 3, 5, 7, 10, 15)
    ),
    "libigl: quadric": Contestant(raw_vertices.libigl_quadric, "ring", 5, (2, 3, 5, 8, 12, 18)),
    "Taubin smoothing": Contestant(
        raw_vertices.taubin, "iterations", 10, (5, 10, 20, 50, 100, 200, 500)
    ),
    "jet of degree 2": Contestant(
        raw_vertices.jet(2), "neighbours", 18, (12, 18, 30, 60, 120, 240, 480, 960)
    ),
    "jet of degree 4": Contestant(
        raw_vertices.jet(4), "neighbours", 30, (20, 30, 60, 120, 240, 480, 960, 1920)
    ),
}
