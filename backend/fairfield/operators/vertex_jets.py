"""Normal and curvature at a mesh's vertices from the vertices around, and how far to trust them.

A polynomial of degree four is fitted to the heights of the nearest vertices over a tangent plane
(Cazals & Pouget 2005, "osculating jets"). On vertices that lie on a smooth surface it is many times
closer than any field that was fitted, on noisy ones many times further off, and where a flat face
turns into a rounding it reaches across; there the mean of the facets' normals may be the closest.
Which of the three it is, the vertices tell:

- White noise leaves a quartic the same residual as a quadric, for each degree of freedom; a shape
  leaves it far less, if there are vertices enough to a wave. In between lie the terraces of a
  scanned volume, the ripples of a filtered scan and facets that were subdivided: neighbours are
  wrong alike there, and the residual does not tell by how much. Only where enough of the vertices
  tell of a shape, or lie in one plane, is the mesh believed at all: among as many as the field
  averages over, since an edge spoils few of them and noise all.
- The details of a model that has few vertices for them leave residuals as noise does. But noise is
  about the same everywhere around, and it turns facets as much as it moves vertices, while those of
  a model lie along its details.
- On a circle, and to second order on every curve, the normals at both ends of a chord lean away
  from it alike. By how much they do not, a field of normals is wrong: half of it is close to the
  error of facets' mean normals. (Chords tell nothing of noise, which they have themselves.)
- The residual is the polynomial's error as far as it is random; the chords tell the rest.
- Where vertices lie beside the surface, as after marching cubes or decimation, chords lean against
  exact normals, too. Against the facets' they lean as much, though those are further off. So what
  the residual explains of that is none of the field's error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..jets import Array
from ..mesh import TriangleMesh, distinct_rows
from ..progress import Progress, ProgressCallback, part, silent
from ..threads import thread_count
from .height_polynomials import DEGREE, QUADRIC, QUARTIC, jets_of_heights
from .polynomial import monomials
from .tangent import tangent_frame

NEIGHBOURS = 30
"""Vertices that a polynomial is fitted to, its own among them. In a square grid, fewer than 29
reach over five rows only, and a quartic goes exactly through those, whatever bend is there."""
FEWEST = 20
ALIKE = 0.5
"""Least cosine between normals on one side of a thin wall."""
SAME_FACE = np.cos(np.radians(22.5))
"""Least cosine between normals of one face. Half the angle of a crease: what lies across a sharp
edge is not judged together, the facets that stand for a curved surface are."""
LARGEST_GAIN = 8.0
"""Slopes are not to be trusted where noise becomes so many times itself over the neighbourhood's
radius: there the vertices lie on few lines. It is 2 on a regular mesh, 6 on an irregular one."""
ROUNDING = 2.0**-24
"""Of a coordinate in single precision, relatively."""
HONEST = 2.0
"""The polynomial's error may be so many times what the residual tells."""
SHAPE = (0.2, 0.28)
"""Residual of the quartic over that of the quadric up to which, and from which on no more, what is
left counts as the shape's own."""
UNAVERAGED = (0.9, 1.3)
"""What the field averages over, in radii of the vertices' neighbourhoods, up to which, and from
which on no more, residuals may be a shape's that no quartic follows. A field that averages more has
found noise: on models it is 0.1 to 0.9, on terraces 1.3 to 5."""
UNEVEN = (0.3, 0.45)
"""Scatter of the residuals' logarithms among neighbours from which on they are such ones. Measured:
0.2, seldom 0.35 in white noise, 0.25 in noise that was filtered, 0.3 to 1.5 in models."""
LITTLE_LEFT = (0.4, 0.55)
"""Mean residual of the quartic over that of the quadric up to which that counts: it is 0.15 to 0.3
in models and 0.5 to 1 in noise."""
FEWEST_TO_SCATTER = 8
"""Neighbours on the same face that tell a scatter of 0.2 from one of 0.45."""
MUCH_OVER_FACETS = (2.5, 4.0)
"""What residuals tell, over the facets' error, from which on they are such ones, too. Noise shows
in both alike; over Suzanne's 507 vertices it is 6."""
SOME_LEFT, SMOOTH = (0.75, 0.9), (0.7, 0.85)
"""Residual of the quartic over that of the quadric up to which that counts: noise has 1. Or how
smooth facets have to be for it, as where a part goes into another and both are fitted together."""
TOLD = (0.4, 0.5)
"""Share of the vertices around that must tell of a shape, for the mesh to be believed a little, and
in full. On terraces it is a tenth, here and there a half."""
IN_ONE_PLANE = (0.6, 0.8)
"""The same for lying in one plane. A terrace is one too, but a field averages over several."""
LESS = (0.5, 0.8)
"""Error of a polynomial over that of the others up to which it is taken, and from which on not."""
NO_MORE = (0.9, 1.0)
"""The same for facets' normals over the field's."""
NOISE = (1.7, 2.2)
"""What residuals tell, over the facets' error, up to which it is noise, and from which on a shape
that the vertices do not resolve."""
UNNOTICED = 1e-4
"""An error in radians that is none."""
FLAT = 1e-10
"""One minus the cosine between facets' normals in a plane, with coordinates in single precision."""
ROUNDINGS = 2.0
"""A residual of so many roundings of the coordinates tells neither."""
REACH = 2.0
"""Radius that is averaged over, in scales of the field."""
ROWS_AT_ONCE = 1 << 12
ALIKE_AT_ENDS, LEFT_OF_WAVES = 0.26, 0.45
"""Correlation, along chords, of how high polynomials run over the vertices, from which on there are
waves, and mean residual of the quartic over that of the quadric up to which: 0.28 and 0.4 in waves
of six vertices, -0.25 and 1 in white noise, 0.24 and 0.4 in noise that was smoothed five times."""
SAMPLED_TRIANGLES = 1 << 9
"""By whose corners it is judged whether a mesh has waves."""
DOING = "Comparing with the mesh"


@dataclass(frozen=True, eq=False)
class VertexJets:
    """What V vertices tell; zeros where that is nothing.

    Attributes
    ----------
    normals
        (V, 3) unit normals, outward: the polynomial's, the facets', or between them.
    hessians
        (V, 3, 3) of the signed distance to the polynomial's surface, in 1 / length.
    height
        (V,) of the surface over the vertex, along `normals`.
    radius
        (V,) of the neighbourhood; the field's where there are too few vertices for a polynomial.
    share
        (V,) from 0 to 1: how far the answer should be the mesh's instead of the field's.
    hessian_share
        (V,) the same for the Hessian.
    """

    normals: Array
    hessians: Array
    height: Array
    radius: Array
    share: Array
    hessian_share: Array


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
    scaled = mesh.vertices / size
    first, index = distinct_rows(scaled)
    places = scaled[first]
    triangles = index[mesh.triangles]
    outward = np.nan_to_num(field_normals[first])
    across, spread = _vertex_normals(places, triangles, outward)
    fits = _Fits(places, across, _rounding(mesh.vertices) / size)
    fits.fit(part(progress, 0.0, 0.7))
    errors = _errors(fits, _Chords(fits, triangles, spread), spread, outward)
    believed, clear = _believed(
        fits, spread, outward, field_scale[first] / size, errors, part(progress, 0.7, 1.0)
    )
    believed[~np.isfinite(field_normals[first]).all(axis=1)] = 0
    less, less_than_field = (
        _falling(errors.polynomial / np.maximum(others, UNNOTICED), LESS)
        for others in (errors.facets, errors.field)
    )
    # Residuals of a shape are no noise: noise would show in the facets' normals as well.
    as_noise = _falling(errors.noise / np.maximum(errors.facets, UNNOTICED), NOISE)
    noise = as_noise * np.minimum(errors.noise, errors.facets)
    beyond_noise = np.sqrt(np.maximum(errors.field**2 - noise**2, 0))
    no_more = _falling(errors.facets / np.maximum(beyond_noise, 1e-300), NO_MORE)
    polynomial = believed * less * np.maximum(clear, no_more)
    facets = believed * (1 - less) * no_more
    # Facets have no curvature: the polynomial's may do where theirs are the better normals.
    hessian = np.maximum(polynomial, believed * less_than_field * clear)
    normals = polynomial[:, None] * fits.normals + facets[:, None] * across
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    share = polynomial + facets
    radius = fits.radius[index] * size
    height = fits.height * polynomial / np.maximum(share, 1e-300)
    return VertexJets(
        normals[index],
        fits.hessians[index] / size,
        height[index] * size,
        np.where(radius > 0, radius, 2 * field_scale),
        share[index],
        hessian[index],
    )


def are_waves(mesh: TriangleMesh) -> bool:
    """Whether what polynomials leave of a mesh's vertices are waves of the shape, and no noise."""
    order = np.random.default_rng(0).permutation(len(mesh.triangles))
    some = mesh.triangles[order[:SAMPLED_TRIANGLES]]
    corners, count = np.unique(some), min(NEIGHBOURS, len(mesh.vertices))
    # Of a large mesh, only what is near the sampled triangles is looked at.
    _, near = cKDTree(mesh.vertices).query(mesh.vertices[corners], k=count, workers=thread_count())
    is_near = np.zeros(len(mesh.vertices), bool)
    is_near[near] = True
    row = np.cumsum(is_near) - 1
    places = mesh.vertices[is_near]
    triangles = row[mesh.triangles[is_near[mesh.triangles].all(axis=1)]]
    across, spread = _vertex_normals(places, triangles, np.zeros_like(places))
    fits = _Fits(places, across, _rounding(mesh.vertices))
    fits.fit(silent, row[corners])
    chords = _Chords(fits, row[some], spread)
    heights = fits.height[chords.ends]
    products, squares = chords.between_fits * [heights.prod(axis=0), (heights**2).mean(axis=0)]
    left = fits.left[fits.fitted]
    alike = products.sum() > ALIKE_AT_ENDS * squares.sum()
    return bool(alike and len(left) > 0 and left.mean() < LEFT_OF_WAVES)


class _Fits:
    """Polynomials at (V, 3) places, rounded by so much, about planes across (V, 3) vectors."""

    def __init__(self, places: Array, across: Array, rounding: float) -> None:
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
        self.rounding = rounding**2

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """(V,) whether there is a polynomial, usable or not."""
        return self.quadric_residual > 0

    @property
    def left(self) -> Array:
        """(V,) residual of the quartic over that of the quadric, but for what is rounding."""
        square = np.maximum(self.quartic_residual - ROUNDINGS**2 * self.rounding, 0)
        left: Array = np.sqrt(square / np.where(self.fitted, self.quadric_residual, 1))
        return left

    def fit(self, progress: ProgressCallback, rows: NDArray[np.intp] | None = None) -> None:
        """Fit all of them, or those of some rows."""
        if len(self.places) < FEWEST:
            return
        asked = np.arange(len(self.places)) if rows is None else rows
        # At rims, beside edges and on thin walls it takes more vertices, and a choice among them.
        for neighbours, candidates, piece in (
            (NEIGHBOURS, NEIGHBOURS, (0.0, 0.8)),
            (2 * NEIGHBOURS, 4 * NEIGHBOURS, (0.8, 1.0)),
        ):
            rows = asked[~self.usable[asked]]
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
        *at, z = np.moveaxis(local / radius[:, None, None], -1, 0)
        table = np.moveaxis(monomials(np.stack(at), DEGREE), 0, -1) * same_side[..., None]
        z *= same_side
        gram = table.transpose(0, 2, 1) @ table
        # So little does not change a fit that can be used, and lets the others be computed.
        gram += 1e-13 * np.eye(QUARTIC)
        moments = table.transpose(0, 2, 1) @ z[..., None]
        inverse = np.linalg.inv(gram)
        solution = inverse @ moments
        low = slice(QUADRIC)
        quadric = np.linalg.solve(gram[:, low, low], moments[:, low])
        members = same_side.sum(axis=1)
        quartic_residual, quadric_residual = (
            ((z - (table[..., : c.shape[1]] @ c)[..., 0]) ** 2).sum(axis=1)
            * radius**2
            / (members - c.shape[1])
            + self.rounding
            for c in (solution, quadric)
        )
        gain = inverse[:, 1, 1] + inverse[:, 2, 2]
        coefficients = solution[:, :QUADRIC, 0]
        normals, self.hessians[rows], rise = jets_of_heights(coefficients, frame, radius)
        self.normals[rows] = normals
        self.height[rows] = coefficients[:, 0] * radius / rise
        self.radius[rows] = radius
        self.quartic_residual[rows] = quartic_residual
        self.quadric_residual[rows] = quadric_residual
        self.variance[rows] = quartic_residual * gain / radius**2
        # Where a vertex's own triangles say otherwise, it lies on an edge.
        agrees = (normals * up).sum(axis=1) > SAME_FACE
        self.usable[rows] = (gain > 0) & (gain < LARGEST_GAIN**2) & agrees


def _rounding(vertices: Array) -> float:
    """What coordinates may be rounded by.

    Most files have them in single precision, which tells less the further the mesh is away. With
    more digits than that, they count as if the mesh were rounded where it is at the origin.
    """
    with np.errstate(over="ignore"):
        is_single = (vertices.astype(np.float32) == vertices).all()
    largest = np.abs(vertices).max() if is_single else np.ptp(vertices, axis=0).max()
    return float(ROUNDING * largest)


def _believed(
    fits: _Fits,
    spread: Array,
    outward: Array,
    field_scale: Array,
    errors: _Errors,
    progress: ProgressCallback,
) -> tuple[Array, Array]:
    """How far to believe the vertices (V,), beside a field's unit normals (V, 3) at scales (V,).

    And how far the polynomials differ from the field by more than their residuals.
    """
    count = len(outward)
    fitted, left = fits.fitted, fits.left
    reach = REACH * np.nan_to_num(field_scale) / np.where(fits.radius > 0, fits.radius, np.inf)
    unaveraged = _falling(reach, UNAVERAGED)
    no_noise = np.maximum(_falling(left, SOME_LEFT), 1 - _falling(errors.smooth, SMOOTH))
    unresolved = (1 - _falling(errors.noise_over_facets, MUCH_OVER_FACETS)) * no_noise
    flat = (spread < FLAT) & fits.across.any(axis=1)
    curved = fitted & ~flat
    log_residual = np.log(np.where(curved, fits.quartic_residual, 1)) / 2
    turn = np.linalg.norm(fits.normals - outward, axis=1) ** 2
    table = np.stack(
        [
            fitted * np.maximum(_falling(left, SHAPE), unaveraged * unresolved),
            fitted,
            fits.usable * fits.variance,
            fits.usable * turn,
            curved,
            curved * left,
            curved * log_residual,
            curved * log_residual**2,
        ],
        axis=1,
    )
    in_plane = 2 * ROUNDINGS * np.sqrt(fits.rounding)
    believed, clear = np.zeros((2, count))
    # A quarter of the vertices reach twice as far with as many neighbours.
    order = np.random.default_rng(0).permutation(count)
    thinned = np.rint(np.log2(np.maximum(reach, 1.0))).astype(int)
    done = 0
    for level in np.unique(thinned):
        sample = order[: max(count >> (2 * level), min(NEIGHBOURS, count))]
        tree = cKDTree(fits.places[sample])
        rows = np.flatnonzero(thinned == level)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            progress(Progress(done / count, DOING))
            some = rows[start : start + ROWS_AT_ONCE]
            done += len(some)
            _, near = tree.query(
                fits.places[some], k=min(NEIGHBOURS, len(sample)), workers=thread_count()
            )
            near = sample[near.reshape(len(some), -1)]
            alike = (outward[near] @ outward[some][:, :, None])[..., 0] > SAME_FACE
            told, able, variance, change, *residuals = (
                (table[near] * alike[..., None]).sum(axis=1) + table[some]
            ).T
            off = (fits.places[near] - fits.places[some][:, None]) @ fits.across[some][:, :, None]
            level_with = (np.abs(off[..., 0]) < in_plane) & alike & flat[some][:, None]
            in_one_plane = (flat[some] + level_with.sum(axis=1)) / (1 + alike.sum(axis=1))
            believed[some] = np.maximum.reduce(
                [
                    1 - _falling(told / np.maximum(able, 1), TOLD),
                    1 - _falling(in_one_plane, IN_ONE_PLANE),
                    _unevenness(*residuals) * unaveraged[some],
                ]
            )
            clear[some] = np.clip(1 - HONEST**2 * variance / np.maximum(change, 1e-300), 0, 1)
    return believed, clear


def _unevenness(number: Array, left: Array, logarithms: Array, squares: Array) -> Array:
    """How far (N,) residuals are too uneven for noise, by sums (N,) over so many neighbours.

    Parameters
    ----------
    left
        Of the quartics' residuals over the quadrics'.
    logarithms, squares
        Of the residuals' logarithms, and of the squares of those.
    """
    number = np.maximum(number, 1)
    square = squares - logarithms**2 / number
    scatter = np.sqrt(np.maximum(square, 0) / np.maximum(number - 1, 1))
    uneven = (1 - _falling(scatter, UNEVEN)) * _falling(left / number, LITTLE_LEFT)
    return np.where(number >= FEWEST_TO_SCATTER, uneven, 0)


class _Chords:
    """The sides of the triangles, from vertex to vertex of `fits`."""

    def __init__(self, fits: _Fits, triangles: NDArray[np.intp], spread: Array) -> None:
        self._triangles = triangles
        self._count = len(spread)
        self.ends = np.concatenate([triangles, np.roll(triangles, -1, axis=1)]).reshape(2, -1)
        self.vectors = fits.places[self.ends[1]] - fits.places[self.ends[0]]
        self.length = np.linalg.norm(self.vectors, axis=1)
        # The normal on an edge is none of the faces' beside it. A triangle of two corners has a
        # chord of no length, which tells nothing.
        on_edge = spread[self.ends].max(axis=0) / (1 - SAME_FACE)
        self.weight = np.maximum(1 - on_edge, 0) * (self.length > 0)
        self.length[self.length == 0] = 1
        self.between_fits = self.weight * fits.usable[self.ends].all(axis=0)

    def around(self, of_chords: Array) -> Array:
        """Sums (V,) over chords at a vertex and at its neighbours: six alone tell too little."""
        at_ends, total = np.zeros((2, self._count))
        for end in self.ends:
            at_ends += np.bincount(end, of_chords, self._count)
        of_triangles = at_ends[self._triangles].sum(axis=1)
        for corner in self._triangles.T:
            total += np.bincount(corner, of_triangles, self._count)
        return total


class _Errors(NamedTuple):
    """In radians (V,): of the polynomials' normals, the facets' and the field's.

    Attributes
    ----------
    noise
        What exact normals would seem to have for the vertices' noise, as residuals tell it.
    noise_over_facets
        The quotient of the two, without a unit. Here chords count by their squared lengths, as
        slivers' short sides have more noise than anything else.
    smooth
        0 where the triangles around meet at edges, to 1 where they lie in a plane.
    """

    polynomial: Array
    facets: Array
    field: Array
    noise: Array
    noise_over_facets: Array
    smooth: Array


def _errors(fits: _Fits, chords: _Chords, spread: Array, outward: Array) -> _Errors:
    def leans(normals: Array) -> Array:
        lean = ((normals[chords.ends[0]] + normals[chords.ends[1]]) * chords.vectors).sum(axis=1)
        return lean**2 / 4 + fits.rounding

    def squares(normals: Array, weight: Array, total: Array) -> Array:
        # Where no chord tells, all are as wrong.
        return (chords.around(weight * leans(normals) / chords.length**2) + 1e-12) / total

    total = chords.around(chords.weight) + 1e-12
    of_fits = squares(fits.normals, chords.between_fits, chords.around(chords.between_fits) + 1e-12)
    polynomial = np.where(fits.usable, np.maximum(of_fits, fits.variance), np.inf)
    # In a plane there is none, whatever lies beyond it.
    noise = np.where(spread < FLAT, 0, fits.quartic_residual)
    noise = chords.weight * noise[chords.ends].sum(axis=0)
    facets = chords.around(chords.weight * leans(fits.across))
    return _Errors(
        np.sqrt(polynomial),
        np.sqrt(squares(fits.across, chords.weight, total)),
        np.sqrt(squares(outward, chords.weight, total)),
        np.sqrt(chords.around(noise / chords.length**2) / total),
        np.sqrt(chords.around(noise) / (facets + 1e-300)),
        total / (chords.around(np.ones_like(chords.weight)) + 1e-12),
    )


def _falling(values: Array, limits: tuple[float, float]) -> Array:
    """From 1 at the lower limit and below to 0 at the upper one and above."""
    low, high = limits
    return np.clip((high - values) / (high - low), 0, 1)


def _vertex_normals(
    places: Array, triangles: NDArray[np.intp], outward: Array
) -> tuple[Array, Array]:
    """Angle-weighted unit normals (V, 3), on the field's side; 0 at a vertex without triangles.

    And one minus the least cosine (V,) to the normals of its triangles.
    """
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
    normals: Array = np.stack(
        [
            np.bincount(triangles.reshape(-1), (angles * axis[:, None]).reshape(-1), len(places))
            for axis in across.T
        ],
        axis=1,
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.where(length > 0, length, 1)
    spread = np.zeros(len(places))
    leaning = np.where(area > 0, 1 - (normals[triangles] * across[:, None]).sum(axis=2), 0)
    np.maximum.at(spread, triangles.reshape(-1), leaning.reshape(-1))
    return normals, spread
