"""Normal and curvature at a mesh's vertices from the vertices around, and how far to trust them.

A polynomial of degree four is fitted to the heights of the nearest vertices over a tangent plane
(Cazals & Pouget 2005, "osculating jets"). On vertices that lie on a smooth surface it is many times
closer than any field that was fitted, and on noisy ones many times further off. Which of the two it
is, the fit tells itself:

- Its residual is the vertices' noise, and the noise's part in the slope is its error. Where the
  field's normal is further away than that, the field is wrong.
- White noise leaves a quartic the same residual as a quadric, for each degree of freedom; a shape
  leaves it far less, if there are vertices enough to a wave. In between lie the terraces of a
  scanned volume, the ripples of a filtered scan and facets that were subdivided: neighbours are
  wrong alike there, and the residual does not tell by how much. Only a shape is believed.

Both are judged by mean squares over as much surface as the field averages over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..jets import Array
from ..mesh import TriangleMesh
from ..progress import Progress, ProgressCallback, part
from ..threads import thread_count
from .tangent import tangent_frame

NEIGHBOURS = 30
"""Vertices that a polynomial is fitted to, its own among them. In a square grid, fewer than 29
reach over five rows only, and a quartic goes exactly through those, whatever bend is there."""
FEWEST = 20
DEGREE = 4
QUARTIC, QUADRIC = 15, 6
"""Coefficients of each in two variables; a quadric's are a quartic's first."""
ALIKE = 0.5
"""Least cosine between normals on one side of a thin wall."""
SAME_FACE = np.cos(np.radians(22.5))
"""Least cosine between normals of one face. Half the angle of a crease: what lies across a sharp
edge is not judged together, the facets that stand for a curved surface are."""
LARGEST_GAIN = 8.0
"""Slopes are not to be trusted where noise becomes so many times itself over the neighbourhood's
radius: there the vertices lie on few lines. It is 2 on a regular mesh, 6 on an irregular one."""
ROUNDING = 2.0**-24
"""Of a coordinate in single precision, which most files have."""
HONEST = 2.0
"""The error may be so many times what the residual tells."""
SHAPE = (0.2, 0.28)
"""Residual of the quartic over that of the quadric up to which, and from which on no more, what is
left counts as the shape's own."""
ROUNDINGS = 2.0
"""A residual of so many roundings of the coordinates tells neither."""
REACH = 2.0
"""Radius that is averaged over, in scales of the field."""
ROWS_AT_ONCE = 1 << 12
DOING = "Comparing with the mesh"


@dataclass(frozen=True, eq=False)
class VertexJets:
    """The polynomials at V vertices; zeros where there was none to fit.

    Attributes
    ----------
    normals
        (V, 3) unit normals, outward.
    hessians
        (V, 3, 3) of the signed distance to the polynomial's surface, in 1 / length.
    height
        (V,) of the polynomial's surface over the vertex, along `normals`.
    radius
        (V,) of the neighbourhood.
    share
        (V,) from 0 to 1: how far the answer should be the mesh's instead of the field's.
    """

    normals: Array
    hessians: Array
    height: Array
    radius: Array
    share: Array


def vertex_jets(
    mesh: TriangleMesh, field_normals: Array, field_scale: Array, progress: ProgressCallback
) -> VertexJets:
    """Fit polynomials at all vertices, and compare them with a field's answers.

    Parameters
    ----------
    field_normals
        (V, 3) the field's unit normals at the vertices; NaN where it has none.
    field_scale
        (V,) standard deviation per axis of what the field's were averaged over, in length.
    """
    # Vertices at the same place, as along seams, count once.
    size = np.ptp(mesh.vertices, axis=0).max() or 1.0
    places, first, index = np.unique(
        mesh.vertices / size, axis=0, return_index=True, return_inverse=True
    )
    index = index.reshape(-1)
    outward = np.nan_to_num(field_normals[first])
    fits = _Fits(places, _vertex_normals(places, index[mesh.triangles], outward))
    fits.fit(part(progress, 0.0, 0.7))
    share = _share(fits, outward, field_scale[first] / size, part(progress, 0.7, 1.0))
    share[~np.isfinite(field_normals[first]).all(axis=1)] = 0
    return VertexJets(
        fits.normals[index],
        fits.hessians[index] / size,
        fits.height[index] * size,
        fits.radius[index] * size,
        share[index],
    )


class _Fits:
    """Polynomials at (V, 3) places about planes across (V, 3) vectors."""

    def __init__(self, places: Array, across: Array) -> None:
        count = len(places)
        self.places = places
        self.across = across
        self.tree = cKDTree(places)
        self.normals = across.copy()
        self.hessians = np.zeros((count, 3, 3))
        self.height = np.zeros(count)
        self.radius = np.zeros(count)
        self.usable = np.zeros(count, bool)
        # Mean squares for each degree of freedom, and the slope's variance that they imply.
        self.quartic_residual, self.quadric_residual, self.variance = np.zeros((3, count))
        self.rounding = (ROUNDING * np.abs(places).max()) ** 2

    def fit(self, progress: ProgressCallback) -> None:
        """Fit all of them."""
        if len(self.places) < FEWEST:
            return
        # At rims, beside edges and on thin walls it takes more vertices, and a choice among them.
        for neighbours, candidates, piece in (
            (NEIGHBOURS, NEIGHBOURS, (0.0, 0.8)),
            (2 * NEIGHBOURS, 4 * NEIGHBOURS, (0.8, 1.0)),
        ):
            rows = np.flatnonzero(~self.usable)
            report = part(progress, *piece)
            for start in range(0, len(rows), ROWS_AT_ONCE):
                report(Progress(start / len(rows), DOING))
                self._fit(rows[start : start + ROWS_AT_ONCE], neighbours, candidates)

    def _fit(self, rows: NDArray[np.intp], neighbours: int, candidates: int) -> None:
        candidates = min(candidates, len(self.places))
        distance, near = self.tree.query(self.places[rows], k=candidates, workers=thread_count())
        up = self.across[rows]
        same_side = (self.across[near] @ up[:, :, None])[..., 0] > ALIKE  # [n, k]
        chosen = np.argsort(~same_side, axis=1, kind="stable")[:, :neighbours]
        near, distance, same_side = (
            np.take_along_axis(each, chosen, axis=1) for each in (near, distance, same_side)
        )
        radius = (distance * same_side).max(axis=1)
        enough = same_side.sum(axis=1) >= FEWEST
        rows, near, up, same_side, radius = (
            each[enough] for each in (rows, near, up, same_side, radius)
        )
        frame = np.concatenate([tangent_frame(torch.from_numpy(up)).numpy(), up[:, None]], axis=1)
        local = (self.places[near] - self.places[rows][:, None]) @ frame.transpose(0, 2, 1)
        x, y, z = np.moveaxis(local / radius[:, None, None], -1, 0)
        monomials = _monomials(x, y) * same_side[..., None]
        z *= same_side
        gram = monomials.transpose(0, 2, 1) @ monomials
        # So little does not change a fit that can be used, and lets the others be computed.
        gram += 1e-13 * np.eye(QUARTIC)
        moments = monomials.transpose(0, 2, 1) @ z[..., None]
        inverse = np.linalg.inv(gram)
        solution = inverse @ moments
        low = slice(QUADRIC)
        quadric = np.linalg.solve(gram[:, low, low], moments[:, low])
        members = same_side.sum(axis=1)
        quartic_residual, quadric_residual = (
            ((z - (monomials[..., : c.shape[1]] @ c)[..., 0]) ** 2).sum(axis=1)
            * radius**2
            / (members - c.shape[1])
            + self.rounding
            for c in (solution, quadric)
        )
        gain = inverse[:, 1, 1] + inverse[:, 2, 2]
        value, fx, fy, fxx, fxy, fyy = solution[:, :QUADRIC, 0].T
        rise = np.sqrt(1 + fx**2 + fy**2)
        normals = (np.stack([-fx, -fy, np.ones_like(fx)], axis=1)[:, None] @ frame)[:, 0]
        normals /= rise[:, None]
        bend = np.stack([2 * fxx, fxy, fxy, 2 * fyy], axis=1).reshape(-1, 2, 2)
        plane = frame[:, :2] - (frame[:, :2] @ normals[:, :, None]) * normals[:, None]
        self.normals[rows] = normals
        self.hessians[rows] = (
            plane.transpose(0, 2, 1) @ -bend @ plane / (rise * radius)[:, None, None]
        )
        self.height[rows] = value * radius / rise
        self.radius[rows] = radius
        self.quartic_residual[rows] = quartic_residual
        self.quadric_residual[rows] = quadric_residual
        self.variance[rows] = quartic_residual * gain / radius**2
        # Where a vertex's own triangles say otherwise, it lies on an edge.
        agrees = (normals * up).sum(axis=1) > SAME_FACE
        self.usable[rows] = (gain > 0) & (gain < LARGEST_GAIN**2) & agrees


def _monomials(x: Array, y: Array) -> Array:
    """1, x, y, x^2, x y, y^2, ... at (n, k) places: (n, k, 15)."""
    rows = [[np.ones_like(x)]]
    for _ in range(DEGREE):
        rows.append([x * each for each in rows[-1]] + [y * rows[-1][-1]])
    return np.stack([each for row in rows for each in row], axis=-1)


def _share(fits: _Fits, outward: Array, field_scale: Array, progress: ProgressCallback) -> Array:
    """How far to believe each fit (V,), beside a field's unit normals (V, 3) at scales (V,)."""
    share = np.zeros(len(outward))
    turn = np.linalg.norm(fits.normals - outward, axis=1)
    squares = np.stack(
        [turn**2, fits.variance, fits.quartic_residual, fits.quadric_residual], axis=1
    )
    usable = np.flatnonzero(fits.usable)
    # A quarter of the vertices reach twice as far with as many neighbours.
    order = np.random.default_rng(0).permutation(usable)
    reach = REACH * np.nan_to_num(field_scale[usable]) / fits.radius[usable]
    thinned = np.rint(np.log2(np.maximum(reach, 1.0))).astype(int)
    done = 0
    for level in np.unique(thinned):
        sample = order[: max(len(order) >> (2 * level), min(NEIGHBOURS, len(order)))]
        tree = cKDTree(fits.places[sample])
        rows = usable[thinned == level]
        for start in range(0, len(rows), ROWS_AT_ONCE):
            progress(Progress(done / len(usable), DOING))
            some = rows[start : start + ROWS_AT_ONCE]
            done += len(some)
            count = min(NEIGHBOURS, len(sample))
            _, near = tree.query(fits.places[some], k=count, workers=thread_count())
            near = sample[near.reshape(len(some), count)]
            alike = (outward[near] @ outward[some][:, :, None])[..., 0] > SAME_FACE
            squares_around = (squares[near] * alike[..., None]).sum(axis=1) + squares[some]
            means = squares_around / (1 + alike.sum(axis=1, keepdims=True))
            share[some] = _trust(means, fits.rounding)
    return share


def _trust(squares: Array, rounding: float) -> Array:
    """From 0 to 1 (n,), by the mean squares (n, 4) of what is compared."""
    turn, variance, quartic, quadric = squares.T
    left = np.sqrt(np.maximum(quartic - ROUNDINGS**2 * rounding, 0) / quadric)
    shape, noise = SHAPE
    told = np.clip((noise - left) / (noise - shape), 0, 1)
    return told * np.clip(1 - HONEST**2 * variance / np.maximum(turn, 1e-300), 0, 1)


def _vertex_normals(places: Array, triangles: NDArray[np.intp], outward: Array) -> Array:
    """Angle-weighted unit normals (V, 3), on the field's side; 0 at a vertex without triangles."""
    corners = places[triangles]  # [F, 3, 3]
    ahead = np.roll(corners, -1, axis=1) - corners
    behind = np.roll(corners, 1, axis=1) - corners
    across = np.cross(ahead[:, 0], behind[:, 0])
    area = np.linalg.norm(across, axis=1, keepdims=True)
    across /= np.maximum(area, 1e-300)
    along = (across * outward[triangles].mean(axis=1)).sum(axis=1)
    # Where nothing is enclosed a field's normals may be anything: only a clear contradiction is
    # heeded.
    side = -1 if (along * area[:, 0]).sum() < -ALIKE * area.sum() else 1
    across *= side * np.where(along * side < -ALIKE, -1, 1)[:, None]
    angles = np.arctan2(area, (ahead * behind).sum(axis=2))
    normals = np.stack(
        [
            np.bincount(triangles.reshape(-1), (angles * axis[:, None]).reshape(-1), len(places))
            for axis in across.T
        ],
        axis=1,
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(length > 0, length, 1)
