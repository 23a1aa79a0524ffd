"""MeshLab's filters, through PyMeshLab: a reconstruction or a curvature for each parameter."""

from __future__ import annotations

from typing import Any

import fairfield
import numpy as np
from judging import Answer


def apss(mesh: fairfield.TriangleMesh, filter_scale: float) -> Answer:
    """Algebraic point-set surfaces (Guennebaud and Gross 2007): marching cubes, and curvature."""
    meshes = _meshes(mesh)
    meshes.apply_filter(
        "compute_curvature_and_color_apss_per_vertex",
        filterscale=filter_scale,
        curvaturetype="Mean",
    )
    # What it calls the mean is the sum of both principal curvatures.
    curvature = meshes.current_mesh().vertex_scalar_array() / 2
    meshes = _meshes(mesh)
    meshes.apply_filter("generate_marching_cubes_apss", filterscale=filter_scale)
    return _reconstruction(meshes, curvature)


def screened_poisson(mesh: fairfield.TriangleMesh, depth: float) -> Answer:
    """Screened Poisson reconstruction (Kazhdan and Hoppe 2013) from the vertices and normals."""
    meshes = _meshes(mesh)
    meshes.apply_filter(
        "generate_surface_reconstruction_screened_poisson", depth=int(depth), threads=1
    )
    return _reconstruction(meshes)


def scale_dependent_quadric(mesh: fairfield.TriangleMesh, percent: float) -> Answer:
    """Curvature of a quadric through all vertices within a percentage of the diagonal."""
    import pymeshlab

    meshes = _meshes(mesh)
    meshes.apply_filter(
        "compute_curvature_principal_directions_per_vertex",
        method="Scale Dependent Quadric Fitting",
        scale=pymeshlab.PercentageValue(percent),
        # The rows have to stay those of the given vertices.
        autoclean=False,
    )
    return Answer(curvature=np.array(meshes.current_mesh().vertex_scalar_array()))


def _meshes(mesh: fairfield.TriangleMesh) -> Any:
    import pymeshlab

    meshes = pymeshlab.MeshSet(verbose=False)
    meshes.add_mesh(pymeshlab.Mesh(mesh.vertices, mesh.triangles))
    return meshes


def _reconstruction(meshes: Any, curvature: np.ndarray | None = None) -> Answer:
    made = meshes.current_mesh()
    vertices, triangles = np.array(made.vertex_matrix()), np.array(made.face_matrix())
    normals = np.array(made.vertex_normal_matrix())
    # Of much noise APSS makes a few vertices that are not numbers: their triangles do not count.
    finite = np.isfinite(vertices).all(axis=1)
    used, compact = np.unique(triangles[finite[triangles].all(axis=1)], return_inverse=True)
    length = np.linalg.norm(normals[used], axis=1, keepdims=True)
    return Answer(
        curvature=curvature,
        surface=fairfield.TriangleMesh(vertices[used], compact.reshape(-1, 3)),
        surface_normals=normals[used] / np.where(length > 0, length, 1),
    )
